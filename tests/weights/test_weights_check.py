"""`python -m pipeline.weights check`: what a file is, and that it is not another network's."""

from pathlib import Path

import pytest
import torch

from pipeline.store.records import write_bytes
from resnet.architectures import changed
from resnet.weights import encode, save, to_torchvision
from resnet.weights.torchvision import published
from tests.weights_maker import LINE_18, SMALL, lively, refusal, run


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a file of ours and, beside it, as torchvision's .pth."""
    network, path = lively(published(18)), tmp_path_factory.mktemp("resnet18") / "r18.safetensors"
    save(network, path)
    torch.save(to_torchvision(network), path.with_suffix(".pth"))
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    save(lively(SMALL), tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


def test_check_says_what_a_file_is(resnet18: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bytes(tmp_path / "weights.safetensors", encode(lively(SMALL, channels=1), {"key": "0123"}))  # as a run does
    run("check", tmp_path / "weights.safetensors")
    run("check", resnet18)
    run("check", resnet18.with_suffix(".pth"), "--network", "resnet-18", "--set", "shortcut=B")
    run("check", tmp_path / "weights.safetensors", "--network", "plain-18", "--set", "stem=cifar", "--set", "width=4",
        "--set", "blocks=1,1", "--set", "shortcut=A")  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    finite = "every value is finite"
    small = (
        "cifar-resnet-20 with blocks=1,1, width=4, 1-channel images, 10 classes, 1,334 parameters, "
        "553,040 multiply-adds at 32 pixels; "
    )
    assert lines == [
        f"{tmp_path}/weights.safetensors: this project's, {small}{finite}",
        f"{resnet18}: this project's, {LINE_18.format(finite)}".rstrip(),
        f"{resnet18.with_suffix('.pth')}: torchvision, {LINE_18.format(finite)}".rstrip(),
        lines[0],
    ]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            ("resnet-18",),
            "not resnet-18: conv3_x.0.shortcut.conv.weight: unknown, (128, 64, 1, 1); conv3_x.0.shortcut.bn.weight: "
            "unknown, (128); conv3_x.0.shortcut.bn.bias: unknown, (128) and 15 more",
        ),
        (
            ("resnet-34", "shortcut=B"),
            "not resnet-34 shortcut=B: conv2_x.2.residual.conv1.weight: missing, expected (64, 64, 3, 3); "
            "conv2_x.2.residual.bn1.weight: missing, expected (64); conv2_x.2.residual.bn1.bias: missing, "
            "expected (64) and 93 more",
        ),
        (
            ("resnet-18", "shortcut=B", "stem=cifar"),
            "not resnet-18 shortcut=B stem=cifar: conv1.conv.weight: (64, 3, 7, 7), expected (64, 3, 3, 3)",
        ),
        (
            ("resnet-18", "shortcut=B", "shortcut_scale=0.5", "bn_epsilon=1e-3"),
            "not resnet-18 shortcut=B shortcut_scale=0.5 bn_epsilon=1e-3: the same tensors, but shortcut_scale is 1.0, "
            "not 0.5; bn_epsilon is 1e-05, not 0.001",
        ),
    ],
)
def test_check_refuses_another_network(wanted: tuple[str, ...], message: str, resnet18: Path) -> None:
    settings = [word for setting in wanted[1:] for word in ("--set", setting)]
    assert refusal("check", resnet18, "--network", wanted[0], *settings) == f"{resnet18}: {message}"


def test_the_stride_of_a_bottleneck_tells_networks_apart(tmp_path: Path) -> None:
    """Their tensors do not: torchvision's ResNet-50 has the paper's names and shapes, and computes something else."""
    network = changed(SMALL, {"block": "bottleneck", "stride_on": "3x3", "shortcut": "B"})
    save(lively(network), tmp_path / "w.safetensors")
    like = ["--network", "resnet-50", "--set", "stem=cifar", "--set", "blocks=[1, 1]", "--set", "width=4"]
    run("check", tmp_path / "w.safetensors", *like, "--set", "stride_on=3x3")
    message = refusal("check", tmp_path / "w.safetensors", *like)
    assert message.endswith(": the same tensors, but stride_on is 3x3, not 1x1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--network", "resnet-19"), "--network: unknown network 'resnet-19', did you mean resnet-1"),
        (
            ("--network", "resnet-18", "--set", "shortcuts=B"),
            "--network: an architecture has no field 'shortcuts', did",
        ),
        (("--network", "resnet-18", "--set", "shortcut"), "--network: --set takes FIELD=VALUE, got 'shortcut'"),
        (
            ("--network", "resnet-18", "--set", "shortcut=D"),
            "--network: shortcut must be one of none, A, B, C, got 'D'",
        ),
        (("--network", "resnet-18", "--set", "width=wide"), "--network: width must be an integer, got 'wide'"),
        (("--network", "resnet-18", "--set", "blocks=2,x"), "--network: blocks must be integers with commas between"),
        (("--network", "resnet-18", "--set", "bn_epsilon="), "--network: bn_epsilon must be a number, got ''"),
        (("--set", "shortcut=B"), "--set changes a field of --network NAME; add it"),
    ],
)
def test_what_check_is_asked(arguments: tuple[str, ...], message: str, small: Path) -> None:
    assert refusal("check", small, *arguments).startswith(message)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite(value: float, tmp_path: Path) -> None:
    network = lively(SMALL)
    with torch.no_grad():
        for name in ("conv3_x.0.residual.bn2.running_var", "head.fc.bias"):
            network.state_dict()[name][1:3] = value
    save(network, tmp_path / "w.safetensors")
    message = f"{tmp_path}/w.safetensors: conv3_x.0.residual.bn2.running_var: 2 of 8 values are NaN or infinite"
    assert refusal("check", tmp_path / "w.safetensors") == message
    assert refusal("export", tmp_path / "w.safetensors", tmp_path / "out.onnx") == message
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_values_of_others_that_are_not_finite(resnet18: Path, tmp_path: Path) -> None:
    state = torch.load(resnet18.with_suffix(".pth"), weights_only=True)
    state["layer2.0.bn1.bias"][5] = float("nan")
    torch.save(state, tmp_path / "w.pth")
    message = f"{tmp_path}/w.pth: conv3_x.0.residual.bn1.bias: 1 of 128 values are NaN or infinite"
    assert refusal("check", tmp_path / "w.pth") == message
    assert refusal("import", tmp_path / "w.pth", tmp_path / "w.safetensors") == message
    assert not (tmp_path / "w.safetensors").exists()
