"""What is measured, as rows of a table, and the bars that some of them have to clear."""

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.gpu.clock import Timing

BARRED = ("H100", "H200")  # the bars are for these; on any other device nothing is asked
NETWORK_BAR = 3000.0  # images/s, ResNet-50 at 224
LADDER_BAR_S = 60.0  # ResNet-20, 64,000 iterations of 128 images
USUAL_BAR = 20.0  # times as fast as the usual script

IMAGES_S = "images/s"
RUN_S = "s/64,000 iterations"
MS_STEP = "ms/step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Medians in `unit`. The names begin with their section: "networks-224: resnet-50 at 224, eager"."""

    name: str
    unit: str
    ours: float
    rival: float | None = None
    ratio: float | None = None  # the rival's time over ours for the same work; more is better for ours
    gate: float | None = None  # of `ratio` the least; without a rival, of `ours`: the least rate, the most of the rest
    holds: bool | None = None  # None: nothing is asked of it, or not on this device
    spread: float | None = None  # slowest over fastest repetition of ours
    peak_mib: float | None = None  # the most that tensors took on the GPU
    rival_peak_mib: float | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A measurement that was not made."""

    name: str
    why: str
    failed: bool = False  # by an error, not for want of time, memory or a compiler


def rate(name: str, work: float, ours: Timing, rival: Timing | None = None, rival_work: float | None = None) -> Row:
    """`work` images a call, as images/s."""
    theirs = None if rival is None else (work if rival_work is None else rival_work) / rival.seconds
    mine = work / ours.seconds
    return _row(name, IMAGES_S, mine, theirs, None if theirs is None else mine / theirs, ours, rival)


def duration(name: str, unit: str, factor: float, ours: Timing, rival: Timing | None = None) -> Row:
    """Seconds of a call, times `factor`."""
    theirs = None if rival is None else rival.seconds * factor
    ratio = None if rival is None else rival.seconds / ours.seconds
    return _row(name, unit, ours.seconds * factor, theirs, ratio, ours, rival)


def _row(
    name: str, unit: str, mine: float, theirs: float | None, ratio: float | None, ours: Timing, rival: Timing | None
) -> Row:
    return Row(
        name=name,
        unit=unit,
        ours=mine,
        rival=theirs,
        ratio=ratio,
        spread=ours.spread,
        peak_mib=ours.peak_mib,
        rival_peak_mib=None if rival is None else rival.peak_mib,
    )


def bars(rows: Iterable[Row], device: str) -> list[Row]:
    """What is asked of an H100 or H200, on the fastest that was measured; of the rows that are there."""
    rows = list(rows)
    networks = [row for row in rows if row.name.startswith("networks-224: resnet-50 at 224,") and row.unit == IMAGES_S]
    ladder = [row for row in rows if row.name.startswith("cifar-ladder: resnet-20,") and row.unit == RUN_S]
    asked: list[Row] = []
    if networks:
        best = max(networks, key=lambda row: row.ours)
        asked.append(_bar("bar: resnet-50 at 224", best, NETWORK_BAR, best.ours >= NETWORK_BAR, device))
    if ladder:
        best = min(ladder, key=lambda row: row.ours)
        asked.append(_bar("bar: resnet-20", best, LADDER_BAR_S, best.ours <= LADDER_BAR_S, device))
        if best.ratio is not None:
            holds = best.ratio >= USUAL_BAR
            asked.append(_bar("bar: resnet-20 against the usual script", best, USUAL_BAR, holds, device, best.ratio))
    return asked


def _bar(name: str, best: Row, gate: float, holds: bool, device: str, ratio: float | None = None) -> Row:
    how = best.name.partition(", ")[2]
    return Row(
        name=f"{name} ({how})",
        unit=best.unit,
        ours=best.ours,
        rival=best.rival if ratio is not None else None,
        ratio=ratio,
        gate=gate,
        holds=holds if any(kind in device for kind in BARRED) else None,
        spread=best.spread,
        peak_mib=best.peak_mib,
        rival_peak_mib=best.rival_peak_mib if ratio is not None else None,
    )
