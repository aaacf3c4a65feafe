"""Error curves as numbers: the mean and spread over seeds at each recorded iteration."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from resnet.statistics import summarise
from resnet.study import Network, Study


@dataclass(frozen=True, slots=True)
class Curve:
    """Means over the runs that have a value at `x`; `sd` is 0 where one run has."""

    x: tuple[float, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    n: tuple[int, ...]

    def __bool__(self) -> bool:
        return bool(self.x)

    def part(self, wanted: Callable[[float], bool]) -> "Curve":
        """The points whose x is wanted."""
        places = [i for i, x in enumerate(self.x) if wanted(x)]
        x, mean, sd = (tuple(values[i] for i in places) for values in (self.x, self.mean, self.sd))
        return Curve(x, mean, sd, tuple(self.n[i] for i in places))


def over_runs(runs: Iterable[Iterable[tuple[float, float]]]) -> Curve:
    """Of pairs (x, value) a run; values that are not finite are left out."""
    found: dict[float, list[float]] = {}
    for run in runs:
        for x, value in run:
            if math.isfinite(value):
                found.setdefault(x, []).append(value)
    rows = [(x, summarise(found[x])) for x in sorted(found)]
    return Curve(
        tuple(x for x, _ in rows),
        tuple(s.mean for _, s in rows),
        tuple(s.sd or 0.0 for _, s in rows),
        tuple(s.n for _, s in rows),
    )


def training(network: Network) -> Curve:
    """Errors in per cent by iteration, on augmented batches."""
    return over_runs([(p.iteration, p.train) for p in run.history] for run in network.runs)


def validation(network: Network) -> Curve:
    return over_runs([(p.iteration, p.val) for p in run.history if p.val is not None] for run in network.runs)


def as_csv(networks: Sequence[Network]) -> str:
    """Their curves in long form: what the figure shows."""
    rows: list[Sequence[object]] = []
    for network in networks:
        for split, curve in (("train", training(network)), ("val", validation(network))):
            points = zip(curve.x, curve.mean, curve.sd, curve.n, strict=True)
            rows += [(network.name, split, i, f"{mean:.4f}", f"{sd:.4f}", n) for i, mean, sd, n in points]
    return to_csv(("network", "split", "iteration", "error_percent", "sd", "runs"), rows)


def for_dvc(study: Study, split: str) -> str:
    """One figure's data for `dvc plots`: iteration, error_percent, network."""
    rows: list[Sequence[object]] = []
    for network in study.networks:
        curve = training(network) if split == "train" else validation(network)
        rows += [(i, f"{e:.4f}", network.name) for i, e in zip(curve.x, curve.mean, strict=True)]
    return to_csv(("iteration", "error_percent", "network"), rows)


def to_csv(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()
