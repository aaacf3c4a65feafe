"""The experiment's own tables: every network with all its errors, and what the runs cost."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import pandas as pd

from pipeline import data
from pipeline.reporting.inputs import Inputs, percent
from pipeline.reporting.markdown import NOT_RUN, Table, cell, mean
from resnet.device import FORWARD_AND_BACKWARD
from resnet.history import Row
from resnet.statistics import Summary, summarise
from resnet.study import WORST, Measure, Network

Top = Literal[1, 5]
MEASURES: tuple[Measure, ...] = ("train", "clean", "val", "test")
SHOWN_IN_HOURS = 2 * 3600  # seconds from which a duration is one of hours


def protocols(inputs: Inputs, network: Network | None = None) -> list[str]:
    """Returns the protocols by which runs, of one network or of all, were measured; the evaluation's own first."""
    wanted = [record.run for record in inputs.records.values() if network is None or record.network == network.name]
    return list(dict.fromkeys(name for run in wanted for name in inputs.by_protocol(inputs.results.get(run))))


def error(inputs: Inputs, network: Network, protocol: str, top: Top = 1) -> Summary | None:
    """Returns the error of the headline split by a protocol; None where no run was measured by it.

    A diverged run counts as all errors.
    """
    records = [record for record in inputs.records.values() if record.network == network.name]
    splits = [inputs.by_protocol(inputs.results.get(record.run)).get(protocol) for record in records]
    errors = [percent(split, top) for split in splits]
    if all(value is None for value in errors):
        return None
    values = [WORST if record.status == "diverged" else e for record, e in zip(records, errors, strict=True)]
    return summarise([value for value in values if value is not None])


def networks(inputs: Inputs) -> Table:
    """Returns every network with its errors of all kinds and protocols, parameters and multiply-adds."""
    study, (own, *others) = inputs.study, protocols(inputs) or [""]
    top5 = any(error(inputs, network, own, 5) for network in study.networks)
    rows = []
    for network in study.networks:
        summaries = [network.summary(measure) for measure in MEASURES]
        summaries += [error(inputs, network, name) for name in others] + [error(inputs, network, own, 5)] * top5
        errors = [cell(summary, (), network.wanted) for summary in summaries]
        size = [f"{getattr(network.runs[0], f):,}" if network.runs else "" for f in ("parameters", "multiply_adds")]
        rows.append((network.name, str(network.architecture.depth), *errors, *size))
    more = [f"{study.headline}, {name}" for name in (*others, *["top-5"] * top5)]
    head = ("network", "layers", "train, as in the curves", "train, clean", "val", "test", *more)
    return Table((*head, "parameters", "multiply-adds"), tuple(rows), (1, len(head), len(head) + 1))


def trained_on(inputs: Inputs) -> str:
    """Returns the images, and how long the networks are trained on them."""
    manifest, recipes = inputs.manifest, [network.recipe for network in inputs.study.networks]
    test = f"{manifest.test.images:,}" if manifest.test else "no"
    images = f"{manifest.train.images:,} training, {manifest.val.images:,} validation and {test} test images"
    iterations = _range([f"{number:,}" for number in sorted(recipe.iterations for recipe in recipes)])
    seen = sorted(recipe.iterations * recipe.batch_size / manifest.train.images for recipe in recipes)
    return (
        f"{manifest.source}: {images}, {len(manifest.classes)} classes, {manifest.size}×{manifest.size} pixels; "
        f"{len(inputs.experiment.runs)} runs of {iterations} iterations ({_range([f'{n:.2g}' for n in seen])} epochs). "
        f"That is {data.of(manifest).about}."
    )


def _range(texts: Sequence[str]) -> str:
    """Returns the first and the last of sorted numbers, or the one that both are."""
    return " to ".join(dict.fromkeys((texts[0], texts[-1])))


def time_taken(inputs: Inputs) -> str:
    """Returns the time in which at least one run trained, that of all runs and core-hours. Evaluation is left out."""
    steps: list[tuple[float, float]] = []  # of training between two rows: from, to
    for rows in inputs.histories.values():
        seconds = [0.0, *(row.seconds for row in rows)]
        ends = (row.unix_time_s for row in rows)
        steps += [(end - after + before, end) for end, (before, after) in zip(ends, pairwise(seconds), strict=True)]
    wall, last = 0.0, -math.inf
    for start, end in sorted(steps):
        wall, last = wall + max(0.0, end - max(start, last)), max(last, end)
    total = sum(record.seconds for record in inputs.records.values())
    cores = sum(record.seconds * record.threads * record.workers for record in inputs.records.values())
    return (
        f"{_duration(wall)} with at least one run in training; {_duration(total)} and "
        f"{cores / 3600:.2g} core-hours of training over all runs"
    )


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.2g} hours" if seconds >= SHOWN_IN_HOURS else f"{seconds / 60:.2g} minutes"


