"""Results as JSON for programs and as a table in markdown for people, one pair for each kind of machine.

Rows are written as they are measured; each says on which machine, versions and commit. Needs the standard library only.
"""

import json
import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

RATES = {"images/s": 1.0, "runs/h": 3600.0}  # more is better; value of 1 per second
TIMES = {"s": 1.0, "ms": 1000.0, "%": 100.0}  # less is better; value of 1 s, or of a fraction of 1
HEAD = ("", "ours", "min – max", "baseline", "min – max", "ratio", "threshold", "holds", "MiB", "baseline MiB")
EXPLANATION = (
    "Medians over interleaved repetitions. Ratio: the baseline's time over ours for the same work; more is better. "
    "Threshold: the least ratio, or a limit on ours. MiB: peak memory."
)


@dataclass(frozen=True, slots=True)
class Summary:
    """Repetitions of one program, in the unit of the row."""

    median: float
    min: float
    max: float
    peak_mib: float  # resident memory of the process with its descendants; on a GPU that of its tensors


def summary(seconds: Sequence[float], unit: str, peak_mib: float) -> Summary:
    """Returns the median and the range of `seconds` for one image, run or call, in `unit`.

    Raises ValueError for a time that is not positive and finite.
    """
    if not all(math.isfinite(each) and each > 0 for each in seconds):
        raise ValueError(f"not times: {seconds}")
    values = [RATES[unit] / each if unit in RATES else TIMES[unit] * each for each in seconds]
    return Summary(statistics.median(values), min(values), max(values), peak_mib)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison."""

    name: str
    what: str
    unit: str
    ours: Summary
    baseline: Summary
    threshold: float | None = None  # the least ratio, on this machine
    limit: float | None = None  # the most that ours may be, in `unit`; the least of a rate
    repetitions: int
    measured: dict[str, str]  # see benchmarks.machine

    @property
    def ratio(self) -> float:
        """The baseline's time over ours for the same work: more is better."""
        ratio = self.ours.median / self.baseline.median
        return ratio if self.unit in RATES else 1 / ratio

    @property
    def holds(self) -> bool | None:
        """Whether the ratio reaches the threshold and ours keeps the limit; None where there is neither."""
        checks = [] if self.threshold is None else [self.ratio >= self.threshold]
        if self.limit is not None:
            ours = self.ours.median
            checks.append(ours >= self.limit if self.unit in RATES else ours <= self.limit)
        return all(checks) if checks else None

    @classmethod
    def of(cls, content: dict[str, Any]) -> "Row":
        """Returns the row that `asdict` has turned into `content`."""
        return cls(**{**content, **{name: Summary(**content[name]) for name in ("ours", "baseline")}})


@dataclass(slots=True)
class ResultsFile:
    """`path` (JSON) and the table next to it; rows are in the order of `names`, and other names are dropped."""

    path: Path
    names: Sequence[str]
    title: str
    rows: dict[str, Row] = field(default_factory=dict)  # by name

    def __post_init__(self) -> None:
        if self.path.is_file():
            self.rows = {row["name"]: Row.of(row) for row in json.loads(self.path.read_text())}

    def add(self, row: Row) -> None:
        """Replaces an older row of the name, and writes both files."""
        rows = self.rows | {row.name: row}
        self.rows = {name: rows[name] for name in self.names if name in rows}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps([asdict(one) for one in self.rows.values()], indent=2, allow_nan=False) + "\n"
        for target, new in ((self.path, text), (self.path.with_suffix(".md"), self.markdown())):
            partial = target.with_name(f".{target.name}.partial")
            partial.write_text(new)
            os.replace(partial, target)

    def markdown(self) -> str:
        """Returns the table, what each row measures, and on what it was measured."""
        rows = list(self.rows.values())
        table = [HEAD, ("---", *["---:"] * (len(HEAD) - 1)), *map(cells, rows)]
        lines = [f"# {self.title}", "", *("| " + " | ".join(line) + " |" for line in table), "", EXPLANATION, ""]
        lines += [*(f"* `{row.name}` ({row.repetitions} repetitions): {row.what}." for row in rows), ""]
        for circumstances, group in groupby(rows, key=lambda row: "; ".join(row.measured.values())):
            lines.append(f"* {circumstances}: {', '.join(f'`{row.name}`' for row in group)}")
        return "\n".join(lines) + "\n"


def cells(row: Row) -> tuple[str, ...]:
    """Returns one line of the table."""
    holds = {True: "yes", False: "**no**", None: "–"}[row.holds]
    ours, baseline = _summary_cells(row.ours, row.unit), _summary_cells(row.baseline, row.unit)
    return (
        f"`{row.name}`",
        *ours[:2],
        *baseline[:2],
        f"{digits(row.ratio)}×",
        target(row),
        holds,
        ours[2],
        baseline[2],
    )


def _summary_cells(of: Summary, unit: str) -> tuple[str, str, str]:
    return figure(of.median, unit), f"{digits(of.min)} – {digits(of.max)}", f"{of.peak_mib:,.0f}"


def target(row: Row) -> str:
    """Returns what the row must reach."""
    least = [] if row.threshold is None else [f"≥ {digits(row.threshold)}×"]
    sign = "≥" if row.unit in RATES else "≤"
    return ", ".join(least + ([] if row.limit is None else [f"{sign} {figure(row.limit, row.unit)}"])) or "–"


def sentence(row: Row) -> str:
    """Returns the row as a line for a terminal."""
    figures = f"{figure(row.ours.median, row.unit)} against {figure(row.baseline.median, row.unit)}"
    verdict = "" if row.holds is None else f" (required {target(row)}: {'holds' if row.holds else 'MISSED'})"
    return f"{row.name}: {figures}, {digits(row.ratio)}×{verdict}"


def figure(value: float, unit: str) -> str:
    """Returns a number with its unit."""
    return f"{digits(value)} {unit}"


def digits(value: float) -> str:
    """Returns a positive number with three significant digits, and all those before the point."""
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}"
