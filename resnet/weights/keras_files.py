"""The files that Keras writes, as tensors by layer and variable. Read by zipfile and h5py; nothing is unpickled.

Three kinds, told apart by their content. `.weights.h5` of Keras 3 has layers/<class>_<i>/vars/<k>, and in its newer
releases the layer's own name as an attribute of vars; `.keras` is a zip archive around such a file; the older `.h5`
has <layer>/.../<variable>, below model_weights where it holds a whole network.
"""

import io
import math
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

HDF5, ZIP = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"  # how the files begin
MEMBER = "model.weights.h5"
LARGEST = 2**32  # bytes; ResNet152 in double precision with Adam's moments has 1.5e9
EXPANSION = 100  # times its bytes on the disk that a file may unpack to; weights hardly compress
LONGEST = 100  # characters of a name in a message
BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
VARIABLES = {"conv2d": ("kernel", "bias"), "dense": ("kernel", "bias"), "batch_normalization": BATCH_NORM}


@dataclass(frozen=True, slots=True)
class Variable:
    """A tensor of the file in Keras's layout, which is not read until `read`."""

    name: str
    shape: tuple[int, ...]
    bytes: int
    dataset: Any  # h5py.Dataset

    def read(self, what: str) -> Tensor:
        """In its own type of float, on the CPU. Raises WrongWeights."""
        with _reading(what):
            values: np.ndarray = self.dataset[()]
            brain = self.dataset.attrs.get("dtype") == "bfloat16"  # which HDF5 does not have: two opaque bytes
        if brain and values.dtype == np.dtype("V2"):
            return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
        if values.dtype.kind != "f" or values.dtype.itemsize > 8:
            raise WrongWeights(f"{what}: {self.name} holds {values.dtype}, not 16-, 32- or 64-bit floats")
        return torch.from_numpy(values.astype(values.dtype.newbyteorder("="), copy=False))


@dataclass(frozen=True, slots=True)
class Content:
    """Variables by "layer/variable", with the layers' own names or, where the file has none, with `<class>_<i>`."""

    variables: dict[str, Variable]
    named: bool
    size: int  # bytes of HDF5

    def bound(self, what: str) -> None:
        """Raises WrongWeights where the variables would take far more memory than the bytes that they come from."""
        total = sum(variable.bytes for variable in self.variables.values())
        if total > min(LARGEST, EXPANSION * self.size):
            raise WrongWeights(f"{what}: tensors of {total} bytes cannot come from {self.size} bytes of HDF5")


@contextmanager
def opened(path: Path) -> Iterator[Content]:
    """What a file holds, while it is open. Raises WrongWeights, and OSError for a file that is not there."""
    import h5py

    what = path.name
    with path.open("rb") as file:
        start = file.read(len(HDF5))
        if not start.startswith((HDF5, ZIP)):
            raise WrongWeights(f"{what}: neither HDF5 nor a zip archive, as Keras's .h5, .weights.h5 and .keras are")
        source: IO[bytes] = _unzipped(file, what) if start.startswith(ZIP) else file
        size = source.seek(0, io.SEEK_END)
        with _reading(what):
            hdf5 = h5py.File(source, "r")
        with hdf5:
            with _reading(what):
                content = _content(hdf5, size, what)
            yield content


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """h5py's errors for bytes that are damaged, which are of many types, as one."""
    try:
        yield
    except WrongWeights:
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, OverflowError) as error:
        reason = str(error.args[0]) if error.args else type(error).__name__
        raise WrongWeights(f"{what}: damaged HDF5 ({_shown(reason)})") from None


def _unzipped(file: IO[bytes], what: str) -> IO[bytes]:
    """The weights in a .keras archive, in memory."""
    on_disk = file.seek(0, io.SEEK_END)
    try:
        with zipfile.ZipFile(file) as archive:
            member = archive.getinfo(MEMBER)
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise WrongWeights(f"{what}: {MEMBER} is compressed by other means than Keras's")
            stored = min(member.compress_size, on_disk)
            if member.file_size > min(LARGEST, EXPANSION * stored):
                raise WrongWeights(f"{what}: {MEMBER} of {member.file_size} bytes cannot come from {stored} bytes")
            return io.BytesIO(archive.read(member))  # zipfile ends at file_size, whatever the stream holds
    except WrongWeights:
        raise
    except KeyError:
        raise WrongWeights(f"{what}: a zip archive without {MEMBER}; Keras did not write it") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError, ValueError) as error:
        raise WrongWeights(f"{what}: damaged zip archive ({_shown(str(error) or type(error).__name__)})") from None


def _content(hdf5: Any, size: int, what: str) -> Content:
    older = _group(hdf5, "model_weights")
    if older is None and any(name.startswith("layer_names") for name in hdf5.attrs):
        older = hdf5
    layers = _group(hdf5, "layers")
    if layers is None:
        layers = _group(hdf5, "_layer_checkpoint_dependencies")  # Keras 2.12 and 2.13
    if older is None and layers is None:
        raise WrongWeights(f"{what}: HDF5 without layers, model_weights or layer_names; Keras did not write it")
    datasets, names = _walk(layers if older is None else older)
    found: dict[str, Variable] = {}
    for path, dataset in datasets.items():
        name = _shown(_of_layer(path) if older is not None else _of_class(path, names))
        name = f"{_shown(path)} (again)" if name in found else name  # unknown then, and takes nobody's place
        if dataset.is_virtual or dataset.external:
            raise WrongWeights(f"{what}: {name} lies in another file")
        shape = tuple(dataset.shape or ())
        found[name] = Variable(name, shape, math.prod(shape) * dataset.id.get_type().get_size(), dataset)
    return Content(found, named=older is not None or bool(names), size=size)


def _group(parent: Any, name: str) -> Any:
    """A group of this very file, or None: links into other files are not followed."""
    import h5py

    if not isinstance(parent.get(name, getlink=True), h5py.HardLink):
        return None
    return parent[name] if isinstance(parent[name], h5py.Group) else None


def _walk(root: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Datasets by path, and the names that groups carry; visititems follows no link to elsewhere."""
    import h5py

    datasets: dict[str, Any] = {}
    names: dict[str, str] = {}

    def visit(name: str | bytes, item: Any) -> None:
        path = name if isinstance(name, str) else name.decode("utf-8", "replace")
        if isinstance(item, h5py.Dataset):
            datasets[path] = item
        elif path.endswith("/vars") and isinstance(item.attrs.get("name"), str):
            names[path] = item.attrs["name"]

    root.visititems(visit)
    return datasets, names


def _of_layer(path: str) -> str:
    """conv1_conv/conv1_conv/kernel:0 is conv1_conv/kernel."""
    layer, _, rest = path.partition("/")
    return f"{layer}/{re.sub(r':[0-9]+$', '', rest.rpartition('/')[2])}"


def _of_class(path: str, names: dict[str, str]) -> str:
    """batch_normalization_3/vars/1 is batch_normalization_3/beta, or conv2_block1_1_bn/beta by the layer's name."""
    match = re.fullmatch(r"(([a-z0-9_]+?)(?:_[0-9]+)?)/vars/([0-9]{1,3})", path)
    if match is None:
        return path
    layer, kind, k = match.groups()
    variables = VARIABLES.get(kind, ())
    variable = variables[int(k)] if int(k) < len(variables) else k
    return f"{names.get(path.rpartition('/')[0], layer)}/{variable}"


def _shown(text: str) -> str:
    """What came from a file, in one line of a message."""
    return text if text.isprintable() and len(text) <= LONGEST else ascii(text)[:LONGEST]
