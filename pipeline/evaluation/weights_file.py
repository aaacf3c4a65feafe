"""Measures the errors of any weights on any folder CLASS/IMAGE, in this process and without Ray.

For ImageNet the folder is `val` with one folder per WNID. Errors that others published for the same network are shown
next to the measured ones.
"""

import argparse
import math
import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from pipeline.data.image_tree import Tree, scan
from pipeline.data.imagenet import wnids
from pipeline.data.photographs import Photographs
from pipeline.errors import EnvironmentFault, UserError
from pipeline.records import TOP5_FROM, sha256, write_json
from pipeline.weights.files import read
from pipeline.worker import device_name
from resnet.architectures import Architecture
from resnet.batch_norm import folded
from resnet.device import set_arithmetic
from resnet.evaluation import Errors, evaluate
from resnet.in_memory_data import Batch
from resnet.network import Network
from resnet.paper.references import CLASSES, IMAGES, references
from resnet.preprocessing import PREPROCESSINGS, Preprocessing, usual
from resnet.recipe import Precision
from resnet.weights.names import is_called, nearest
from resnet.weights.torchvision import DEPTHS
from resnet.weights.torchvision import published as of_torchvision

BATCH = 64  # images; changes no count of errors
COMPARED = 2000  # images on which another precision is compared with fp32
MAX_WORKERS = 8  # by default: each holds batches in shared memory
HEAD = ("", "top-1 error %", "top-5 error %", "loss", "images", "images/s", "protocol")


def run(arguments: argparse.Namespace) -> None:
    """Prints the errors next to the published ones, and writes them to `--json`. Raises UserError."""
    board = measure(arguments)
    print(text(board), flush=True)
    if arguments.json is not None:
        try:
            write_json(arguments.json, board)
        except OSError as error:
            raise EnvironmentFault(f"--json: {arguments.json}: {error.strerror}; name another file") from None


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Evaluates every image once. Returns what `--json` writes. Raises UserError, if possible before the first."""
    device, precision, batch_size, workers = _options(arguments)
    network = _network(arguments.weights, arguments.network)
    how = _preprocessing(network.architecture, arguments)
    mean = _mean(how, arguments.mean)
    tree = _tree(arguments.data, network.classes)
    photographs = Photographs(tree.splits["all"], how, mean, device, workers)
    published = references(network.architecture) if network.classes == CLASSES else []  # on ILSVRC2012's validation set
    return {
        "weights": str(arguments.weights),
        "weights_sha256": sha256(arguments.weights),
        "network": nearest(network.architecture),
        "architecture": asdict(network.architecture),
        "classes": network.classes,
        "data": str(arguments.data),
        **_measured(network, photographs, precision, batch_size),
        "precision": precision,
        "device": device_name(device),
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__},
        "protocol": how.protocol,  # "1-crop 224, resize 256, torchvision"
        "preprocessing": asdict(how),
        "published": [asdict(row) for row in published],
        "notes": notes(network.architecture, how, tree.classes, photographs.size),
    }


def _options(arguments: argparse.Namespace) -> tuple[torch.device, Precision, int, int]:
    """Returns device, precision, images in a batch and processes that decode, by default the usual ones."""
    if arguments.json is not None and (arguments.json.is_dir() or not arguments.json.parent.is_dir()):
        raise UserError(f"--json: {arguments.json}: not a file in an existing folder; name one")
    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFault("--device cuda: this machine has none; leave --device out, or use cpu")
    if arguments.precision == "tf32" and device.type == "cpu":
        raise UserError("--precision must be fp32 or bf16 on a CPU, got 'tf32'; use one of them, or a GPU")
    workers = min(MAX_WORKERS, (os.cpu_count() or 1) - 1) if arguments.workers is None else arguments.workers
    batch_size = BATCH if arguments.batch_size is None else arguments.batch_size
    if batch_size < 1 or workers < 0:
        raise UserError(f"--batch-size must be at least 1 and --workers at least 0, got {batch_size} and {workers}")
    return device, arguments.precision or "fp32", batch_size, workers


def _network(path: Path, name: str | None) -> Network:
    network = read(path).network
    if network.channels != 3:
        raise UserError(f"--weights: {path} is for {network.channels} channels; images have 3")
    ours = re.sub(r"^resnet(?=[0-9]+$)", "resnet-", name or "")  # torchvision's spelling: resnet50
    try:
        agrees = name is None or is_called(network.architecture, ours)
    except ValueError as error:
        raise UserError(f"--network: {error}") from None
    if not agrees:
        held = nearest(network.architecture)
        raise UserError(f"--network: {path} holds {held}, not {ours}; name that or leave --network out")
    return network


def _preprocessing(network: Architecture, arguments: argparse.Namespace) -> Preprocessing:
    row = PREPROCESSINGS[arguments.preprocessing or usual(network)]
    sizes = {name: value for name in ("resize", "crop") if (value := getattr(arguments, name)) is not None}
    try:
        return replace(row, **sizes)
    except ValueError as error:
        raise UserError(f"--resize, --crop: {error}") from None


def _mean(how: Preprocessing, path: Path | None) -> Tensor | None:
    """Returns the per-pixel mean that the paper's preprocessing needs, and the others do not take."""
    if (how.pixels == "paper") != (path is not None):
        raise UserError(f"--preprocessing {how.name}: 'paper', and no other, needs --mean data/EXPERIMENT/mean.npy")
    if path is None:
        return None
    try:
        mean = torch.from_numpy(np.load(path, allow_pickle=False))
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise UserError(f"--mean: {path}: no NumPy array ({str(error).splitlines()[0]}); name another file") from None
    shape = (3, how.crop, how.crop)
    if mean.dtype != torch.float32 or mean.shape != shape or not mean.isfinite().all():
        what = f"{str(mean.dtype).removeprefix('torch.')} {tuple(mean.shape)}"
        raise UserError(f"--mean: {path}: {what}, expected finite float32 {shape} for a crop of {how.crop}")
    return mean


