"""Error curves as numbers: the mean and spread over seeds at each recorded iteration."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from resnet.statistics import summarise
from resnet.study import Network, Study


@dataclass(frozen=True, slots=True)
class Curve:
    """Errors in per cent over the runs that recorded an iteration; `sd` is 0 where one run did."""

    iterations: tuple[int, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    n: tuple[int, ...]


def training(network: Network) -> Curve:
    return _curve([[(p.iteration, p.train) for p in run.history] for run in network.runs])


def validation(network: Network) -> Curve:
    return _curve([[(p.iteration, p.val) for p in run.history if p.val is not None] for run in network.runs])


def _curve(runs: Sequence[Sequence[tuple[int, float]]]) -> Curve:
    found: dict[int, list[float]] = {}
    for run in runs:
        for iteration, error in run:
            found.setdefault(iteration, []).append(error)
    rows = [(i, summarise(found[i])) for i in sorted(found)]
    return Curve(
        tuple(i for i, _ in rows),
        tuple(s.mean for _, s in rows),
        tuple(s.sd or 0.0 for _, s in rows),
        tuple(s.n for _, s in rows),
    )


def as_csv(study: Study) -> str:
    """All curves in long form: what the figure shows."""
    rows: list[Sequence[object]] = []
    for network in study.networks:
        for split, curve in (("train", training(network)), ("val", validation(network))):
            points = zip(curve.iterations, curve.mean, curve.sd, curve.n, strict=True)
            rows += [(network.name, split, i, f"{mean:.4f}", f"{sd:.4f}", n) for i, mean, sd, n in points]
    return to_csv(("network", "split", "iteration", "error_percent", "sd", "runs"), rows)


def for_dvc(study: Study, split: str) -> str:
    """One figure's data for `dvc plots`: iteration, error_percent, network."""
    rows: list[Sequence[object]] = []
    for network in study.networks:
        curve = training(network) if split == "train" else validation(network)
        rows += [(i, f"{e:.4f}", network.name) for i, e in zip(curve.iterations, curve.mean, strict=True)]
    return to_csv(("iteration", "error_percent", "network"), rows)


def to_csv(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()
