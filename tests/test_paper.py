"""Facts of the paper: Table 1, Table 6 and Sec. 4.2."""

import csv
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import resnet
from resnet.architectures import ARCHITECTURES, Architecture, Shortcut, architecture
from resnet.count import Count, count
from resnet.network import build

PAPER = Path(resnet.__file__).parent / "paper"


def table(name: str) -> list[dict[str, str]]:
    with (PAPER / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@cache
def counted(network: Architecture) -> Count:
    if network.stem == "cifar":
        return count(network, classes=10, channels=3, size=32)
    return count(network, classes=1000, channels=3, size=224)


FAMILIES = ("imagenet-plain", "imagenet-basic", "imagenet-bottleneck", "cifar-plain", "cifar-resnet")
ROWS = [row for row in table("derived_params_macs") if row["family"] in FAMILIES]
SHORTCUTS: dict[str | None, Shortcut] = {None: "none", "A": "A", "B": "B", "C": "C"}


def of_row(model: str) -> Architecture:
    """resnet-50-B-v1.5 is resnet-50 with shortcuts B and the stride in the 3x3 convolution."""
    match = re.fullmatch(r"((?:cifar-)?(?:plain|resnet)-\d+)(?:-([ABC]))?(?:-v(1|1\.5))?", model)
    assert match is not None
    name, option, version = match.groups()
    base = ARCHITECTURES[name if name in ARCHITECTURES else name.replace("plain", "resnet")]
    return replace(base, shortcut=SHORTCUTS[option], stride_on="3x3" if version == "1.5" else "1x1")


def test_every_row_is_there() -> None:
    assert len(ROWS) == 39


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["model"])
def test_parameters_and_multiply_adds(row: dict[str, str]) -> None:
    network = of_row(row["model"])
    got = counted(network)
    assert got.parameters == int(row["trainable_params"])
    assert f"{got.multiply_adds / 1e9:.4f}" == f"{float(row['gmacs_conv_fc']):.4f}"
    assert network.depth == int(row["weighted_layers_main_path"])


@pytest.mark.parametrize("row", [r for r in ROWS if "1202" not in r["model"]], ids=lambda row: row["model"])
def test_running_statistics(row: dict[str, str]) -> None:
    with torch.device("meta"):
        network = build(of_row(row["model"]), 10 if row["model"].startswith("cifar") else 1000)
    stored = sum(v.numel() for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked"))
    assert stored == int(row["total_params_incl_bn_running_stats"])


@pytest.mark.parametrize("row", table("he2015_table1_architectures"), ids=lambda row: row["model"])
def test_table_1(row: dict[str, str]) -> None:
    network = ARCHITECTURES[row["model"]]
    assert network.depth == int(row["layers"])
    assert network.block == row["block"]
    assert network.blocks == tuple(int(row[f"conv{stage}_x"]) for stage in (2, 3, 4, 5))
    # 0.1 tells the stride in the 1x1 (3.86, 7.57, 11.28) from the stride in the 3x3 (4.09, 7.80, 11.51)
    assert counted(network).multiply_adds / 1e9 == pytest.approx(float(row["paper_flops_multiply_adds_1e9"]), abs=0.1)


@pytest.mark.parametrize(
    "row", [r for r in table("he2015_table6") if r["method"] == "ResNet"], ids=lambda r: r["layers"]
)
def test_table_6(row: dict[str, str]) -> None:
    network = ARCHITECTURES[f"cifar-resnet-{row['layers']}"]
    digits = len(row["params_M"].partition(".")[2])
    assert f"{counted(network).parameters / 1e6:.{digits}f}" == row["params_M"]
    assert network.depth == int(row["layers"])
    assert network.shortcut == "A"  # "we use identity shortcuts in all cases (i.e., option A)"


def sizes(network: Architecture, size: int) -> dict[str, tuple[int, ...]]:
    """(C, H, W) behind the first convolution and behind each stage."""
    with torch.device("meta"):
        built = build(network, 10)
        image = torch.empty(2, 3, size, size)
    seen: dict[str, tuple[int, ...]] = {}

    def watch(name: str, module: nn.Module) -> None:
        def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = tuple(output.shape[1:])

        module.register_forward_hook(note)

    watch("conv1", built.get_submodule("conv1.conv"))
    for name, child in built.named_children():
        if name.endswith("_x"):
            watch(name, child)
    assert built(image).shape == (2, 10)
    return seen


@pytest.mark.parametrize("name", [name for name, network in ARCHITECTURES.items() if network.stem == "imagenet"])
@pytest.mark.parametrize("stride_on", ["1x1", "3x3"])
def test_output_sizes_of_table_1(name: str, stride_on: str) -> None:
    network = replace(ARCHITECTURES[name], stride_on="1x1" if stride_on == "1x1" else "3x3")
    wide = 4 if network.block == "bottleneck" else 1
    assert sizes(network, 224) == {
        "conv1": (64, 112, 112),
        "conv2_x": (64 * wide, 56, 56),
        "conv3_x": (128 * wide, 28, 28),
        "conv4_x": (256 * wide, 14, 14),
        "conv5_x": (512 * wide, 7, 7),
    }


@pytest.mark.parametrize("name", ["cifar-plain-20", "cifar-resnet-20", "cifar-resnet-110"])
def test_output_sizes_of_section_4_2(name: str) -> None:
    expected = {"conv1": (16, 32, 32), "conv2_x": (16, 32, 32), "conv3_x": (32, 16, 16), "conv4_x": (64, 8, 8)}
    assert sizes(ARCHITECTURES[name], 32) == expected


PAIRS = [(name, name.replace("plain", "resnet")) for name in ARCHITECTURES if "plain" in name]


@pytest.mark.parametrize(("plain", "residual"), PAIRS)
def test_option_a_adds_nothing(plain: str, residual: str) -> None:  # Sec. 3.3: "fairly compare"
    assert ARCHITECTURES[residual].shortcut == "A"
    assert ARCHITECTURES[plain].family == "plain"
    assert counted(ARCHITECTURES[plain]) == counted(ARCHITECTURES[residual])


@pytest.mark.parametrize("name", ["cifar-plain-20", "cifar-resnet-56"])
def test_depth_is_6n_plus_2(name: str) -> None:
    assert int(name.rpartition("-")[2]) == 6 * architecture(name).blocks[0] + 2 == architecture(name).depth


@pytest.mark.parametrize(("depth", "low", "high"), [(21, 20, 26), (19, 14, 20), (2, 8, 14), (0, 8, 14)])
def test_other_depths_are_refused(depth: int, low: int, high: int) -> None:
    with pytest.raises(ValueError, match=rf"cifar-plain-{depth}'.*6n\+2.*nearest are {low} and {high}"):
        architecture(f"cifar-plain-{depth}")
