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
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from pipeline.data import image_folder
from pipeline.data.imagenet import wnids
from pipeline.data.photographs import Photographs
from pipeline.errors import EnvironmentFault, UserError
from pipeline.records import TOP5_FROM, Record, sha256, write_json
from pipeline.weights import files
from pipeline.weights.names import nearest
from pipeline.worker import device_name
from resnet.architectures import ARCHITECTURES, Architecture
from resnet.batch_norm import folded
from resnet.device import set_arithmetic
from resnet.evaluation import Errors, evaluate
from resnet.in_memory_data import Batch
from resnet.network import Network
from resnet.paper.references import CLASSES, IMAGES, Reference, references
from resnet.preprocessing import PREPROCESSINGS, Preprocessing, usual
from resnet.recipe import Precision
from resnet.weights.torchvision import DEPTHS
from resnet.weights.torchvision import published as of_torchvision

BATCH = 64  # images; changes no count of errors
COMPARED = 2000  # images on which another precision is compared with fp32
MAX_WORKERS = 8  # by default: each holds batches in shared memory
HEAD = ("", "top-1 error %", "top-5 error %", "loss", "images", "images/s", "protocol")


class Scoreboard(Record):
    """What `--json` writes."""

    weights: str  # as given
    weights_sha256: str
    network: str
    architecture: dict[str, Any]
    classes: int
    data: str  # as given
    images: int
    top1_errors: int
    top5_errors: int
    top1_error_percent: float
    top5_error_percent: float
    loss: float | None  # mean cross-entropy; None where it is not finite
    images_per_second: float  # with decoding
    precision: str
    top1_change_points: float | None  # by the precision, over the first images; None where it is fp32
    compared_images: int | None  # how many those are
    device: str
    versions: dict[str, str]
    protocol: str  # "1-crop 224, resize 256, torchvision"
    preprocessing: dict[str, Any]
    published: list[Reference]  # on the validation set of ILSVRC2012, for networks with its 1,000 classes only
    notes: list[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """What the options mean, checked before the first image is read."""

    network: Network  # on the CPU
    images: image_folder.Tree  # without splits
    how: Preprocessing
    mean: Tensor | None  # of the paper's preprocessing
    device: torch.device
    precision: Precision
    batch_size: int
    workers: int


def run(arguments: argparse.Namespace) -> None:
    """Prints the errors next to the published ones, and writes them to `--json`. Raises UserError."""
    board = measure(arguments)
    print(text(board), flush=True)
    if arguments.json is not None:
        try:
            write_json(arguments.json, board)
        except OSError as error:
            raise EnvironmentFault(f"--json: {arguments.json}: {error.strerror}; name another file") from None


def measure(arguments: argparse.Namespace) -> Scoreboard:
    """Evaluates every image once. Raises UserError before the first one for all that can be known then."""
    plan = _plan(arguments)
    found = plan.images.splits["all"]
    photographs = Photographs(found, plan.how, plan.mean, plan.device, plan.workers)
    network = plan.network.float().to(plan.device).to(memory_format=torch.channels_last)
    set_arithmetic(plan.precision)
    try:
        change = None if plan.precision == "fp32" else _change(network, photographs, plan)
        fast = network if plan.precision == "fp32" else folded(network)
        began = time.perf_counter()
        errors = evaluate(fast, _with_progress(photographs.batches(plan.batch_size), len(found)), plan.precision)
    except torch.OutOfMemoryError:
        raise EnvironmentFault(f"--batch-size {plan.batch_size} is too much for the device; halve it") from None
    return _scoreboard(arguments, plan, errors, time.perf_counter() - began, change)


def _plan(arguments: argparse.Namespace) -> Plan:
    if arguments.json is not None and (arguments.json.is_dir() or not arguments.json.parent.is_dir()):
        raise UserError(f"--json: {arguments.json}: not a file in an existing folder; name one")
    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFault("--device cuda: this machine has none; leave --device out, or use cpu")
    precision: Precision = arguments.precision or "fp32"
    if precision == "tf32" and device.type == "cpu":
        raise UserError("--precision must be fp32 or bf16 on a CPU, got 'tf32'; use one of them, or a GPU")
    workers = min(MAX_WORKERS, (os.cpu_count() or 1) - 1) if arguments.workers is None else arguments.workers
    batch_size = BATCH if arguments.batch_size is None else arguments.batch_size
    for name, value, least in (("batch-size", batch_size, 1), ("workers", workers, 0)):
        if value < least:
            raise UserError(f"--{name} must be at least {least}, got {value}")
    network = _network(arguments.weights, arguments.network)
    how = _preprocessing(network, arguments)
    mean = _mean(how, arguments.mean)
    return Plan(network, _images(arguments.data, network), how, mean, device, precision, batch_size, workers)


def _network(path: Path, name: str | None) -> Network:
    try:
        network = files.read(path).network
    except UserError as error:
        raise UserError(f"--weights: {error}") from None
    if network.channels != 3:
        raise UserError(f"--weights: {path} is for {network.channels} channels; images have 3")
    if name is not None:
        ours = re.sub(r"^resnet(?=[0-9]+$)", "resnet-", name)  # torchvision's spelling: resnet50
        if ours not in ARCHITECTURES:
            near = get_close_matches(ours, ARCHITECTURES, 1, cutoff=0)[0]
            raise UserError(f"--network: unknown {name!r}, the nearest is {near}")
        if not is_called(network.architecture, ours):
            held = nearest(network.architecture)
            raise UserError(f"--network: {path} holds {held}, not {ours}; name that or leave --network out")
    return network


def is_called(network: Architecture, name: str) -> bool:
    """Whether the network has this name of ARCHITECTURES.

    The name of a residual network leaves the shortcut's option open, and the convolution that halves: torchvision's
    resnet50 is a resnet-50 as the paper's is. Keras's names mean all fields of Keras's networks.
    """
    named = ARCHITECTURES[name]
    if not name.startswith("keras-") and network.family == named.family:
        network = replace(network, shortcut=named.shortcut, stride_on=named.stride_on)
    return network == named


def _preprocessing(network: Network, arguments: argparse.Namespace) -> Preprocessing:
    row = PREPROCESSINGS[arguments.preprocessing or usual(network.architecture)]
    sizes = {field: value for field in ("resize", "crop") if (value := getattr(arguments, field)) is not None}
    try:
        return replace(row, **sizes)
    except ValueError as error:
        raise UserError(f"--resize, --crop: {error}") from None


def _mean(how: Preprocessing, path: Path | None) -> Tensor | None:
    if how.pixels != "paper":
        if path is not None:
            raise UserError(f"--mean belongs to --preprocessing paper, not to {how.name}; leave one of both out")
        return None
    if path is None:
        raise UserError("--preprocessing paper needs the training images' mean: add --mean data/EXPERIMENT/mean.npy")
    try:
        mean = torch.from_numpy(np.load(path, allow_pickle=False))
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise UserError(f"--mean: {path}: no NumPy array ({str(error).splitlines()[0]}); name another file") from None
    shape = (3, how.crop, how.crop)
    if mean.dtype != torch.float32 or mean.shape != shape or not mean.isfinite().all():
        what = f"{str(mean.dtype).removeprefix('torch.')} {tuple(mean.shape)}"
        raise UserError(f"--mean: {path}: {what}, expected finite float32 {shape} for a crop of {how.crop}")
    return mean


def _images(folder: Path, network: Network) -> image_folder.Tree:
    images = image_folder.scan(folder, "--data")
    if "all" not in images.splits:
        raise UserError(f"--data: {folder} holds splits; name one of them, such as {folder / 'val'}")
    if len(images.classes) != network.classes:
        raise UserError(
            f"--data: {folder} has {len(images.classes)} class folders, the network has {network.classes} classes; the "
            "numbers must be equal"
        )
    return images


def _change(network: Network, photographs: Photographs, plan: Plan) -> tuple[Errors, Errors]:
    """Returns errors over the first images in fp32; and in the plan's precision, with batch normalisation folded."""
    exact = rounded = Errors(0, 0, 0, 0.0)
    fast = folded(network)
    for batch in islice(photographs.batches(plan.batch_size), math.ceil(COMPARED / plan.batch_size)):
        set_arithmetic("fp32")
        exact += evaluate(network, [batch])
        set_arithmetic(plan.precision)
        rounded += evaluate(fast, [batch], plan.precision)
    return exact, rounded


def _with_progress(batches: Iterator[Batch], images: int) -> Iterator[Batch]:
    """Yields the same batches, with a bar in a terminal."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("images", total=images)
        for batch in batches:
            yield batch
            progress.advance(task, len(batch[1]))


def _scoreboard(
    arguments: argparse.Namespace, plan: Plan, errors: Errors, seconds: float, change: tuple[Errors, Errors] | None
) -> Scoreboard:
    loss = errors.loss / errors.images
    architecture = plan.network.architecture
    return Scoreboard(
        weights=str(arguments.weights),
        weights_sha256=sha256(arguments.weights),
        network=nearest(architecture),
        architecture=asdict(architecture),
        classes=plan.network.classes,
        data=str(arguments.data),
        images=errors.images,
        top1_errors=errors.top1,
        top5_errors=errors.top5,
        top1_error_percent=errors.top1_percent,
        top5_error_percent=errors.top5_percent,
        loss=loss if math.isfinite(loss) else None,
        images_per_second=errors.images / seconds,
        precision=plan.precision,
        top1_change_points=None if change is None else change[1].top1_percent - change[0].top1_percent,
        compared_images=None if change is None else change[0].images,
        device=device_name(plan.device),
        versions={"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__},
        protocol=plan.how.protocol,
        preprocessing=asdict(plan.how),
        published=references(architecture) if plan.network.classes == CLASSES else [],
        notes=notes(architecture, plan.how, plan.images.classes, errors.images),
    )


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


def text(board: Scoreboard) -> str:
    """Returns a line about the weights, the table, and the notes."""
    top5 = f"{board.top5_error_percent:.3f}" if board.classes >= TOP5_FROM else "-"
    loss = "not finite" if board.loss is None else f"{board.loss:.4f}"
    speed = f"{board.images_per_second:.4g}"
    rows = [HEAD, ("measured", f"{board.top1_error_percent:.3f}", top5, loss, str(board.images), speed, board.protocol)]
    for row in board.published:
        five = "-" if row.top5 is None else str(row.top5)
        rows.append((f"{row.system}: {row.model} {row.variant}", str(row.top1), five, "", "", "", row.protocol))
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = [f"{board.weights}: {board.network}, {board.classes} classes", f"{board.data} on {board.device}"]
    for name, *numbers, protocol in rows:
        cells = [cell.rjust(width) for cell, width in zip(numbers, widths[1:-1], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *cells, protocol]))
    if board.top1_change_points is not None:
        lines.append(
            f"{board.precision}, batch norm folded: {board.top1_change_points:+.3f} points of top-1 error against "
            f"fp32, over the first {board.compared_images} images"
        )
    return "\n".join([*lines, *(f"note: {note}" for note in board.notes)])
