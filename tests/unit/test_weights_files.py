"""Weights files of this project: a file is its network, bit for bit, and others are refused."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save as to_bytes
from torch import Tensor

from resnet.architectures import ARCHITECTURES, changed
from resnet.network import build
from resnet.weights import WrongWeights, decode, encode, from_torchvision, load, notes, save, to_torchvision
from tests.factories.weights import SMALL, lively

ROOT = Path(__file__).parents[2]
OTHERS: dict[str, dict[str, Any]] = {
    "plain": {"shortcut": "none"},
    "bottleneck-C": {"block": "bottleneck", "shortcut": "C", "stem": "imagenet"},
    "preactivation": {"unit": "preactivation", "shortcut": "B"},
    "gate": {"gate": "exclusive", "gate_bias": -5.0},
    "scaled": {"shortcut_scale": 0.1, "residual_scale": 1 / 3},
    "keras": {"bias": "ends", "bn_epsilon": 1.001e-5, "stride_in": "last"},
}


@pytest.mark.parametrize("fields", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16])
def test_a_file_is_its_network(fields: dict[str, Any], kind: torch.dtype, tmp_path: Path) -> None:
    network = lively(changed(SMALL, fields), classes=7, channels=1).to(kind)
    save(network, tmp_path / "w.safetensors")
    read = load(tmp_path / "w.safetensors")
    assert (read.architecture, read.classes, read.channels) == (network.architecture, 7, 1)
    ours, theirs = network.state_dict(), read.state_dict()
    assert list(ours) == list(theirs)
    assert all(ours[name].dtype == theirs[name].dtype and torch.equal(ours[name], theirs[name]) for name in ours)
    assert all(parameter.requires_grad for parameter in read.parameters())
    assert encode(read) == (tmp_path / "w.safetensors").read_bytes()


def test_equal_bytes_in_every_process() -> None:
    """The order in which a process's hash tables hold names does not matter."""
    program = (
        "import sys, hashlib; from resnet.weights import encode; from tests.factories.weights import SMALL, lively;"
        "sys.stdout.write(hashlib.sha256(encode(lively(SMALL), {'b': '2', 'a': '1'})).hexdigest())"
    )
    environment = {"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True, text=True, timeout=120)
    assert done.stdout == hashlib.sha256(encode(lively(SMALL), {"a": "1", "b": "2"})).hexdigest()


def test_notes_change_no_weight() -> None:
    network = lively(SMALL)
    noted = encode(network, {"key": "0123", "size": "8"})
    assert notes(noted) == {"key": "0123", "size": "8"}
    assert notes(encode(network)) == {}
    assert encode(decode(noted)) == encode(network)


def described(**changes: Any) -> dict[str, str]:
    """Returns the metadata of a file, with something else in it."""
    content = encode(lively(SMALL))
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return {"resnet": json.dumps({**json.loads(header["__metadata__"]["resnet"]), **changes})}


ARCHITECTURE = json.loads(described()["resnet"])["architecture"]
NO_NETWORK = "w: its metadata describe no network ("


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "w: its metadata name no network; it was not written by this project"),
        ({"resnet": "{"}, NO_NETWORK),
        ({"resnet": "[]"}, NO_NETWORK),
        (described(format=2), f"{NO_NETWORK}format 2, this version reads 1)"),
        (described(classes="ten"), f"{NO_NETWORK}classes and channels must be positive integers, got 'ten' and 3)"),
        (described(architecture={**ARCHITECTURE, "shortcut": "D"}), f"{NO_NETWORK}shortcut must"),
        (described(architecture={**ARCHITECTURE, "depth": 18}), NO_NETWORK),
        (described(classes=11), "w: head.fc.weight: (10, 8), expected (11, 8); head.fc.bias: (10), expected (11)"),
        (described(channels=1), "w: conv1.conv.weight: (4, 3, 3, 3), expected (4, 1, 3, 3)"),
    ],
)
def test_files_that_describe_another_network(metadata: dict[str, str], message: str) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in lively(SMALL).state_dict().items()}
    with pytest.raises(WrongWeights) as refused:
        decode(to_bytes(tensors, metadata=metadata), "w")
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_every_cut_is_refused() -> None:
    content = encode(lively(SMALL))
    for length in (0, 4, 8, 100, len(content) // 2, len(content) - 1):
        with pytest.raises(WrongWeights, match=r"^weights: no safetensors file"):
            decode(content[:length])


def shapes(model: str) -> dict[str, Tensor]:
    """Returns torchvision's state dict without memory."""
    with torch.device("meta"):
        state: dict[str, Tensor] = getattr(torchvision.models, model)().state_dict()
    return state


REFUSED = {
    "wide_resnet50_2": (
        shapes("wide_resnet50_2"),
        "not torchvision's weights (in our names): conv2_x.0.residual.conv1.weight: (128, 64, 1, 1), expected "
        "(64, 64, 1, 1); conv2_x.0.residual.bn1.weight: (128), expected (64)",
    ),
    "renamed": (
        {name.replace("layer3.1.bn2.bias", "layer3.1.bn2.beta"): t for name, t in shapes("resnet18").items()},
        "not torchvision's weights (in our names): conv4_x.1.residual.bn2.bias: missing, expected (256); "
        "conv4_x.1.residual.bn2.beta: unknown, (256)",
    ),
    "vgg11": (
        shapes("vgg11"),
        "not a state dict of torchvision's resnet18, resnet34, resnet50, resnet101, resnet152: "
        "it has basic blocks (0, 0, 0, 0) in layer1 to layer4",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_state_dicts(name: str) -> None:
    state, message = REFUSED[name]
    with pytest.raises(WrongWeights) as refused:
        from_torchvision(state)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "fields"),
    [("plain-18", {}), ("resnet-18", {}), ("resnet-50", {}), ("resnet-50", {"shortcut": "C", "stride_on": "3x3"})],
)
def test_networks_that_torchvision_does_not_have(name: str, fields: dict[str, Any]) -> None:
    with torch.device("meta"):
        network = build(ARCHITECTURES[name], 10, **fields)
    with pytest.raises(WrongWeights, match=r"^torchvision has no such network: .*shortcut B and stride_on 3x3$"):
        to_torchvision(network)
