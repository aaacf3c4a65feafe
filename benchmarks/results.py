"""Measurements as they are kept: a row for each benchmark, on one machine."""

from typing import Literal

from benchmarks.hardware import Circumstances, Hardware
from benchmarks.harness import Benchmark
from benchmarks.turns import Turns
from pipeline.store.records import Record

LARGER = 1.05  # peaks differ by so much from one run to the next


class Row(Record):
    """Medians in `unit`. Ratio: the rival's time over ours for the same work, more is better for ours."""

    name: str
    what: str
    unit: str
    ours: float
    rival: float | None
    ratio: float | None
    gate: float | None  # the least ratio, on this CPU
    absolute: float | None  # the most that ours may be, in `unit`
    holds: bool | None  # None: nothing is asked, or smallest sizes
    spread: float  # largest over smallest time of ours
    rival_spread: float | None
    peak_mib: float  # resident memory of the side with all its processes
    rival_peak_mib: float | None
    repetitions: int
    threads: int
    reason: str  # why ours is slower or larger, where it is
    measured: Circumstances

    @property
    def unexplained(self) -> str:
        """`slower` or `larger` where ours is and no reason is given, else nothing."""
        if self.reason or self.ratio is None or self.rival_peak_mib is None:
            return ""
        larger = self.peak_mib > LARGER * self.rival_peak_mib
        return "slower" if self.ratio < 1 else "larger" if larger else ""


class Results(Record):
    """benchmarks/results/cpu.json"""

    schema_version: Literal[1] = 1
    hardware: Hardware
    quick: bool  # smallest sizes: shows that all runs, measures nothing
    results: list[Row]


def row(
    benchmark: Benchmark, ours: Turns, rival: Turns | None, *, quick: bool, fast_bf16: bool, measured: Circumstances
) -> Row:
    work, rival_work = benchmark.amounts(quick=quick)
    ratio = None if rival is None else (rival.median / rival_work) / (ours.median / work)
    gate = None if benchmark.gate is None else benchmark.gate.on(fast_bf16=fast_bf16)
    mine = benchmark.shown(ours.median, work)
    bars = [*([ratio is not None and ratio >= gate] if gate is not None else [])]
    bars += [mine <= benchmark.absolute] if benchmark.absolute is not None else []
    return Row(
        name=benchmark.name,
        what=benchmark.what,
        unit=benchmark.unit,
        ours=mine,
        rival=None if rival is None else benchmark.shown(rival.median, rival_work),
        ratio=ratio,
        gate=gate,
        absolute=benchmark.absolute,
        holds=all(bars) if bars and not quick else None,
        spread=ours.spread,
        rival_spread=None if rival is None else rival.spread,
        peak_mib=ours.peak_mib,
        rival_peak_mib=None if rival is None else rival.peak_mib,
        repetitions=len(ours.seconds),
        threads=benchmark.threads,
        reason=benchmark.reason,
        measured=measured,
    )