def target(inputs: Inputs) -> float:
    """Returns the training error, in per cent, to which time is counted: half of that of guessing."""
    return 50.0 * (1 - 1 / inputs.study.classes)


def costs(inputs: Inputs) -> Table:
    """Returns seconds, seconds and iterations to the target, images and multiply-adds a second, memory, by device."""
    runs = _runs(inputs)
    rows = []
    for network in inputs.study.networks:
        groups = runs[runs["network"] == network.name].groupby("device", sort=False)
        found = [(network.name, *_cost(group), str(device)) for device, group in groups]
        rows += found or [(network.name, *[NOT_RUN] * 9, "")]
    rates = ("images/s, training", "images/s, evaluation", "10⁹ multiply-adds/s, training", "fraction of the peak")
    to_target = (f"{unit} to {target(inputs):.3g} %" for unit in ("s", "iterations"))
    head = ("network", "s per run", *to_target, *rates, "peak MiB", "runs", "device")
    last = len(head) if runs["device"].nunique() > 1 else len(head) - 1  # a single device is named below the table
    return Table(head[:last], tuple(row[:last] for row in rows), tuple(range(1, 10)))


def devices(inputs: Inputs) -> list[str]:
    """Returns each device with its peak, from which the fractions can be computed again."""
    peaks = _runs(inputs).groupby("device")["peak"].first()
    return [f"{device}: peak {peak / 1e9:,.1f}·10⁹ multiply-adds/s" for device, peak in peaks.items()]


def _runs(inputs: Inputs) -> pd.DataFrame:
    """Returns a row a run. A device is one with so many threads, in one precision: what has a roofline of its own.

    Its peak is the most that a matrix product reached, before a training or in an evaluation: neighbours slow single
    products down.
    """
    rows = []
    for record in inputs.records.values():
        result, reached = inputs.results.get(record.run), _reached(inputs.histories[record.run], target(inputs))
        device = f"{record.device}, {record.threads} thread(s), {record.recipe['precision']}"
        rates = (record.images_per_second, result.images_per_second if result else None)
        multiply_adds = FORWARD_AND_BACKWARD * record.multiply_adds * record.images_per_second
        peak = max(of.peak_multiply_adds_per_second for of in (record, result) if of and of.device == record.device)
        rows.append((record.network, device, record.seconds, *reached, *rates, multiply_adds, peak, record.peak_mib))
    columns = ["network", "device", "seconds", "to_s", "to_iteration", "training", "evaluation", "multiply_adds"]
    columns += ["peak", "mib"]
    runs = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[2:], float))
    return runs.assign(peak=runs.groupby("device")["peak"].transform("max"))


def _cost(runs: pd.DataFrame) -> tuple[str, ...]:
    rate = runs["multiply_adds"].mean()
    return (
        _mean(runs["seconds"], 1),
        _mean(runs["to_s"], 1, never="never"),
        _mean(runs["to_iteration"], 0, never="never"),
        _mean(runs["training"], 0),
        _mean(runs["evaluation"], 0),
        f"{rate / 1e9:,.2f}",
        f"{100 * rate / runs['peak'].max():.0f} %",
        f"{runs['mib'].max():,.0f}",
        str(len(runs)),
    )


def _reached(rows: list[Row], error: float) -> tuple[float, float]:
    """Returns seconds of training and iterations at the first row with at most this error; NaN where there is none."""
    found = next((row for row in rows if row.train_top1_error_percent <= error), None)
    return (found.seconds, found.iteration) if found else (math.nan, math.nan)


def _mean(values: "pd.Series[float]", digits: int, never: str = "") -> str:
    """Returns the mean of what was measured; with `never`, the word for no run, it says of how many runs."""
    measured = values.dropna().tolist()
    of = f" (n={len(measured)} of {len(values)})" if never and len(measured) < len(values) else ""
    return f"{mean(summarise(measured), digits)}{of}" if measured else never or NOT_RUN
