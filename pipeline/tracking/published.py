"""The paper's error of a network, where the paper has the same network on the same data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resnet.architectures import ARCHITECTURES, Architecture, same_but
from resnet.paper.published import table


@dataclass(frozen=True, slots=True)
class Published:
    top1_error_percent: float
    split: str  # test | val
    protocol: str  # of the paper
    source: str

    def comparable(self, protocol: str) -> bool:
        """Whether an error measured by `protocol` may be set beside it: 1-crop is not 10-crop."""
        return self.protocol.split()[0] == protocol.split()[0]


def published(dataset: str | None, architecture: Mapping[str, Any]) -> Published | None:
    """The paper's figure for these values of an Architecture, None where it has none."""
    name = _name(architecture)
    if name is None:
        return None
    family, _, depth = name.rpartition("-")
    if dataset == "cifar10" and family == "cifar-resnet":
        for row in table("he2015_table6"):
            if row["method"] == "ResNet" and row["layers"] == depth:
                mean = row["mean_err"]  # of five runs where there were five: what one run is expected to give
                return Published(float(mean or row["cifar10_test_err"]), "test", "single view", row["source"])
    if dataset == "imagenet" and family in ("plain", "resnet"):
        return _imagenet(family, depth, str(architecture["shortcut"]))
    return None


def _imagenet(family: str, depth: str, shortcut: str) -> Published | None:
    label = {"plain": f"plain-{depth}", "resnet": f"ResNet-{depth}"}[family]
    for row in table("he2015_table3"):
        if row["model"] in (label, f"{label} {shortcut}"):
            return Published(float(row["top1_err_10crop_val"]), "val", "10-crop testing", row["source"])
    for row in table("he2015_table2"):
        if (row["net"], row["layers"], row["shortcut_option"]) == (family, depth, shortcut):
            return Published(float(row["top1_err_10crop_val"]), "val", "10-crop testing", row["source"])
    return None


def _name(values: Mapping[str, Any]) -> str | None:
    """The paper's name of the network; ResNet-34 has it with each of the three options."""
    here = Architecture(**{**values, "blocks": tuple(values["blocks"])})
    for name, known in ARCHITECTURES.items():
        options = ("shortcut",) if name == "resnet-34" and here.family == "residual" else ()
        stride = ("stride_on",) if known.block == "basic" else ()
        if same_but(here, known, *options, *stride):
            return name
    return None
