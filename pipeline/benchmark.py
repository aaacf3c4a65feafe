"""Measures this project beside what people use today, in turn on the same work, into benchmarks/results/cpu.md."""

import argparse
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import GateMissed, UserError, run_stage

if TYPE_CHECKING:
    from benchmarks.harness import Benchmark
    from benchmarks.results import Row

RESULTS = Path("benchmarks", "results")


def main(arguments: list[str] | None = None) -> None:
    """Raises UserError before anything is measured, GateMissed with --check."""
    asked = _parse(arguments)
    from benchmarks.catalogue import BENCHMARKS

    unknown = [name for name in asked.names if name not in BENCHMARKS]
    if unknown:
        raise UserError(f"no benchmark {', '.join(map(repr, unknown))}; there are: {', '.join(BENCHMARKS)}")
    if asked.list:
        listed = [one for one in BENCHMARKS.values() if one.name in asked.names or not asked.names]
        print(*(f"{one.name:<20} {'(when named) ' if one.apart else ''}{one.what}" for one in listed), sep="\n")
        return
    chosen = [one for one in BENCHMARKS.values() if one.name in asked.names or not (asked.names or one.apart)]
    rows = measure(chosen, repetitions=asked.repetitions, quick=asked.quick, folder=asked.output)
    if asked.check:
        check(rows)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipeline.benchmark", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="these benchmarks (default: all but the longest)")
    parser.add_argument("--list", action="store_true", help="print what there is, and measure nothing")
    parser.add_argument("--repetitions", type=int, metavar="N", help="turns of each side (default: the benchmark's, 5)")
    parser.add_argument("--check", action="store_true", help="exit code 5 where a gate is missed")
    parser.add_argument("--quick", action="store_true", help="smallest sizes: shows that all runs, measures nothing")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help=f"default: {RESULTS}; with --quick: none")
    asked = parser.parse_args(arguments)
    if asked.repetitions is not None and asked.repetitions < 1:
        parser.error("--repetitions: at least 1")
    if asked.check and asked.quick:
        parser.error("--check: the smallest sizes of --quick measure nothing")
    asked.output = asked.output or (None if asked.quick else RESULTS)
    return asked


def measure(chosen: "list[Benchmark]", *, repetitions: int | None, quick: bool, folder: Path | None) -> "list[Row]":
    """Measures and prints one after the other; what is measured is kept in `folder` at once."""
    from benchmarks import hardware, kept, results, table, turns
    from benchmarks.catalogue import BENCHMARKS

    machine, names = hardware.here(), list(BENCHMARKS)
    everything = all(one in chosen for one in BENCHMARKS.values() if not one.apart)
    file = kept.Kept(folder, machine, quick=quick, names=names, everything=everything) if folder else None
    rows = []
    for benchmark in chosen:
        before = hardware.now(turns.ROOT)
        times = repetitions or (1 if quick else benchmark.repetitions)
        said = functools.partial(_say, benchmark.name)
        ours, rival = turns.take(benchmark, repetitions=times, quick=quick, said=said)
        row = results.row(benchmark, ours, rival, quick=quick, fast_bf16=machine.fast_bf16, measured=before)
        said("")
        print(f"{benchmark.name}: {table.sentence(row)}", flush=True)
        if file:
            file.add(row)
        rows.append(row)
    if file:
        print(f"{file.path.with_suffix('.md')}: {len(file.results.results)} of {len(names)} benchmarks")
    return rows


def check(rows: "list[Row]") -> None:
    """Raises GateMissed."""
    from benchmarks import kept

    if faults := kept.missed(rows):
        raise GateMissed(f"{len(faults)} of {len(rows)} benchmarks missed their gates: {'; '.join(faults)}")


def _say(name: str, text: str) -> None:
    """What goes on, in place in a terminal; nothing elsewhere. An empty text wipes it away."""
    if sys.stderr.isatty():
        print(f"\r\033[K{name}: {text}" if text else "\r\033[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_stage(main)
