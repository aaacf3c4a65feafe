"""Facts of the paper, Table 1, Table 6 and Sec. 4.2, and published numbers that a network is compared with."""

from dataclasses import replace
from functools import cache

import pytest
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from pipeline.networks import of_row
from resnet.architectures import ARCHITECTURES, Architecture, changed
from resnet.counting import Count, count, count_of
from resnet.network import build
from resnet.paper.published import table
from resnet.paper.references import references
from resnet.vgg import vgg_19


def shape(network: Architecture) -> dict[str, int]:
    """Returns the classes and image size of the network's data set."""
    return {"classes": 10, "size": 32} if network.stem == "cifar" else {"classes": 1000, "size": 224}


@cache
def counted(network: Architecture) -> Count:
    return count(network, **shape(network))


def torch_counted(network: Architecture) -> int:
    """Counts multiply-adds as torch does: from the operations, not from the layers."""
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


def marks(row: dict[str, str]) -> list[pytest.MarkDecorator]:
    """Torch counts the operations of 1001 and 1202 layers for seconds."""
    return [pytest.mark.slow] if any(depth in row["model"] for depth in ("1001", "1202")) else []


@pytest.mark.parametrize("row", [pytest.param(row, marks=marks(row), id=row["model"]) for row in ROWS])
def test_parameters_and_multiply_adds(row: dict[str, str]) -> None:
    network = network_of(row)
    got = counted(network)
    assert got.parameters == int(row["trainable_params"])
    assert f"{got.multiply_adds / 1e9:.4f}" == f"{float(row['gmacs_conv_fc']):.4f}"
    assert got.multiply_adds == torch_counted(network)
    assert network.depth == int(row["weighted_layers_main_path"])
    with torch.device("meta"):
        tensors = build(network, shape(network)["classes"]).state_dict()
    stored = sum(tensor.numel() for name, tensor in tensors.items() if not name.endswith("num_batches_tracked"))
    assert stored == int(row["total_params_incl_bn_running_stats"])


def test_vgg_19() -> None:
    """The reference of Fig. 3, "19.6 billion FLOPs"."""
    assert f"{count_of(vgg_19, channels=3, size=224).multiply_adds / 1e9:.1f}" == "19.6"
    with torch.device("meta"):
        theirs, ours = torchvision.models.vgg19(), vgg_19()
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]


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


PAIRS = [(name, name.replace("plain", "resnet")) for name in ARCHITECTURES if "plain" in name]


@pytest.mark.parametrize(("plain", "residual"), PAIRS)
def test_option_a_adds_nothing(plain: str, residual: str) -> None:
    """Sec. 3.2: plain and residual networks "that simultaneously have the same number of parameters, depth, width,
    and computational cost"; layer by layer."""
    assert ARCHITECTURES[plain].family == "plain"
    twin = replace(ARCHITECTURES[residual], shortcut="A")
    assert twin == ARCHITECTURES[residual] or ARCHITECTURES[residual].block == "bottleneck"
    assert counted(ARCHITECTURES[plain]).layers == counted(twin).layers


SYSTEMS = {
    "resnet-50": {"KaimingHe"},
    "keras-resnet50": {"Keras Applications"},
    "keras-resnet152v2": {"Keras Applications"},
    "resnet-18": set(),  # option A: all published ones have B
    "preact-resnet-200": set(),
    "plain-34": set(),
    "cifar-resnet-110": set(),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_published_numbers_are_those_of_the_same_network(name: str) -> None:
    assert {row.system for row in references(ARCHITECTURES[name])} == SYSTEMS[name]


def test_published_numbers_of_torchvisions_resnet_50() -> None:
    rows = references(changed(ARCHITECTURES["resnet-50"], {"stride_on": "3x3"}))
    torchvisions = {row.system: (row.top1, row.top5, row.protocol) for row in rows}
    assert torchvisions["torchvision IMAGENET1K_V1"] == (23.87, 7.138, "1-crop 224/256")
    assert torchvisions["torchvision IMAGENET1K_V2"] == (19.142, 4.566, "1-crop 224/232")
    assert {row.variant for row in rows} == {"V1.5", "pytorch style (V1.5)"}  # no blurred pooling, no BN after addition
    assert next(row for row in rows if row.system == "composer").top5 is None
