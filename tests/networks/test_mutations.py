"""The tests of the networks can fail: each known way of getting a ResNet slightly wrong turns some of them red."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TORCHVISION = "tests/networks/test_networks.py::test_torchvision"
MUTATIONS = {  # what goes wrong: file, text, what replaces it, the test that must see it
    "stride in the other convolution": (
        "blocks.py",
        'if network.stride_on == "1x1" else',
        'if network.stride_on == "3x3" else',
        f"{TORCHVISION}[50]",
    ),
    "option A pads in another place": (
        "blocks.py",
        "(0, 0, 0, 0, 0, self.extra)",
        "(0, 0, 0, 0, self.extra, 0)",
        "tests/networks/test_networks.py::test_option_a_by_hand",
    ),
    "option A takes other pixels": (
        "blocks.py",
        "x[:, :, :: self.stride, :: self.stride]",
        "x[:, :, self.stride - 1 :: self.stride, self.stride - 1 :: self.stride]",
        "tests/networks/test_networks.py::test_option_a_by_hand",
    ),
    "epsilon of TensorFlow": (
        "architectures.py",
        "bn_epsilon: float = 1e-5",
        "bn_epsilon: float = 1e-3",
        f"{TORCHVISION}[18]",
    ),
    "a missing ReLU": (
        "blocks.py",
        'layers[f"relu{i}"] = nn.ReLU(inplace=True)',
        'layers[f"relu{i}"] = nn.Identity()',
        f"{TORCHVISION}[18]",
    ),
    "momentum of TensorFlow": (
        "blocks.py",
        "eps=network.bn_epsilon)",
        "eps=network.bn_epsilon, momentum=0.01)",
        f"{TORCHVISION}[18]",
    ),
    "gamma that starts at zero": (
        "network.py",
        "        for module in network.modules():\n            if isinstance(module, Gated)",
        "        for module in network.modules():\n            if isinstance(module, nn.BatchNorm2d):\n"
        "                module.weight.zero_()\n            if isinstance(module, Gated)",
        "tests/networks/test_networks.py::test_initial_weights",
    ),
}


def outcome(folder: Path, *tests: str) -> int:
    """pytest's exit code: 0 green, 1 red, others for tests that could not be run."""
    words = (sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts=")
    return subprocess.run([*words, *tests], cwd=folder, capture_output=True, timeout=300, check=False).returncode


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("resnet", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests" / "conftest.py").unlink()
    return tmp_path


def test_the_copy_is_green(copy: Path) -> None:
    assert outcome(copy, *{test for _, _, _, test in MUTATIONS.values()}) == 0


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation_is_seen(name: str, copy: Path) -> None:
    file, text, other, test = MUTATIONS[name]
    path = copy / "resnet" / file
    source = path.read_text()
    assert source.count(text) == 1
    path.write_text(source.replace(text, other))
    assert outcome(copy, test) == 1
