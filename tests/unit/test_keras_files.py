"""Files that look like Keras's and are not, made by hand: one line says what is wrong with them."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from resnet.network import build
from resnet.weights import WrongWeights, from_keras
from resnet.weights.keras import theirs


def refused(path: Path) -> str:
    """Returns the one line of a refusal, without the file's name."""
    with pytest.raises(WrongWeights) as caught:
        from_keras(path)
    line = str(caught.value)
    assert line.isprintable()
    assert line.startswith(f"{path.name}: ")
    return line.removeprefix(f"{path.name}: ")


def zipped(member: str, content: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(member, content)
    return target.getvalue()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "neither HDF5 nor a zip archive"),
        (b"\x80\x04\x95 a pickle", "neither HDF5 nor a zip archive"),
        (b"\x89HDF\r\n\x1a\n", "damaged HDF5 or zip archive ("),
        (zipped("archive/data.pkl", b"torch's"), "neither HDF5 nor a zip archive with model.weights.h5"),
        (zipped("model.weights.h5", b"no HDF5"), "damaged HDF5 or zip archive ("),
    ],
)
def test_what_is_no_file_of_keras(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "network.keras"
    path.write_bytes(content)
    assert refused(path).startswith(expected)


Change = Callable[[Any], None]  # of an open HDF5 file
NONE = "not one of Keras Applications' six ResNets, nearest is ResNet50: "


def shapes(classes: int = 7, channels: int = 3) -> dict[str, tuple[int, ...]]:
    """Returns Keras's names and shapes of ResNet50's tensors."""
    with torch.device("meta"):
        state = build("keras-resnet50", classes, channels).state_dict()
    ours = {name: tuple(tensor.shape) for name, tensor in state.items() if tensor.dim()}
    return {theirs(n): (*s[2:], s[1], s[0]) if len(s) > 1 else s for n, s in ours.items()}


def hollow(path: Path, *changes: Change) -> Path:
    """Writes an older file with ResNet50's names and shapes, changed, and without values."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["conv1_conv"]
        for name, shape in shapes().items():
            file.create_dataset(name, shape, dtype="f4")
        for change in changes:
            change(file)
    return path


def resize(name: str, *shape: int) -> Change:
    def change(file: Any) -> None:
        if name in file:
            del file[name]
        file.create_dataset(name, shape, dtype="f4")

    return change


def remove(*names: str) -> Change:
    def change(file: Any) -> None:
        for name in names:
            del file[name]

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (remove("conv3_block1_0_conv"), "conv3_block1_0_conv/kernel: missing, expected (1, 1, 256, 512); "
            "conv3_block1_0_conv/bias: missing, expected (512)"),
        (resize("conv1_conv/kernel", 3, 3, 3, 64), "conv1_conv/kernel: (3, 3, 3, 64), expected (7, 7, 3, 64)"),
        (resize("predictions/kernel", 1024, 7), "predictions/kernel: (1024, 7), expected (2048, 1000); "
            "predictions/bias: (7), expected (1000)"),
        (resize("conv6_conv/kernel", 1), "conv6_conv/kernel: unknown, (1)"),
    ],
)  # fmt: skip
def test_the_first_differences(tmp_path: Path, change: Change, expected: str) -> None:
    assert refused(hollow(tmp_path / "network.h5", change)) == NONE + expected


def written(path: Path, types: dict[str, str], default: str = "f2") -> dict[str, np.ndarray]:
    """Writes ResNet50 with random values, of these types by variable or name, for one channel and two classes."""
    generator = np.random.default_rng(0)
    values = {}
    with h5py.File(path, "w") as file:
        file.attrs["layer_names0"] = ["conv1_conv"]  # in several pieces, as of a long list
        for name, shape in shapes(classes=2, channels=1).items():
            kind = types.get(name, types.get(name.rpartition("/")[2], default))
            brain = kind == "bfloat16"
            numbers = generator.integers(1, 100, size=shape)  # which every type of float holds
            values[name] = numbers
            stored = (numbers.astype("f4").view("u4") >> 16).astype("u2").view("V2") if brain else numbers.astype(kind)
            file.create_dataset(name, data=stored)
            if brain:
                file[name].attrs["dtype"] = kind
    return values


def test_types_of_float_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "network.h5"
    types = {"conv1_conv/kernel": ">f4", "gamma": "bfloat16", "moving_mean": "f8", "predictions/kernel": "f4"}
    values = written(path, types)
    network = from_keras(path)
    assert (network.classes, network.channels) == (2, 1)
    kinds = {"f2": torch.float16, "bfloat16": torch.bfloat16, ">f4": torch.float32, "f4": torch.float32}
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert tensor.dtype == torch.int64
            assert tensor == 0
            continue
        other = theirs(name)
        kind = types.get(other, types.get(other.rpartition("/")[2], "f2"))
        assert tensor.dtype == kinds.get(kind, torch.float64), name
        assert tensor.is_contiguous()
        expected = values[other]
        expected = expected.transpose(3, 2, 0, 1) if expected.ndim == 4 else expected.T
        assert torch.equal(tensor.double(), torch.from_numpy(expected.astype("f8"))), name


@pytest.mark.parametrize("kind", ["i1", "c8", "V2"])
def test_other_types_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "network.h5"
    written(path, {"conv2_block1_0_conv/bias": kind})
    name = {"i1": "int8", "c8": "complex64", "V2": "|V2"}[kind]
    assert refused(path) == f"conv2_block1_0_conv/bias holds {name}, not 16-, 32- or 64-bit floats"
