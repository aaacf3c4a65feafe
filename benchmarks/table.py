"""Results as a table for people, in markdown."""

import math

from benchmarks.harness import SHARE
from benchmarks.results import Results, Row

HEAD = ("", "ours", "rival", "ratio", "gate", "holds", "spread", "peak MiB", "rival's")


def markdown(results: Results) -> str:
    """The table, the notes to it, and what it was measured on."""
    rows = [HEAD, ("---", *["---:"] * (len(HEAD) - 1)), *(cells(row) for row in results.results)]
    lines = ["# Benchmarks on the CPU", ""]
    if results.quick:
        lines += ["**Smallest sizes: this shows that everything runs, and measures nothing.**", ""]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines += [
        "",
        "Medians. Ratio: the rival's time over ours for the same work; more is better. Spread: the largest over the "
        "smallest time of ours. Peak: resident memory of a side and its processes; what they share counts for each.",
        "",
    ]
    for row in results.results:
        how = f"{count(row.threads, 'thread')}, {count(row.repetitions, 'repetition')}"
        lines.append(f"* `{row.name}` ({how}): {row.what}.")
    notes = [f"* `{row.name}`: {row.reason}" for row in results.results if row.reason]
    if notes:
        lines += ["", "Where ours is slower or larger, and why:", "", *notes]
    lines += ["", *surroundings(results)]
    return "\n".join(lines) + "\n"


def cells(row: Row) -> tuple[str, ...]:
    return (
        f"`{row.name}`",
        figure(row.ours, row.unit),
        "–" if row.rival is None else figure(row.rival, row.unit),
        "–" if row.ratio is None else f"{digits(row.ratio)}×",
        bars(row) or "–",
        {True: "yes", False: "**no**", None: "–"}[row.holds],
        f"{row.spread:.2f}",
        f"{row.peak_mib:,.0f}",
        "–" if row.rival_peak_mib is None else f"{row.rival_peak_mib:,.0f}",
    )


def bars(row: Row) -> str:
    """What is asked of it."""
    ratio = [] if row.gate is None else [f"≥ {digits(row.gate)}×"]
    return ", ".join(ratio + ([] if row.absolute is None else [f"≤ {figure(row.absolute, row.unit)}"]))


def sentence(row: Row) -> str:
    """One row for a terminal."""
    rival = "" if row.rival is None else f" against {figure(row.rival, row.unit)}"
    ratio = "" if row.ratio is None else f", {digits(row.ratio)}×"
    asked = f" ({bars(row)} is asked: {'holds' if row.holds else 'MISSED'})" if row.holds is not None else ""
    return f"{figure(row.ours, row.unit)}{rival}{ratio}{asked}"


def figure(value: float, unit: str) -> str:
    return f"{digits(100 * value)} %" if unit == SHARE else f"{digits(value)} {unit}"


def digits(value: float) -> str:
    """Three of them, before the point as many as there are. Of a positive number."""
    places = max(0, 2 - math.floor(math.log10(value)))
    return f"{value:,.{places}f}"


def count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def surroundings(results: Results) -> list[str]:
    """The machine, the versions, and when each benchmark was run."""
    machine = results.hardware
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    lines = [
        f"Measured on {machine.cores} cores of {machine.cpu} ({', '.join(machine.flags) or 'no wide instructions'}; "
        f"torch chose {machine.torch_capability}), {machine.memory_gib} GiB; Python {machine.python}, {versions}.",
        "",
    ]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in results.results:
        groups.setdefault((row.measured.date[:10], row.measured.commit or "no commit"), []).append(row)
    for (day, commit), rows in groups.items():
        load = max(row.measured.load for row in rows)
        bf16 = ", ".join(f"{digits(x)}×" for x in sorted({row.measured.bf16_over_fp32 for row in rows}))
        names = "all" if len(groups) == 1 else ", ".join(f"`{row.name}`" for row in rows)
        lines.append(
            f"* {day}, commit {commit}, load average at most {load:g} at the start, "
            f"matrix products in bf16 {bf16} as fast as in float32: {names}"
        )
    return lines
