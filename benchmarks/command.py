"""The command of a catalogue of benchmarks: its arguments, what it measures, and what it records."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import machine
from benchmarks.harness import ROOT, Benchmark, Samples, measure
from benchmarks.results_file import ResultsFile, Row, sentence, summary

RESULTS = ROOT / "benchmarks" / "results"


def parse(
    prog: str, about: str | None, benchmarks: Mapping[str, Benchmark], words: Sequence[str] | None
) -> argparse.Namespace:
    """Returns the arguments. Ends the process with exit code 2 for wrong ones, and after --list."""
    parser = argparse.ArgumentParser(prog=prog, description=about)
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="these benchmarks (default: all but the longest)")
    add("--list", action="store_true", help="print their names and what they measure")
    add("--repetitions", type=int, metavar="N", help="of each program (default: the benchmark's own)")
    add("--check", action="store_true", help="exit code 5 where a threshold is missed")
    add("--quick", action="store_true", help="smallest sizes: shows that all runs, records nothing")
    add("--output", type=Path, metavar="FOLDER", default=RESULTS, help="default: benchmarks/results")
    arguments = parser.parse_args(words)
    if unknown := [name for name in arguments.names if name not in benchmarks]:
        parser.error(f"no benchmark {', '.join(map(repr, unknown))}; there are: {', '.join(benchmarks)}")
    if arguments.repetitions is not None and arguments.repetitions < 1:
        parser.error("--repetitions: must be at least 1")
    if arguments.check and arguments.quick:
        parser.error("--check: the smallest sizes of --quick measure nothing")
    if arguments.list:
        for one in benchmarks.values():
            print(f"{one.name:<24} {'(only when named) ' if one.on_request else ''}{one.what}")
        parser.exit()
    return arguments


def run(
    arguments: argparse.Namespace,
    benchmarks: Mapping[str, Benchmark],
    machine_: tuple[str, str],
    adapted: Callable[[Benchmark], Benchmark],
) -> list[str]:
    """Measures, prints and records one benchmark after the other; returns a sentence for each missed threshold.

    `machine_`: its kind and description. `adapted` returns a benchmark with the thresholds that apply to it.
    """
    kind, description = machine_
    named = arguments.names
    chosen = [one for one in benchmarks.values() if one.name in named or not (named or one.on_request)]
    results = ResultsFile(arguments.output / f"{kind}.json", list(benchmarks), f"Benchmarks: {kind}")
    rows = []
    for benchmark in chosen:
        measured = machine.now(description)
        print(f"{benchmark.name} ...", flush=True)
        times = arguments.repetitions or (1 if arguments.quick else benchmark.repetitions)
        ours, baseline = measure(benchmark, repetitions=times, quick=arguments.quick)
        rows.append(row(adapted(benchmark), ours, baseline, quick=arguments.quick, measured=measured))
        print(sentence(rows[-1]), flush=True)
        if not arguments.quick:
            results.add(rows[-1])
    return [sentence(row) for row in rows if row.holds is False]


def row(benchmark: Benchmark, ours: Samples, baseline: Samples, *, quick: bool, measured: dict[str, str]) -> Row:
    """Returns what is recorded of a benchmark; nothing is required of the smallest sizes."""
    return Row(
        name=benchmark.name,
        what=benchmark.what,
        unit=benchmark.unit,
        ours=summary(ours.seconds, benchmark.unit, ours.peak_mib),
        baseline=summary(baseline.seconds, benchmark.unit, baseline.peak_mib),
        threshold=None if quick else benchmark.threshold,
        limit=None if quick else benchmark.limit,
        repetitions=len(ours.seconds),
        measured=measured,
    )
