"""Published numbers of the paper (He et al. 2015) and of third parties, read from the tables in this folder."""

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from resnet.architectures import ARCHITECTURES, Shortcut

TABLES = Path(__file__).parent
VARIANTS = ("basic", "V1", "V1.5", "V1.5 (BN after add)", "pytorch style (V1.5)")  # of the paper's networks, option B
EXCLUDED = ("KaimingHe", "torchvision IMAGENET1K_V2")  # the authors' own weights; weights of another recipe


@dataclass(frozen=True, slots=True)
class Published:
    """A number of the paper with its protocol and source."""

    value: float  # percent
    protocol: str
    where: str
    sd: float | None = None
    n: int | None = None

    def __str__(self) -> str:
        """Returns `6.61 ± 0.16 (n=5, single view, CIFAR-10)`, with no-break spaces in the number."""
        spread = "" if self.sd is None else f"\xa0±\xa0{self.sd:.2f}"
        n = "" if self.n is None else f"n={self.n}, "
        return f"{self.value:.2f}{spread} ({n}{self.protocol})"


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table of errors: its network and its numbers, None where the table has none."""

    label: str  # as the table has it
    name: str  # in resnet.architectures
    shortcut: Shortcut
    top1: Published | None
    top5: Published | None = None


@dataclass(frozen=True, slots=True)
class Band:
    """The results of third parties for a network."""

    errors: tuple[float, ...]  # top-1, percent
    failed: int  # results that are a failure to train

    def __str__(self) -> str:
        """Returns `6.61 to 8.42 (11, 1 failed)`: lowest, highest, and how many results."""
        failed = [f"{self.failed} failed"] if self.failed else []
        if not self.errors:
            return failed[0]
        low, high = (f"{end(self.errors):.2f}" for end in (min, max))
        return f"{low if low == high else f'{low} to {high}'} ({', '.join([str(len(self.errors)), *failed])})"


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """One row of he2015_claims.csv."""

    id: str
    where: str
    claim: str
    kind: str


def kind(protocol: str) -> str:
    """Returns `10-crop` of `10-crop, ImageNet`: the part that must agree before two errors are compared."""
    return protocol.replace(",", " ").partition(" ")[0]


def table(name: str) -> list[dict[str, str]]:
    """Reads the rows of paper/NAME.csv as text. Raises FileNotFoundError."""
    with (TABLES / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def claims() -> tuple[ClaimRow, ...]:
    return tuple(ClaimRow(row["id"], row["where"], row["claim"], row["kind"]) for row in table("he2015_claims"))


@cache
def top1() -> dict[str, Published]:
    """Returns top-1 errors by name in resnet.architectures: Tables 2 and 3 (ImageNet), Table 6 (CIFAR-10)."""
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
    """Returns the mean of five runs where the paper has one (110 layers), else its single run."""
    if row["mean_err"]:
        sd, n = float(row["std_err"]), int(row["runs"])
        return Published(float(row["mean_err"]), "single view, CIFAR-10", "Table 6", sd, n)
    return Published(float(row["cifar10_test_err"]), "single view, CIFAR-10", "Table 6", None, int(row["runs"] or 1))


@cache
def multiply_adds() -> dict[str, float]:
    """Returns the GMACs of a forward pass of one 224x224 image, by name (Table 1)."""
    return {row["model"]: float(row["paper_flops_multiply_adds_1e9"]) for row in table("he2015_table1_architectures")}


@cache
def parameters() -> dict[str, str]:
    """Returns the parameters of the CIFAR networks as printed in Table 6, by name."""
    rows = [row for row in table("he2015_table6") if row["method"] == "ResNet"]
    return {f"cifar-resnet-{row['layers']}": f"{row['params_M']} M" for row in rows}


@cache
def table2() -> tuple[Line, ...]:
    """Returns top-1 errors by 10 crops of ImageNet's validation images."""
    names = [f"{row['net']}-{row['layers']}" for row in table("he2015_table2")]
    return tuple(Line(name, name, ARCHITECTURES[name].shortcut, top1()[name]) for name in names)


@cache
def table3() -> tuple[Line, ...]:
    """Returns top-1 and top-5 errors by 10 crops of ImageNet's validation images."""
    protocol = "10-crop, ImageNet"
    return _lines("he2015_table3", "Table 3", protocol, "top1_err_10crop_val", "top5_err_10crop_val")


@cache
def table4() -> tuple[Line, ...]:
    """Returns top-1 and top-5 errors of single networks, fully convolutional on several scales."""
    protocol = "multi-scale, ImageNet"
    return _lines("he2015_table4", "Table 4", protocol, "top1_err_single_model_val", "top5_err_single_model_val")


@cache
def table6() -> tuple[Line, ...]:
    """Returns CIFAR-10 test errors; for plain networks the paper has curves (Fig. 6), no numbers."""
    found = []
    for depth in (20, 32, 44, 56, 110, 1202):
        for name in (f"cifar-plain-{depth}", f"cifar-resnet-{depth}"):
            found.append(Line(name, name, ARCHITECTURES[name].shortcut, top1().get(name)))
    return tuple(found)


def _lines(file: str, where: str, protocol: str, top1_column: str, top5_column: str) -> tuple[Line, ...]:
    """Returns the rows of networks in resnet.architectures: `plain-34`, `ResNet-34 B`, `ResNet-50`."""
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
    """Returns the top-5 error of the ensemble on ImageNet's test images, whose labels are not public (Table 5)."""
    row = next(row for row in table("he2015_table5") if row["method"].startswith("ResNet"))
    return Published(float(row["top5_err_ensemble_test"]), "ensemble, ImageNet test", "Table 5")


@cache
def others(name: str, shortcut: str, protocol: str) -> Band | None:
    """Returns third-party results for a network of the paper, with all their departures; None where there are none.

    On ImageNet they are by the same protocol (`1-crop`, `10-crop`), with either stride in a bottleneck, without the
    authors' own weights and those of another recipe (torchvision's second version). On CIFAR-10 all are single-view.
    """
    family, _, depth = name.removeprefix("cifar-").rpartition("-")
    if name.startswith("cifar-"):
        rows = table("third_party_cifar10_reproductions")
        same = [row for row in rows if (row["net"], row["depth"]) == (family, depth)]
        options = ("none",) if shortcut == "none" else ("?", shortcut)  # "?": not stated
        found = [row["test_err"] for row in same if row["option"].partition(" ")[0] in options]
    else:
        found = _on_imagenet(name, shortcut, protocol)
    errors = tuple(float(error) for error in found if error != "fail")
    return Band(errors, len(found) - len(errors)) if found else None


def _on_imagenet(name: str, shortcut: str, protocol: str) -> list[str]:
    """Returns errors as in the table; all its networks have projections (option B) where the shape changes."""
    return [
        row["top1_err"]
        for row in table("reference_imagenet_results")
        if row["model"].lower() == name and shortcut == "B" and row["variant"] in VARIANTS
        if row["system"] not in EXCLUDED and kind(row["protocol"]) == kind(protocol)
    ]
