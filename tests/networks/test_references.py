"""Which published numbers stand beside a network's own, and what is said where they do not compare."""

import pytest

from pipeline.datasets.folder import wnids
from pipeline.evaluation import scoreboard
from resnet.architectures import ARCHITECTURES, changed
from resnet.preprocessing import PREPROCESSINGS

SYSTEMS = {
    "resnet-50": {"KaimingHe"},
    "keras-resnet50": {"Keras Applications"},
    "keras-resnet152v2": {"Keras Applications"},
    "resnet-18": set(),  # option A: everybody published B
    "preact-resnet-200": set(),
    "plain-34": set(),
    "cifar-resnet-110": set(),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_published_numbers_are_those_of_the_same_network(name: str) -> None:
    rows = scoreboard.published(ARCHITECTURES[name], 1000)
    assert {row.system for row in rows} == SYSTEMS[name]
    assert scoreboard.published(ARCHITECTURES[name], 10) == []


def test_published_numbers_of_torchvisions_resnet_50() -> None:
    rows = scoreboard.published(changed(ARCHITECTURES["resnet-50"], {"stride_on": "3x3"}), 1000)
    torchvisions = {row.system: (row.top1_error_percent, row.top5_error_percent, row.protocol) for row in rows}
    assert torchvisions["torchvision IMAGENET1K_V1"] == (23.87, 7.138, "1-crop 224/256")
    assert torchvisions["torchvision IMAGENET1K_V2"] == (19.142, 4.566, "1-crop 224/232")
    assert {row.variant for row in rows} == {"V1.5", "pytorch style (V1.5)"}  # no blurred pooling, no BN after addition
    assert next(row for row in rows if row.system == "composer").top5_error_percent is None


def test_notes_on_what_the_errors_may_not_be() -> None:
    torchvisions = changed(ARCHITECTURES["resnet-50"], {"stride_on": "3x3"})
    how, thousand = PREPROCESSINGS["torchvision"], [f"{i:04d}" for i in range(1000)]
    assert scoreboard.notes(torchvisions, how, list(wnids()), 50_000) == []
    assert scoreboard.notes(torchvisions, how, ["a", "b"], 5) == []
    assert "not the WNIDs" in scoreboard.notes(torchvisions, how, thousand, 50_000)[0]
    assert "--preprocessing paper" in scoreboard.notes(ARCHITECTURES["plain-34"], how, ["a", "b"], 5)[0]
