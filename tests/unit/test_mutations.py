"""Mutation tests: each known way to get a ResNet slightly wrong makes a test of the networks fail."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # imports torchvision in a process of its own and forks eight pytest processes
ROOT = Path(__file__).parents[2]
TORCHVISION = "tests/unit/test_networks.py::test_torchvision"
OPTION_A = "tests/unit/test_networks.py::test_option_a_by_hand"
MUTATIONS = {  # what goes wrong: file, text, what replaces it, the test that must see it
    "stride in the other convolution": ("blocks.py", 'on == "1x1" else', 'on == "3x3" else', f"{TORCHVISION}[50]"),
    "option A pads in another place": (
        "blocks.py",
        "(0, 0, 0, 0, 0, self.extra)",
        "(0, 0, 0, 0, self.extra, 0)",
        OPTION_A,
    ),
    "option A takes other pixels": (
        "blocks.py",
        "x[:, :, :: self.stride, :: self.stride]",
        "x[:, :, self.stride - 1 :: self.stride, self.stride - 1 :: self.stride]",
        OPTION_A,
    ),
    "epsilon of TensorFlow": (
        "architectures.py",
        "epsilon: float = 1e-5",
        "epsilon: float = 1e-3",
        f"{TORCHVISION}[18]",
    ),
    "a missing ReLU": (
        "blocks.py",
        'layers[f"relu{i}"] = nn.ReLU(inplace=True)',
        'layers[f"relu{i}"] = nn.Identity()',
        f"{TORCHVISION}[18]",
    ),
    "momentum of TensorFlow": ("blocks.py", "bn_epsilon)", "bn_epsilon, momentum=0.01)", f"{TORCHVISION}[18]"),
    "gamma that starts at zero": (
        "network.py",
        "        for module in network.modules():\n            if isinstance(module, Gated)",
        "        for module in network.modules():\n            if isinstance(module, nn.BatchNorm2d):\n"
        "                module.weight.zero_()\n            if isinstance(module, Gated)",
        "tests/unit/test_networks.py::test_initial_weights",
    ),
}
RUN = """
import os, sys
import pytest, torch, torchvision  # once for all copies: it takes longer than the tests
for folder, *tests in (line.split() for line in sys.stdin):
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)  # standard output has only the codes
        os.chdir(folder)
        sys.path.insert(0, folder)
        os._exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts=", *tests]))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def copied(folder: Path) -> Path:
    for name in ("resnet", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests" / "conftest.py").unlink()
    return folder


def mutated(folder: Path, file: str, text: str, other: str) -> Path:
    path = copied(folder) / "resnet" / file
    source = path.read_text()
    assert source.count(text) == 1
    path.write_text(source.replace(text, other))
    return folder


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """pytest's exit code by mutation, and of a copy that was left as it is: 0 green, 1 red, others for neither."""
    whole = {test for _, _, _, test in MUTATIONS.values()}
    asked = [f"{copied(tmp_path_factory.mktemp('copy'))} {' '.join(whole)}"]
    asked += [f"{mutated(tmp_path_factory.mktemp('copy'), *row)} {test}" for *row, test in MUTATIONS.values()]
    words, empty = [sys.executable, "-c", RUN], tmp_path_factory.mktemp("empty")
    done = subprocess.run(
        words, cwd=empty, input="\n".join(asked), capture_output=True, text=True, timeout=600, check=True
    )
    return dict(zip(["none", *MUTATIONS], map(int, done.stdout.split()), strict=True))


@pytest.mark.parametrize("name", ["none", *MUTATIONS])
def test_mutation_is_seen(name: str, outcomes: dict[str, int]) -> None:
    assert outcomes[name] == (0 if name == "none" else 1)
