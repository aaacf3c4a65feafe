"""Files of weights by others and of our own, told apart by their first bytes. Nothing is unpickled."""

import importlib.util
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from pipeline.errors import UserError
from resnet.network import Network
from resnet.weights import WrongWeights, decode, from_torchvision
from resnet.weights.files import ENTRY

Kind = Literal["this project's", "torchvision", "Keras"]

ZIP = b"PK\x03\x04"  # torch.save since 1.6, and Keras's .keras
HDF5 = b"\x89HDF\r\n\x1a\n"  # Keras's .h5
LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before 1.6: its magic number, pickled
WRAPPERS = ("state_dict", "model")  # under which checkpoints hold a state dict
PARALLEL = "module."  # what nn.DataParallel puts before every name
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
COUNTER = "num_batches_tracked"


@dataclass(frozen=True, slots=True)
class WeightFile:
    kind: Kind
    network: Network  # on the CPU


def require(extra: str, *packages: str) -> None:
    """Raises UserError, naming pyproject.toml's extra, where one of its packages is not installed."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(f"{', '.join(missing)} is not installed; install it with: pip install '.[{extra}]'")


def read(path: Path) -> WeightFile:
    """Whose weights these are, and their network. Raises UserError for a file that holds no network's weights."""
    try:
        return _read(path)
    except FileNotFoundError:
        raise UserError(f"{path}: not there") from None
    except OSError as error:
        raise UserError(f"{path}: not readable ({error.strerror or _line(error)})") from None
    except WrongWeights as error:
        raise UserError(f"{path}: {_line(error).removeprefix(f'{path.name}: ')}") from None


def refuse_infinite(path: Path, network: Network) -> None:
    """Raises UserError with the first tensor that has a value which is not finite."""
    for name, tensor in network.state_dict().items():
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            raise UserError(f"{path}: {name}: {bad} of {tensor.numel()} values are NaN or infinite")


def _line(error: Exception) -> str:
    """The first line of an error in printable characters, for a file may name its tensors as it likes."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return "".join(letter if letter.isprintable() else "?" for letter in first)


def _read(path: Path) -> WeightFile:
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name the file in it")
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: is no regular file")
    with path.open("rb") as file:
        head = file.read(len(LEGACY))
    if not head:
        raise UserError(f"{path}: is empty")
    if (head.startswith(ZIP) and _in_zip(path) == "Keras") or head.startswith(HDF5):
        return _keras(path)
    if head.startswith((ZIP, LEGACY)):
        return WeightFile("torchvision", from_torchvision(_torch(path, mapped=head.startswith(ZIP))))
    if head[8:9] == b"{":
        return _safetensors(path)
    raise UserError(f"{path}: is no weights file; known are safetensors, torch.save's and Keras's")


def _in_zip(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:  # zipfile's, of what it cannot read
        raise UserError(f"{path}: damaged or cut off ({_line(error)}); fetch it again") from None
    if "model.weights.h5" in names:
        return "Keras"
    if not any(name.endswith("/data.pkl") for name in names):
        raise UserError(f"{path}: is a zip archive of neither torch nor Keras")
    if any(name.endswith("/constants.pkl") for name in names):
        raise _more_than_tensors(path, "a TorchScript program")
    return "torchvision"


def _more_than_tensors(path: Path, what: str) -> UserError:
    return UserError(
        f"{path}: holds more than tensors ({what}), of which nothing was run; "
        "save the state dict alone: torch.save(model.state_dict(), FILE)"
    )


def _keras(path: Path) -> WeightFile:
    require("keras", "h5py")
    from resnet.weights import from_keras

    return WeightFile("Keras", from_keras(path))


def _safetensors(path: Path) -> WeightFile:
    """Ours where the metadata say so, else torchvision's."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            ours = ENTRY in (file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise UserError(f"{path}: damaged or no safetensors file ({_line(error)})") from None
    _check_types(path, tensors)
    if ours:
        return WeightFile("this project's", decode(path.read_bytes(), path.name))
    return WeightFile("torchvision", from_torchvision(_counted(tensors)))


def _torch(path: Path, *, mapped: bool) -> dict[str, Tensor]:
    """The state dict of a file of torch.save, with torchvision's own names. `mapped`: only a zip can be."""
    try:
        with warnings.catch_warnings(action="ignore"):
            found = torch.load(path, map_location="cpu", mmap=mapped, weights_only=True)
    except Exception as error:  # a damaged file can raise whatever its reader trips over
        more = re.search(r"GLOBAL ([\w.]+)", str(error))
        if more:
            raise _more_than_tensors(path, more[1]) from None
        raise UserError(f"{path}: damaged or no file of torch.save ({_line(error)[:120]})") from None
    tensors = _unwrapped(path, found)
    _check_types(path, tensors)
    return _counted(tensors)


def _unwrapped(path: Path, found: Any) -> dict[str, Tensor]:
    if isinstance(found, Mapping):
        found = next((found[name] for name in WRAPPERS if isinstance(found.get(name), Mapping)), found)
    if not isinstance(found, Mapping) or not found or not all(isinstance(name, str) for name in found):
        raise UserError(f"{path}: holds no state dict, a table of tensors by name")
    for name, value in found.items():
        if not isinstance(value, Tensor):
            raise UserError(f"{path}: {name!r} is a {type(value).__name__}; a state dict holds tensors alone")
    parallel = all(name.startswith(PARALLEL) for name in found)
    return {name.removeprefix(PARALLEL) if parallel else name: tensor for name, tensor in found.items()}


def _check_types(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises UserError for what is no plain tensor of floats; batch normalisation's counter is of integers."""
    for name, tensor in tensors.items():
        allowed = (torch.int64,) if name.endswith(COUNTER) else FLOATS
        if tensor.dtype not in allowed or tensor.layout is not torch.strided or tensor.device.type != "cpu":
            kind = f"{tensor.dtype}, {tensor.layout}, on {tensor.device.type}".replace("torch.", "")
            raise UserError(f"{path}: {name!r} is a tensor of {kind}; expected dense values of {_names(allowed)}")


def _names(types: tuple[torch.dtype, ...]) -> str:
    return ", ".join(str(kind).removeprefix("torch.") for kind in types)


def _counted(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """With the counters of batches that files from before torch 0.4.1 lack; torch itself adds them as 0."""
    layers = [name.removesuffix("running_var") for name in tensors if name.endswith(".running_var")]
    return {f"{layer}{COUNTER}": torch.tensor(0) for layer in layers} | tensors
