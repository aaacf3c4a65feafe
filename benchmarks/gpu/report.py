"""The results as files: JSON, and a table in markdown."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.hardware import CIRCUMSTANCES
from benchmarks.gpu.plan import Outcome
from benchmarks.gpu.rows import LeftOut, Row, bars
from benchmarks.gpu.sections import SECTIONS

HEAD = ("", "unit", "ours", "rival", "ratio", "gate", "holds", "spread", "peak MiB", "rival's")


@dataclass(slots=True)
class Report:
    hardware: dict[str, Any]
    smallest: bool  # only shows that every line runs
    rows: dict[str, Row] = field(default_factory=dict)  # by name and unit
    left_out: list[LeftOut] = field(default_factory=list)

    def add(self, section: str, outcome: Outcome) -> None:
        for row in outcome.rows:
            self.rows[f"{row.name} [{row.unit}]"] = row
        if outcome.left_out:
            left = outcome.left_out
            self.left_out.append(LeftOut(f"{section}: {left.name}", left.why, left.failed))

    @property
    def results(self) -> list[Row]:
        order = list(SECTIONS)
        measured = sorted(self.rows.values(), key=lambda row: order.index(row.name.partition(":")[0]))
        return [*measured, *bars(measured, str(self.hardware["device"]))]

    def content(self) -> dict[str, Any]:
        return {
            "results": [asdict(row) for row in self.results],
            "left_out": [asdict(left) for left in self.left_out],
            "hardware": self.hardware,
            "smallest": self.smallest,
        }

    def text(self) -> str:
        return json.dumps(self.content(), indent=2, allow_nan=False) + "\n"

    def write(self, path: Path) -> None:
        """`path` and the table beside it; a reader sees the old file or the new one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        for target, text in ((path, self.text()), (path.with_suffix(".md"), self.markdown())):
            partial = target.with_name(f".{target.name}.partial")
            partial.write_text(text)
            os.replace(partial, target)

    def markdown(self) -> str:
        lines = [f"# Benchmarks on {self.hardware['device']}", ""]
        if self.smallest:
            lines += ["**Smallest sizes: this shows that everything runs, and measures nothing.**", ""]
        rows = [HEAD, ("---", *["---:"] * (len(HEAD) - 1)), *(_cells(row) for row in self.results)]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        lines += [
            "",
            "Medians. Ratio: the rival's time over ours for the same work; more is better. The rival of a rung of the "
            "ladder is, in ms/step, the rung below, and for a whole training the usual script. Gate: the least ratio; "
            "without a rival the least rate, or the most of anything else. Spread: slowest over fastest repetition of "
            "ours. Peak: what tensors took on the GPU. The rooflines are models: see `benchmarks/gpu/networks.py`.",
            "",
        ]
        if self.left_out:
            lines += ["Left out:", "", *(f"* {left.name}: {left.why}" for left in self.left_out), ""]
        lines += [f"* {name}: {json.dumps(value)}" for name, value in self.hardware.items()]
        return "\n".join(lines) + "\n"


def kept(path: Path, hardware: dict[str, Any], sections: list[str]) -> tuple[dict[str, Row], list[LeftOut]]:
    """Of an earlier file on the same device and versions: what is not of these sections.

    Raises ValueError where the file is of another device or other versions.
    """
    if not path.is_file():
        return {}, []
    there = json.loads(path.read_text())
    different = [
        f"{name} {there['hardware'].get(name)} there, {value} here"
        for name, value in hardware.items()
        if name not in CIRCUMSTANCES and there["hardware"].get(name) != value
    ]
    if different:
        raise ValueError(f"{path} was measured elsewhere ({'; '.join(different)}); name another file, or measure all")
    anew = tuple(f"{section}: " for section in (*sections, "bar"))  # the bars follow from the rows
    rows = [Row(**row) for row in there["results"] if not row["name"].startswith(anew)]
    left_out = [LeftOut(**left) for left in there["left_out"] if not left["name"].startswith(anew)]
    return {f"{row.name} [{row.unit}]": row for row in rows}, left_out


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        row.unit,
        _digits(row.ours),
        _digits(row.rival),
        "–" if row.ratio is None else f"{_digits(row.ratio)}×",
        _digits(row.gate),
        {True: "yes", False: "**no**", None: "–"}[row.holds],
        _digits(row.spread),
        _digits(row.peak_mib),
        _digits(row.rival_peak_mib),
    )


def _digits(value: float | None) -> str:
    """Three of them, none as a power of ten."""
    if value is None:
        return "–"
    return (
        f"{value:,.0f}"
        if value >= 100
        else f"{value:.1f}"
        if value >= 10
        else f"{value:.2f}"
        if value >= 1
        else f"{value:.3f}"
    )