def _tree(folder: Path, classes: int) -> Tree:
    tree = scan(folder, "--data")
    if "all" not in tree.splits:
        raise UserError(f"--data: {folder} holds splits; name one of them, such as {folder / 'val'}")
    if len(tree.classes) != classes:
        what = f"{len(tree.classes)} class folders, the network has {classes} classes"
        raise UserError(f"--data: {folder} has {what}; the numbers must be equal")
    return tree


def _measured(network: Network, photographs: Photographs, precision: Precision, batch_size: int) -> dict[str, Any]:
    """Returns the errors and the speed, as fields of the scoreboard. Shows a bar in a terminal."""
    network = network.float().to(photographs.device).to(memory_format=torch.channels_last)
    change: tuple[float | None, int | None] = (None, None)
    set_arithmetic(precision)
    try:
        if precision != "fp32":
            exact, network = network, folded(network)
            first = islice(photographs.batches(batch_size), math.ceil(COMPARED / batch_size))
            change = _change(exact, network, first, precision)
        began = time.perf_counter()
        with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
            batches = bar.track(photographs.batches(batch_size), math.ceil(photographs.size / batch_size))
            errors = evaluate(network, batches, precision)
    except torch.OutOfMemoryError:
        raise EnvironmentFault(f"--batch-size {batch_size} is too much for the device; halve it") from None
    loss = errors.loss / errors.images
    return {
        "images": errors.images,
        "top1_errors": errors.top1,
        "top5_errors": errors.top5,
        "top1_error_percent": errors.top1_percent,
        "top5_error_percent": errors.top5_percent,
        "loss": loss if math.isfinite(loss) else None,  # mean cross-entropy
        "images_per_second": errors.images / (time.perf_counter() - began),  # with decoding
        "top1_change_points": change[0],  # by the precision, over the first images; None where it is fp32
        "compared_images": change[1],  # how many those are
    }


def _change(network: Network, fast: Network, batches: Iterator[Batch], precision: Precision) -> tuple[float, int]:
    """Returns the points of top-1 error that `precision` and folded batch norm add, over how many images."""
    exact = rounded = Errors(0, 0, 0, 0.0)
    for batch in batches:
        set_arithmetic("fp32")
        exact += evaluate(network, [batch])
        set_arithmetic(precision)
        rounded += evaluate(fast, [batch], precision)
    return rounded.top1_percent - exact.top1_percent, exact.images


def notes(network: Architecture, how: Preprocessing, classes: list[str], images: int) -> list[str]:
    """Returns reasons why the errors may not mean what they seem to mean."""
    found = []
    if how.pixels == "torchvision" and network not in map(of_torchvision, DEPTHS):
        found.append("torchvision has no such network; for a run of this project: --preprocessing paper --mean FILE")
    if len(classes) == CLASSES:
        if classes != list(wnids()):
            found.append("the class folders are not the WNIDs of ILSVRC2012; labels follow the order of their names")
        if images != IMAGES:
            found.append(f"{images} images; the published errors are over {IMAGES}")
    return found


def text(board: dict[str, Any]) -> str:
    """Returns lines about the weights and the data, the table, and the notes."""
    top5 = f"{board['top5_error_percent']:.3f}" if board["classes"] >= TOP5_FROM else "-"
    loss = "not finite" if board["loss"] is None else f"{board['loss']:.4f}"
    speed, images = f"{board['images_per_second']:.4g}", str(board["images"])
    rows = [HEAD, ("measured", f"{board['top1_error_percent']:.3f}", top5, loss, images, speed, board["protocol"])]
    for row in board["published"]:
        name, five = "{system}: {model} {variant}".format(**row), "-" if row["top5"] is None else str(row["top5"])
        rows.append((name, str(row["top1"]), five, "", "", "", row["protocol"]))
    first, *widths, _ = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["{weights}: {network}, {classes} classes\n{data} on {device}".format(**board)]
    for name, *numbers, protocol in rows:
        lines.append("  ".join([name.ljust(first), *map(str.rjust, numbers, widths), protocol]))
    if board["compared_images"] is not None:
        change = f"{board['precision']}, batch norm folded: {board['top1_change_points']:+.3f} points of top-1 error"
        lines.append(f"{change} against fp32, over the first {board['compared_images']} images")
    return "\n".join([*lines, *(f"note: {note}" for note in board["notes"])])
