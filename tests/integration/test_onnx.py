"""ONNX: onnxruntime computes from a file what torch computes, for every kind of network."""

from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from pipeline.errors import UserError
from pipeline.weights import onnx as export
from pipeline.weights.convert import export_file
from pipeline.weights.onnx import to_onnx
from resnet.architectures import _CHOICES, ARCHITECTURES, Architecture, Kind, Shortcut, Unit, changed
from resnet.network import Network
from resnet.weights import encode
from tests.factories.weights import SMALL, lively, run

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

pytestmark = pytest.mark.slow
SIZE = 32


def small(block: Kind, shortcut: Shortcut, **fields: Any) -> Architecture:
    blocks = (1, 1, 1) if block == "basic" else (1, 1)
    return changed(Architecture(stem="cifar", block=block, blocks=blocks, width=4, shortcut=shortcut), fields)


KINDS: tuple[Kind, ...] = ("basic", "bottleneck")
SHORTCUTS: tuple[Shortcut, ...] = ("none", "A", "B", "C")
UNITS: tuple[Unit, ...] = ("bn-after-addition", "relu-before-addition", "relu-only-preactivation", "preactivation")
TINY: dict[str, Any] = {"blocks": (1, 2), "width": 4}
NETWORKS = {
    **{f"{block}-{shortcut}": small(block, shortcut) for block in KINDS for shortcut in SHORTCUTS},
    **{f"imagenet-{block}-B": small(block, "B", stem="imagenet") for block in KINDS},
    "imagenet-plain": small("basic", "none", stem="imagenet"),
    "stride-on-3x3": small("bottleneck", "B", stride_on="3x3"),
    "identity-start": small("basic", "none", initialisation="identity"),
    "four-stages": small("basic", "A", stem="imagenet", blocks=(1, 1, 1, 1)),
    **{f"{unit}-{block}": small(block, "B", unit=unit) for block in KINDS for unit in UNITS},
    "preactivation-A": small("basic", "A", unit="preactivation"),
    "preactivation-plain": small("basic", "none", unit="preactivation"),
    "exclusive-gate": small("basic", "A", gate="exclusive"),
    "shortcut-only-gate": small("bottleneck", "B", gate="shortcut-only"),
    "constant-scaling": small("basic", "A", shortcut_scale=0.5, residual_scale=0.25),
    "dropout-shortcut": small("basic", "A", shortcut_dropout=0.5),
    "keras": changed(ARCHITECTURES["keras-resnet50"], TINY),
    "keras-v2": changed(ARCHITECTURES["keras-resnet50v2"], TINY),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_network(name: str) -> None:
    network = lively(NETWORKS[name])
    assert network.training
    content, difference = to_onnx(network, SIZE)
    assert network.training  # the caller's network is as it was
    assert difference <= 1e-5
    network.eval()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for batch in (1, 2, 7):
        images = torch.randn(batch, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(100 + batch))
        with torch.no_grad():
            expected = network(images)
        logits = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
        assert logits.shape == (batch, 10)
        assert float((logits - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
        if batch > 1:  # or the images would not matter
            assert float((expected[0] - expected[1]).abs().max()) > 1e-3 * float(expected.abs().max())


def test_the_list_has_every_choice() -> None:
    """A field's new value is not exported untested."""
    for field, choices in _CHOICES.items():
        assert {getattr(network, field) for network in NETWORKS.values()} == set(get_args(choices)), field


@pytest.fixture(scope="module")
def exported() -> tuple[Network, bytes]:
    network = lively(NETWORKS["basic-A"], classes=5, channels=1).double()
    return network, to_onnx(network, 16)[0]


def test_the_files_interface(exported: tuple[Network, bytes]) -> None:
    """One input and one output with a free batch, weights inside, float32 of a network in double precision."""
    model = onnx.load_from_string(exported[1])
    types = [(value.name, value.type.tensor_type) for value in (*model.graph.input, *model.graph.output)]
    sides = [(name, kind.elem_type, [d.dim_param or d.dim_value for d in kind.shape.dim]) for name, kind in types]
    assert sides == [
        ("images", onnx.TensorProto.FLOAT, ["batch", 1, 16, 16]),
        ("logits", onnx.TensorProto.FLOAT, ["batch", 5]),
    ]
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert next(exported[0].parameters()).dtype == torch.float64


def test_files_name_no_path_and_repeat(exported: tuple[Network, bytes]) -> None:
    assert b".py" not in exported[1]
    assert str(Path(export.__file__).parents[1]).encode() not in exported[1]
    assert to_onnx(exported[0], 16)[0] == exported[1]


def test_another_function_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight that is wrong by 1 in 1000 is found, and nothing is written."""
    whole = export._exported

    def wrong(network: Network, size: int) -> Any:
        model = whole(network, size)
        (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == "head.fc.weight")
        values = onnx.numpy_helper.to_array(weight) * 1.001
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype("float32"), weight.name))
        return model

    monkeypatch.setattr(export, "_exported", wrong)
    (tmp_path / "a.safetensors").write_bytes(encode(lively(SMALL), {"size": "32"}))
    with pytest.raises(UserError, match=r"differ from torch's by \d\.\de-0[34] of the largest, more than 1e-05"):
        export_file(tmp_path / "a.safetensors", tmp_path / "a.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize(("words", "expected"), [([], 8), (["--size", "16"], 16)])
def test_images_have_the_size_of_training(
    words: list[str], expected: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run on digits has images of 8x8 pixels and one channel; onnxruntime takes these, as torch does."""
    network = lively(SMALL, channels=1)
    (tmp_path / "a.safetensors").write_bytes(encode(network, {"key": "0123", "size": "8"}))
    run("export", tmp_path / "a.safetensors", tmp_path / "a.onnx", *words)
    assert f"for onnx, images of {expected} pixels; onnxruntime's logits within" in capsys.readouterr().out
    images = torch.randn(3, 1, expected, expected, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession((tmp_path / "a.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": images.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(logits), network.eval()(images), rtol=1e-5, atol=1e-5)
