"""Facts of the paper: Table 1, Table 6 and Sec. 4.2."""

import csv
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import resnet
from pipeline.catalogue import of_row
from resnet.architectures import ARCHITECTURES, Architecture, architecture, changed
from resnet.counting import Count, count, count_of
from resnet.network import build
from resnet.vgg import vgg_19

PAPER = Path(resnet.__file__).parent / "paper"


def table(name: str) -> list[dict[str, str]]:
    with (PAPER / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def shape(network: Architecture) -> dict[str, int]:
    """What the network is made for."""
    return {"classes": 10, "size": 32} if network.stem == "cifar" else {"classes": 1000, "size": 224}


@cache
def counted(network: Architecture) -> Count:
    return count(network, **shape(network))


def torch_counted(network: Architecture) -> int:
    """Multiply-adds as torch counts them: from the operations, not from the layers."""
    size = shape(network)["size"]
    with torch.device("meta"):
        built, image = build(network, shape(network)["classes"]).eval(), torch.empty(1, 3, size, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        built(image)
    return int(counter.get_total_flops()) // 2


ROWS = table("derived_params_macs")


def network_of(row: dict[str, str]) -> Architecture:
    name, fields = of_row(row["model"])
    return changed(ARCHITECTURES[name], fields)


def test_every_row_is_there() -> None:
    assert len(ROWS) == 50


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["model"])
def test_parameters_and_multiply_adds(row: dict[str, str]) -> None:
    network = network_of(row)
    got = counted(network)
    assert got.parameters == int(row["trainable_params"])
    assert f"{got.multiply_adds / 1e9:.4f}" == f"{float(row['gmacs_conv_fc']):.4f}"
    assert got.multiply_adds == torch_counted(network)
    assert network.depth == int(row["weighted_layers_main_path"])


def test_vgg_19() -> None:
    """The reference of Fig. 3, "19.6 billion FLOPs"."""
    got = count_of(vgg_19, channels=3, size=224)
    assert f"{got.multiply_adds / 1e9:.1f}" == "19.6"
    with torch.device("meta"):  # 144 million initial weights of torchvision's take seconds
        theirs, ours = torchvision.models.vgg19(), vgg_19()
    assert got.parameters == sum(parameter.numel() for parameter in theirs.parameters())
    chance = torch.Generator().manual_seed(0)
    weights = [torch.empty_like(w, device="cpu") for w in theirs.parameters()]
    for w in weights:
        torch.nn.init.kaiming_uniform_(w if w.dim() > 1 else w[:, None], generator=chance)
    for network in (theirs, ours):
        network.load_state_dict(dict(zip(network.state_dict(), weights, strict=True)), assign=True)
    images = torch.randn(2, 3, 224, 224, generator=chance)
    with torch.no_grad():
        expected = theirs.eval()(images)
        assert expected.std() > 0.1
        torch.testing.assert_close(ours.eval()(images), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("row", [r for r in ROWS if "1202" not in r["model"]], ids=lambda row: row["model"])
def test_running_statistics(row: dict[str, str]) -> None:
    with torch.device("meta"):
        network = build(network_of(row), 10 if row["model"].startswith("cifar") else 1000)
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


PAPERS = [name for name, network in ARCHITECTURES.items() if network.stem == "imagenet" and "keras" not in name]


@pytest.mark.parametrize("name", PAPERS)
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
def test_option_a_adds_nothing(plain: str, residual: str) -> None:
    """Sec. 3.2: plain and residual networks "that simultaneously have the same number of parameters, depth, width,
    and computational cost"; layer by layer."""
    assert ARCHITECTURES[plain].family == "plain"
    twin = replace(ARCHITECTURES[residual], shortcut="A")
    assert twin == ARCHITECTURES[residual] or ARCHITECTURES[residual].block == "bottleneck"
    assert counted(ARCHITECTURES[plain]).layers == counted(twin).layers


@pytest.mark.parametrize("name", ["cifar-plain-20", "cifar-resnet-56"])
def test_depth_is_6n_plus_2(name: str) -> None:
    assert int(name.rpartition("-")[2]) == 6 * architecture(name).blocks[0] + 2 == architecture(name).depth


@pytest.mark.parametrize(("depth", "low", "high"), [(21, 20, 26), (19, 14, 20), (2, 8, 14), (0, 8, 14)])
def test_other_depths_are_refused(depth: int, low: int, high: int) -> None:
    with pytest.raises(ValueError, match=rf"cifar-plain-{depth}'.*6n\+2.*nearest are {low} and {high}"):
        architecture(f"cifar-plain-{depth}")
