"""What `python -m pipeline.evaluate --weights` was asked for, checked before the first image is read."""

import dataclasses
import os
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from pipeline.datasets import tree
from pipeline.errors import EnvironmentFault, UserError
from pipeline.evaluation.evaluate_options import Options
from pipeline.weights import network_names, weight_files
from resnet.architectures import ARCHITECTURES, Architecture
from resnet.network import Network
from resnet.preprocessing import PREPROCESSINGS, Preprocessing, usual
from resnet.recipe import Precision


@dataclass(frozen=True, slots=True)
class Plan:
    """All that the evaluation needs."""

    network: Network  # on the CPU
    images: tree.Tree  # without splits
    how: Preprocessing
    mean: Tensor | None  # where the preprocessing is the paper's
    device: torch.device
    precision: Precision


def make(options: Options) -> Plan:
    """Reads the weights and lists the images. Raises UserError, naming the option."""
    if options.json is not None and (options.json.is_dir() or not options.json.parent.is_dir()):
        raise UserError(f"--json: {options.json} is a folder or in none; name a file in a folder that is there")
    device = _device(options.device)
    precision = _precision(options.precision, device)
    network = _network(options.weights)
    _check_network(network, options)
    how = _preprocessing(network, options)
    mean = _mean(how, options.mean)
    images = _images(options.data)
    if len(images.classes) != network.classes:
        raise UserError(
            f"--data: {options.data} has {len(images.classes)} class folders, the network of {options.weights} has "
            f"{network.classes} classes; the numbers must be equal"
        )
    return Plan(network, images, how, mean, device, precision)


def _device(name: str | None) -> torch.device:
    if name not in (None, "cpu", "cuda"):
        raise UserError(f"--device must be cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFault("--device cuda: there is none here; leave --device out, or use cpu")
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def _precision(name: str, device: torch.device) -> Precision:
    known = get_args(Precision)
    if name not in known:
        raise UserError(f"--precision must be one of {', '.join(known)}, got {name!r}")
    if name == "tf32" and device.type == "cpu":
        raise UserError("--precision must be fp32 or bf16 on a CPU, got 'tf32'; use one of them, or a GPU")
    precision: Precision = name  # type: ignore[assignment]
    return precision


def _network(path: Path) -> Network:
    """On the CPU, of any file that the project reads."""
    try:
        return weight_files.read(path).network
    except UserError as error:
        raise UserError(f"--weights: {error}") from None


def _check_network(network: Network, options: Options) -> None:
    if network.channels != 3:
        raise UserError(f"--weights: {options.weights} is for {network.channels} channels; images have 3")
    if options.network is None:
        return
    name = _ours(options.network)
    if not is_a(network.architecture, name):
        held = network_names.nearest(network.architecture)
        raise UserError(f"--network: {options.weights} holds {held}, not {name}; name that or leave --network out")


def _ours(name: str) -> str:
    """A name of ARCHITECTURES, also from torchvision's spelling: resnet50."""
    spelled = re.sub(r"^resnet(?=[0-9]+$)", "resnet-", name)
    if spelled not in ARCHITECTURES:
        near = get_close_matches(spelled, ARCHITECTURES, 1, cutoff=0)[0]
        raise UserError(f"--network: unknown {name!r}, the nearest is {near}")
    return spelled


def is_a(network: Architecture, name: str) -> bool:
    """Whether the network goes by this name of ARCHITECTURES.

    The shortcut's option and the convolution that halves are a matter of who built it: torchvision's resnet50 is a
    resnet-50 as the paper's is. Keras's names mean Keras's networks, to the field.
    """
    asked = ARCHITECTURES[name]
    if name.startswith("keras-") or network.family != asked.family:
        return network == asked
    return dataclasses.replace(network, shortcut=asked.shortcut, stride_on=asked.stride_on) == asked


def _preprocessing(network: Network, options: Options) -> Preprocessing:
    name = options.preprocessing or usual(network.architecture)
    if name not in PREPROCESSINGS:
        near = get_close_matches(name, PREPROCESSINGS, 1, cutoff=0)[0]
        raise UserError(f"--preprocessing: unknown {name!r}, the nearest is {near}; known: {', '.join(PREPROCESSINGS)}")
    row = PREPROCESSINGS[name]
    sizes = {field: value for field in ("resize", "crop") if (value := getattr(options, field)) is not None}
    try:
        return dataclasses.replace(row, **sizes)
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
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise UserError(f"--mean: {path}: {error.strerror or 'no array'}; name a file of NumPy") from None
    except (ValueError, EOFError) as error:
        raise UserError(f"--mean: {path}: no array ({str(error).splitlines()[0]}); name a file of NumPy") from None
    shape = (3, how.crop, how.crop)
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != np.float32:
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "several arrays"
        raise UserError(f"--mean: {path}: {got}, expected float32 {shape} for a crop of {how.crop}")
    if not np.isfinite(array).all():
        raise UserError(f"--mean: {path}: some values are not finite; make it again")
    return torch.from_numpy(array)


def _images(folder: Path) -> tree.Tree:
    if not folder.is_dir():
        raise UserError(f"--data: {folder} is not a folder; name one with CLASS/IMAGE in it")
    for split in ("val", "test", "train"):  # a class of that name has images in it, not folders
        inner = folder / split
        if inner.is_dir() and os.access(inner, os.R_OK | os.X_OK) and any(path.is_dir() for path in inner.iterdir()):
            raise UserError(f"--data: {folder} holds splits; name one of them, such as {inner}")
    return tree.scan(folder, "--data")
