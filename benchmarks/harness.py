"""What a benchmark is: two sides that do the same work, the unit they are told in, and the bar that ours has to clear.

A side is a function named as `module:function` with the signature of `Side`. It sets everything up, which is not timed,
and returns a callable that does the work once: its seconds where it timed itself, None where its call is to be timed.
`quick` asks for the smallest sizes at which the same code runs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Work: TypeAlias = Callable[[], float | None]
Side: TypeAlias = Callable[[bool], Work]

SHARE = "share"
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Gate:
    """The least ratio, the rival's time over ours for the same amount of work."""

    fast_bf16: float  # where matrix products in bf16 are half as fast again (Hardware.fast_bf16): with AMX
    otherwise: float

    @classmethod
    def at_least(cls, ratio: float) -> "Gate":
        """On every CPU the same."""
        return cls(ratio, ratio)

    def on(self, *, fast_bf16: bool) -> float:
        return self.fast_bf16 if fast_bf16 else self.otherwise


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """Pure data; the sides are imported in processes of their own."""

    name: str
    what: str  # a line for the table: ours against the rival, on which work
    unit: Literal["s", "ms", "images/s", "runs/h", "share"]
    ours: str  # module:function
    rival: str | None
    work: float = 1.0  # of one call, in what a rate counts: images, runs
    quick_work: float = 1.0
    rival_work: float | None = None  # where one call of the rival does another amount
    quick_rival_work: float | None = None
    threads: int = 1  # OMP_NUM_THREADS of ours
    rival_threads: int | None = None  # None: as many
    gate: Gate | None = None
    absolute: float | None = None  # the most that ours may be itself, in `unit` ("share": 0.01 is one per cent)
    repetitions: int = 5
    apart: bool = False  # measured when it is named alone: each turn is a run of its own, of minutes together
    reason: str = ""  # why ours is slower or larger than the rival, where it is

    def amounts(self, *, quick: bool) -> tuple[float, float]:
        """The work of one call of ours, of the rival."""
        ours, rival = (self.quick_work, self.quick_rival_work) if quick else (self.work, self.rival_work)
        return ours, ours if rival is None else rival

    def shown(self, seconds: float, work: float) -> float:
        """`seconds` for `work` in the benchmark's unit. A share is what the side returned, in place of seconds."""
        if not math.isfinite(seconds) or seconds <= 0 or work <= 0:
            raise ValueError(f"{self.name}: {seconds} s for {work} of work")
        match self.unit:
            case "s" | "share":
                return seconds
            case "ms":
                return 1000 * seconds
            case "runs/h":
                return HOUR_S * work / seconds
            case _:
                return work / seconds
