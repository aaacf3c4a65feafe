"""Weights of Keras Applications: Keras's logits from every kind of file; other networks are refused."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from resnet.architectures import ARCHITECTURES
from resnet.weights import from_keras
from resnet.weights.keras import PUBLISHED
from tests.factories.keras_networks import SIZES, STRANGERS, Keras, keras
from tests.unit.test_keras_files import refused

pytestmark = pytest.mark.slow
BOTH = pytest.mark.parametrize("folder", ["keras-resnet50", "keras-resnet50v2"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def process() -> Iterator[Keras]:
    with keras() as running:
        yield running


@pytest.fixture(scope="module", params=PUBLISHED)
def folder(request: pytest.FixtureRequest, process: Keras, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One network's files; up to 2 GB, so gone with the last test of them."""
    made = tmp_path_factory.mktemp(request.param)
    yield process.make(PUBLISHED[request.param], made)
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def strangers(process: Keras, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp(STRANGERS)
    yield process.make(STRANGERS, made)
    shutil.rmtree(made)


ROUNDING = 1e-12  # relative, in float64


def distance(path: Path, network: str, folder: Path, *sizes: int) -> float:
    """Returns the largest relative distance of a file's logits from Keras's, for images of these sizes.

    The file must be read as this network, in float64.
    """
    built = from_keras(path).eval()
    assert (built.architecture, built.classes, built.channels) == (ARCHITECTURES[network], 7, 3)
    assert {parameter.dtype for parameter in built.parameters()} == {torch.float64}
    found = []
    for size in sizes:
        saved = np.load(folder / f"{size}.npz")
        with torch.no_grad():
            logits = built(torch.from_numpy(saved["images"]).permute(0, 3, 1, 2))
        assert saved["logits"].dtype == np.float64
        expected = torch.from_numpy(saved["logits"])
        found.append(float((logits - expected).norm() / expected.norm()))
    return max(found)


def name_of(request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["folder"])


@pytest.mark.parametrize(
    ("file", "sizes"), [("network.keras", SIZES), ("network.weights.h5", SIZES[:1]), ("network.h5", SIZES[:1])]
)
def test_every_kind_of_file(file: str, sizes: tuple[int, ...], folder: Path, request: pytest.FixtureRequest) -> None:
    assert distance(folder / file, name_of(request), folder, *sizes) < ROUNDING


@BOTH
def test_published_h5(folder: Path, request: pytest.FixtureRequest) -> None:
    assert distance(folder / "weights.h5", name_of(request), folder, SIZES[0]) < ROUNDING


@BOTH
def test_weights_without_the_names_of_layers(folder: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Keras 3 wrote such files before it named the groups; Keras 2.13 also counted every layer twice."""
    path = Path(shutil.copy(folder / "network.weights.h5", tmp_path))
    with h5py.File(path, "r+") as file:
        for group in file["layers"].values():
            del group["vars"].attrs["name"]
    assert distance(path, name_of(request), folder, SIZES[0]) < ROUNDING
    with h5py.File(path, "r+") as file:
        for name in list(file["layers"]):
            kind, _, i = re.fullmatch(r"(\D+2d|\D+?)(_(\d+))?", name).groups()  # type: ignore[union-attr]
            file.move(f"layers/{name}", f"_layer_checkpoint_dependencies/{kind}_{2 * int(i or 0)}")
        del file["layers"]
    assert distance(path, name_of(request), folder, SIZES[0]) < ROUNDING
    path.unlink()


@BOTH
def test_names_of_keras_2(folder: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """TensorFlow's variables end in :0, and in a network that was made twice their layers in _1."""
    path = tmp_path / "weights.h5"
    with h5py.File(folder / "weights.h5") as new, h5py.File(path, "w") as old:
        old.attrs["layer_names"] = new.attrs["layer_names"]

        def copy(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                layer, _, rest = name.partition("/")
                old[f"{layer}/resnet/{layer}_1/{rest.rpartition('/')[2]}:0"] = item[()]

        new.visititems(copy)
    assert distance(path, name_of(request), folder, SIZES[0]) < ROUNDING


@pytest.mark.parametrize("kind", [".keras", ".h5"])
def test_a_compiled_network_in_single_precision(strangers: Path, kind: str) -> None:
    """Its optimiser's variables are no weights."""
    network = from_keras(strangers / f"trained{kind}")
    assert (network.architecture, network.classes) == (ARCHITECTURES["keras-resnet50v2"], 7)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


@pytest.mark.parametrize("kind", [".keras", ".weights.h5", ".h5"])
def test_without_a_classifier(strangers: Path, kind: str) -> None:
    expected = "ResNet50 without its classifier, so without logits; save it with include_top=True"
    assert refused(strangers / f"headless{kind}") == expected


@pytest.mark.parametrize("file", ["mobilenet.keras", "mobilenet.weights.h5", "mobilenet.h5", "vgg16.weights.h5"])
def test_other_networks(strangers: Path, file: str) -> None:
    line = refused(strangers / file)
    assert line.startswith("not one of Keras Applications' six ResNets, nearest is ResNet50")
    assert "conv1_conv/kernel: missing, expected (7, 7, 3, 64); " in line
    assert re.search(r" and \d+ more$", line)
