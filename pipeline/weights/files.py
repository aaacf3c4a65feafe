"""Reads weights files of this project, torchvision and Keras, distinguished by their content. Nothing is unpickled."""

import importlib.util
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.errors import UserError
from resnet.network import Network
from resnet.weights import WrongWeights, decode, from_keras, from_torchvision, notes
from resnet.weights.files import ENTRY
from resnet.weights.keras_files import is_keras
from resnet.weights.names import PIXELS

WRAPPERS = ("state_dict", "model")  # under which checkpoints hold a state dict
PARALLEL = "module."  # nn.DataParallel's prefix of every name
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
COUNTER = "num_batches_tracked"


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """What a weights file holds."""

    kind: Literal["this project's", "torchvision", "Keras"]
    network: Network  # on the CPU
    size: int | None  # height and width of the images that it was trained on, in pixels; None where it is not known


def require(extra: str, *packages: str) -> None:
    """Raises UserError, naming pyproject.toml's extra, where one of its packages is not installed."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(f"{', '.join(missing)} is not installed; install it with: pip install '.[{extra}]'")


def read(path: Path) -> WeightsFile:
    """Returns whose weights a file holds, and their network. Raises UserError for any other file."""
    try:
        return _read(path)
    except OSError as error:
        raise UserError(f"{path}: not readable ({error.strerror or error})") from None
    except WrongWeights as error:
        first = str(error).splitlines()[0].removeprefix(f"{path.name}: ")
        raise UserError(f"{path}: {''.join(c if c.isprintable() else '?' for c in first)}") from None


def refuse_infinite(path: Path, network: Network) -> None:
    """Raises UserError with the first tensor that has a value which is not finite."""
    for name, tensor in network.state_dict().items():
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            raise UserError(f"{path}: {name}: {bad} of {tensor.numel()} values are NaN or infinite")


def _read(path: Path) -> WeightsFile:
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:] == b"{":
        return _safetensors(path)
    if is_keras(path):
        require("keras", "h5py")
        return WeightsFile("Keras", from_keras(path), PIXELS["imagenet"])
    return _torchvision(_state_dict(_unpacked(path)))


def _safetensors(path: Path) -> WeightsFile:
    """Reads our file where the metadata say so, else torchvision's."""
    try:
        with safe_open(path, framework="pt") as file:
            ours = ENTRY in (file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise WrongWeights(f"damaged or no safetensors file ({error})") from None
    if not ours:
        return _torchvision(tensors)
    content = path.read_bytes()
    network, size = decode(content, path.name), notes(content).get("size")
    return WeightsFile("this project's", network, None if size is None else int(size))


def _torchvision(tensors: Mapping[str, Tensor]) -> WeightsFile:
    """Builds the network. Files from before torch 0.4.1 lack the counters of batches, which torch adds as 0."""
    for name, tensor in tensors.items():
        allowed = (torch.int64,) if name.endswith(COUNTER) else FLOATS
        if tensor.dtype not in allowed or tensor.layout is not torch.strided or tensor.is_meta:
            raise WrongWeights(f"{name!r} is a tensor of {tensor.dtype}, {tensor.layout}; expected dense {allowed}")
    layers = [name.removesuffix("running_var") for name in tensors if name.endswith(".running_var")]
    counted = {f"{layer}{COUNTER}": torch.tensor(0) for layer in layers} | dict(tensors)
    return WeightsFile("torchvision", from_torchvision(counted), PIXELS["imagenet"])


def _unpacked(path: Path) -> Any:
    """Returns what torch.save wrote, if it is made of tensors and plain containers."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", mmap=zipfile.is_zipfile(path), weights_only=True)
    except Exception as error:  # a damaged file can raise whatever its reader trips over
        more = re.search(r"GLOBAL ([\w.]+)", str(error))
        if more is None:
            raise WrongWeights("damaged, or no weights file; known are safetensors, torch.save's and Keras's") from None
        raise WrongWeights(
            f"holds more than tensors ({more[1]}), of which nothing was run; "
            "save the state dict only: torch.save(model.state_dict(), FILE)"
        ) from None


def _state_dict(found: Any) -> dict[str, Tensor]:
    """Returns the state dict in a file of torch.save, with torchvision's own names."""
    if isinstance(found, Mapping):
        found = next((found[name] for name in WRAPPERS if isinstance(found.get(name), Mapping)), found)
    if not isinstance(found, Mapping) or not found:
        raise WrongWeights("holds no state dict, a table of tensors by name")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise WrongWeights(f"{name!r} is a {type(value).__name__}; a state dict holds tensors by name")
    parallel = all(name.startswith(PARALLEL) for name in found)
    return {name.removeprefix(PARALLEL) if parallel else name: tensor for name, tensor in found.items()}
