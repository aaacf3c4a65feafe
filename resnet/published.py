"""The paper's own numbers, read from the tables beside this module (He et al. 2015)."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLES = Path(__file__).parent / "paper"


@dataclass(frozen=True, slots=True)
class Published:
    """A number of the paper and what it is a number of."""

    value: float  # per cent
    protocol: str
    where: str
    sd: float | None = None
    n: int | None = None


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """One row of he2015_claims.csv."""

    id: str
    where: str
    claim: str
    kind: str


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
