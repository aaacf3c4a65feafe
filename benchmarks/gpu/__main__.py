"""Measures training and evaluation on one GPU; writes benchmarks/results/gpu.json and gpu.md after every section."""

import argparse
import math
import sys
import time
from pathlib import Path

import torch

from benchmarks.gpu import children
from benchmarks.gpu.hardware import ROOT, hardware
from benchmarks.gpu.plan import Outcome
from benchmarks.gpu.report import Report, kept
from benchmarks.gpu.sections import SECTIONS, share
from benchmarks.gpu.sizes import FULL, SMALLEST

RESULTS = ROOT / "benchmarks" / "results" / "gpu.json"


def main(arguments: list[str] | None = None) -> int:
    """1 where something failed; what time or memory did not allow is no failure."""
    began = time.monotonic()
    asked = _parse(arguments)
    device = torch.device(asked.device)
    waiting = [name for name in SECTIONS if not asked.only or name in asked.only]
    report = Report(hardware(device), asked.smallest)
    if asked.only and asked.output is not None:
        try:
            report.rows, report.left_out = kept(asked.output, report.hardware, waiting)
        except ValueError as error:
            sys.exit(f"error: {error}")
    failed = False
    while waiting:
        name = waiting[0]
        seconds = share(name, waiting, asked.minutes * 60 - (time.monotonic() - began))
        sizes = SMALLEST if asked.smallest else FULL
        for outcome in children.measured(SECTIONS[name].module, device, sizes, seconds):
            report.add(name, outcome)
            failed |= _say(name, outcome)
        if asked.output is not None:
            report.write(asked.output)
        waiting.remove(name)
    if asked.output is None:
        print(report.text(), end="")
    return int(failed)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="default: %(default)s")
    parser.add_argument("--minutes", type=float, default=9.0, help="at most, for all sections (default: %(default)g)")
    parser.add_argument("--only", nargs="+", choices=tuple(SECTIONS), metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--smallest", action="store_true", help="shows that all runs, measures nothing")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON; default: gpu.json, or standard output")
    asked = parser.parse_args(arguments)
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no GPU here; --device cpu --smallest shows that everything runs")
    if not 0 < asked.minutes < math.inf:
        parser.error(f"--minutes: must be more than 0, got {asked.minutes:g}")
    measures = asked.device == "cuda" and not asked.smallest
    if asked.output is None and measures:
        asked.output = RESULTS
    if asked.output is not None and not measures and asked.output.resolve().is_relative_to(RESULTS.parent):
        parser.error(f"--output {asked.output}: only what was measured on a GPU belongs there; name another folder")
    return asked


def _say(section: str, outcome: Outcome) -> bool:
    """On standard error, as it comes. Whether it failed."""
    for row in outcome.rows:
        rival = "" if row.ratio is None else f" ({row.ratio:.2f}x)"
        print(f"{row.name}: {row.ours:.4g} {row.unit}{rival}", file=sys.stderr, flush=True)
    left = outcome.left_out
    if left is not None:
        print(f"{section}: {left.name}: left out, {left.why}", file=sys.stderr, flush=True)
    return left is not None and left.failed


if __name__ == "__main__":
    sys.exit(main())
