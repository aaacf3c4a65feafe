"""Reads the files that Keras writes, as tensors by layer and variable, with zipfile and h5py; nothing is unpickled.

There are three kinds, distinguished by their content. `.weights.h5` of Keras 3 has layers/<class>_<i>/vars/<k>, and in
its newer releases the layer's own name as an attribute of vars; `.keras` is a zip archive around such a file; the older
`.h5` has <layer>/.../<variable>, below model_weights where it holds a whole network.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from resnet.weights.match import WrongWeights

HDF5 = b"\x89HDF\r\n\x1a\n"  # the first bytes
MEMBER = "model.weights.h5"  # of a .keras archive
DAMAGE = (
    OSError,
    RuntimeError,
    KeyError,
    TypeError,
    ValueError,
    EOFError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
)
BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
VARIABLES = {"conv2d": ("kernel", "bias"), "dense": ("kernel", "bias"), "batch_normalization": BATCH_NORM}


@dataclass(frozen=True, slots=True)
class Content:
    """Variables by "layer/variable", with the layers' own names or, where the file has none, with `<class>_<i>`."""

    variables: dict[str, Any]  # h5py.Dataset, in Keras's layout
    named: bool


def is_keras(path: Path) -> bool:
    """Whether a file begins as HDF5, or is a zip archive with the member that Keras writes. Raises OSError."""
    with path.open("rb") as file:
        if file.read(len(HDF5)) == HDF5:
            return True
    try:
        with zipfile.ZipFile(path) as archive:
            return MEMBER in archive.namelist()
    except DAMAGE:
        return False


@contextmanager
def opened(path: Path) -> Iterator[Content]:
    """Yields what a file holds, while it is open. Raises WrongWeights, and OSError for a missing file."""
    import h5py

    if not is_keras(path):
        raise WrongWeights(f"{path.name}: neither HDF5 nor a zip archive with {MEMBER}, as Keras's files are")
    try:
        with h5py.File(path if h5py.is_hdf5(path) else _unzipped(path), "r") as hdf5:
            yield _content(hdf5, path.name)
    except WrongWeights:
        raise
    except DAMAGE as error:
        raise WrongWeights(f"{path.name}: damaged HDF5 or zip archive ({str(error) or type(error).__name__})") from None


def _unzipped(path: Path) -> IO[bytes]:
    """Returns the weights of a .keras archive, in memory."""
    with zipfile.ZipFile(path) as archive:
        return io.BytesIO(archive.read(MEMBER))


def read(variable: Any, name: str, what: str) -> Tensor:
    """Returns a variable in its own type of float, on the CPU. Raises WrongWeights."""
    values: np.ndarray = variable[()]
    if variable.attrs.get("dtype") == "bfloat16" and values.dtype == np.dtype("V2"):  # HDF5 has no such type
        return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
    if values.dtype.kind != "f" or values.dtype.itemsize > 8:
        raise WrongWeights(f"{what}: {name} holds {values.dtype}, not 16-, 32- or 64-bit floats")
    return torch.from_numpy(values.astype(values.dtype.newbyteorder("="), copy=False))


def _content(hdf5: Any, what: str) -> Content:
    older = hdf5.get("model_weights")
    if older is None and any(name.startswith("layer_names") for name in hdf5.attrs):
        older = hdf5
    layers = hdf5.get("layers", hdf5.get("_layer_checkpoint_dependencies"))  # the latter of Keras 2.12 and 2.13
    if older is None and layers is None:
        raise WrongWeights(f"{what}: HDF5 without layers, model_weights or layer_names; Keras did not write it")
    datasets, names = _walk(layers if older is None else older)
    if older is not None:
        return Content({_of_layer(path): dataset for path, dataset in datasets.items()}, named=True)
    return Content({_of_class(path, names): dataset for path, dataset in datasets.items()}, named=bool(names))


def _walk(root: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns datasets by path, and the names that groups have as attributes."""
    import h5py

    datasets: dict[str, Any] = {}
    names: dict[str, str] = {}

    def visit(path: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            datasets[path] = item
        elif path.endswith("/vars") and "name" in item.attrs:
            names[path] = item.attrs["name"]

    root.visititems(visit)
    return datasets, names


def _of_layer(path: str) -> str:
    """Returns conv1_conv/kernel for conv1_conv/conv1_conv/kernel:0."""
    layer, _, rest = path.partition("/")
    return f"{layer}/{re.sub(r':[0-9]+$', '', rest.rpartition('/')[2])}"


def _of_class(path: str, names: dict[str, str]) -> str:
    """Returns batch_normalization_3/beta for batch_normalization_3/vars/1; where known, with the layer's name."""
    match = re.fullmatch(r"(([a-z0-9_]+?)(?:_[0-9]+)?)/vars/([0-9]{1,3})", path)
    if match is None:
        return path
    layer, kind, k = match.groups()
    variables = VARIABLES.get(kind, ())
    variable = variables[int(k)] if int(k) < len(variables) else k
    return f"{names.get(path.rpartition('/')[0], layer)}/{variable}"
