"""The paper's own numbers and other people's, read from the tables beside this module (He et al. 2015)."""

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from resnet.architectures import ARCHITECTURES, Shortcut

TABLES = Path(__file__).parent
VARIANTS = ("basic", "V1", "V1.5", "V1.5 (BN after add)", "pytorch style (V1.5)")  # of the paper's networks, option B
NOT_OTHERS = ("KaimingHe", "torchvision IMAGENET1K_V2")  # the authors' own weights; weights of another recipe


@dataclass(frozen=True, slots=True)
class Published:
    """A number of the paper and what it is a number of."""

    value: float  # per cent
    protocol: str
    where: str
    sd: float | None = None
    n: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table of errors: which network it is of, and its numbers; None where the table has none."""

    label: str  # as the table has it
    name: str  # in resnet.architectures
    shortcut: Shortcut
    top1: Published | None
    top5: Published | None = None


@dataclass(frozen=True, slots=True)
class Band:
    """What others measured for a network."""

    errors: tuple[float, ...]  # top-1, per cent
    failed: int  # results that are no error but a failure to train


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """One row of he2015_claims.csv."""

    id: str
    where: str
    claim: str
    kind: str


def kind(protocol: str) -> str:
    """`10-crop` of `10-crop, ImageNet`: what must agree before two errors are compared."""
    return protocol.replace(",", " ").partition(" ")[0]


def table(name: str) -> list[dict[str, str]]:
    """The rows of paper/NAME.csv as text. Raises FileNotFoundError."""
    with (TABLES / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def claims() -> tuple[ClaimRow, ...]:
    return tuple(ClaimRow(row["id"], row["where"], row["claim"], row["kind"]) for row in table("he2015_claims"))


@cache
def top1() -> dict[str, Published]:
    """Top-1 errors by name in resnet.architectures: Tables 2 and 3 (ImageNet validation), Table 6 (CIFAR-10 test)."""
    found: dict[str, Published] = {}
    for row in table("he2015_table2"):
        number = Published(float(row["top1_err_10crop_val"]), "10-crop, ImageNet", "Table 2")
        found[f"{row['net']}-{row['layers']}"] = number
    for row in table("he2015_table3"):
        name = row["model"].lower()
        if name in ("resnet-50", "resnet-101", "resnet-152"):
            found[name] = Published(float(row["top1_err_10crop_val"]), "10-crop, ImageNet", "Table 3")
    for row in table("he2015_table6"):
        if row["method"] == "ResNet":
            found[f"cifar-resnet-{row['layers']}"] = _table6(row)
    return found


def _table6(row: dict[str, str]) -> Published:
    """The mean of five runs where the paper gives one (110 layers), else its single run."""
    if row["mean_err"]:
        sd, n = float(row["std_err"]), int(row["runs"])
        return Published(float(row["mean_err"]), "single view, CIFAR-10", "Table 6", sd, n)
    return Published(float(row["cifar10_test_err"]), "single view, CIFAR-10", "Table 6", None, int(row["runs"] or 1))


@cache
def multiply_adds() -> dict[str, float]:
    """Multiply-adds of one forward pass of one 224x224 image, in 1e9, by name (Table 1)."""
    return {row["model"]: float(row["paper_flops_multiply_adds_1e9"]) for row in table("he2015_table1_architectures")}


@cache
def parameters() -> dict[str, str]:
    """Parameters of the CIFAR networks as printed in Table 6, by name."""
    rows = [row for row in table("he2015_table6") if row["method"] == "ResNet"]
    return {f"cifar-resnet-{row['layers']}": f"{row['params_M']} M" for row in rows}


@cache
def table2() -> tuple[Line, ...]:
    """Top-1 errors by 10 crops of ImageNet's validation images."""
    names = [f"{row['net']}-{row['layers']}" for row in table("he2015_table2")]
    return tuple(Line(name, name, ARCHITECTURES[name].shortcut, top1()[name]) for name in names)


@cache
def table3() -> tuple[Line, ...]:
    """Top-1 and top-5 errors by 10 crops of ImageNet's validation images."""
    protocol = "10-crop, ImageNet"
    return _lines("he2015_table3", "Table 3", protocol, "top1_err_10crop_val", "top5_err_10crop_val")


@cache
def table4() -> tuple[Line, ...]:
    """Top-1 and top-5 errors of single networks, fully convolutional on several scales of the validation images."""
    protocol = "multi-scale, ImageNet"
    return _lines("he2015_table4", "Table 4", protocol, "top1_err_single_model_val", "top5_err_single_model_val")


@cache
def table6() -> tuple[Line, ...]:
    """CIFAR-10 test errors; of the plain networks the paper has curves (Fig. 6), no numbers."""
    found = []
    for depth in (20, 32, 44, 56, 110, 1202):
        for name in (f"cifar-plain-{depth}", f"cifar-resnet-{depth}"):
            found.append(Line(name, name, ARCHITECTURES[name].shortcut, top1().get(name)))
    return tuple(found)


def _lines(file: str, where: str, protocol: str, top1_column: str, top5_column: str) -> tuple[Line, ...]:
    """The rows of our networks: `plain-34`, `ResNet-34 B`, `ResNet-50`."""
    found = []
    for row in table(file):
        match = re.fullmatch(r"((plain|ResNet)-\d+)(?: ([ABC]))?", row.get("model") or row["method"])
        if match:
            name = match[1].lower()
            option: Any = match[3] or ("none" if match[2] == "plain" else "B")
            errors = [Published(float(row[c]), protocol, where) if row[c] else None for c in (top1_column, top5_column)]
            found.append(Line(match[0], name, option, *errors))
    return tuple(found)


@cache
def ensemble_top5() -> Published:
    """Table 5: top-5 error of the ensemble on ImageNet's test images, whose labels nobody has."""
    row = next(row for row in table("he2015_table5") if row["method"].startswith("ResNet"))
    return Published(float(row["top5_err_ensemble_test"]), "ensemble, ImageNet test", "Table 5")


@cache
def others(name: str, shortcut: str, protocol: str) -> Band | None:
    """Other people's results for a network of the paper, with all their own departures; None where there are none.

    On ImageNet those by the same protocol (`1-crop`, `10-crop`), of either stride in a bottleneck; neither the authors'
    own weights nor those of another recipe (torchvision's second version). On CIFAR-10 all are of a single view.
    """
    family, _, depth = name.removeprefix("cifar-").rpartition("-")
    if name.startswith("cifar-"):
        rows = table("third_party_cifar10_reproductions")
        same = [row for row in rows if (row["net"], row["depth"]) == (family, depth)]
        options = ("none",) if shortcut == "none" else ("?", shortcut)  # "?": not said
        found = [row["test_err"] for row in same if row["option"].partition(" ")[0] in options]
    else:
        found = _on_imagenet(name, shortcut, protocol)
    errors = tuple(float(error) for error in found if error != "fail")
    return Band(errors, len(found) - len(errors)) if found else None


def _on_imagenet(name: str, shortcut: str, protocol: str) -> list[str]:
    """Errors as the table has them; all its networks have projections (option B) where the shape changes."""
    return [
        row["top1_err"]
        for row in table("reference_imagenet_results")
        if row["model"].lower() == name and shortcut == "B" and row["variant"] in VARIANTS
        if row["system"] not in NOT_OTHERS and kind(row["protocol"]) == kind(protocol)
    ]
