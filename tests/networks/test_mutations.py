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


RUN = """
import os, sys
import pytest, torch, torchvision  # once for all copies: it takes longer than the tests
for folder, *tests in (line.split() for line in sys.stdin):
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)  # standard output has the codes alone
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


def mutated(folder: Path, name: str) -> Path:
    file, text, other, _ = MUTATIONS[name]
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
    asked += [f"{mutated(tmp_path_factory.mktemp('copy'), name)} {MUTATIONS[name][3]}" for name in MUTATIONS]
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=tmp_path_factory.mktemp("empty"),
        input="\n".join(asked),
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    return dict(zip(["none", *MUTATIONS], map(int, done.stdout.split()), strict=True))


def test_the_copy_is_green(outcomes: dict[str, int]) -> None:
    assert outcomes["none"] == 0


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation_is_seen(name: str, outcomes: dict[str, int]) -> None:
    assert outcomes[name] == 1
