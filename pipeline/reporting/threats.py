"""Threats to the validity of the verdicts, as facts of the experiment; the template says the rest."""

from collections.abc import Iterable
from statistics import fmean

from pipeline.registration import EDGE, at_edge
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.markdown import Md, Table


def pilot(inputs: Inputs) -> Table | None:
    """Returns the grid of the pilot, mean training losses over its seeds, or None where there was no pilot."""
    registration = inputs.experiment.registration
    if registration is None or not registration.pilot:
        return None
    losses: dict[tuple[str, float], list[float]] = {}
    for run in registration.pilot:
        losses.setdefault((run.network, run.lr), []).append(float("inf") if run.loss is None else run.loss)
    rates = sorted({lr for _, lr in losses})
    rows = []
    for network, chosen in registration.rates.items():
        cells = [f"{fmean(losses[network, lr]):.4g}" if (network, lr) in losses else "" for lr in rates]
        cells = [Md(f"**{cell}**") if lr == chosen else cell for lr, cell in zip(rates, cells, strict=True)]
        rows.append((network, *cells, EDGE if at_edge(registration, chosen) else ""))
    return Table(("network", *(f"rate {lr:g}" for lr in rates), ""), tuple(rows), tuple(range(1, len(rates) + 1)))


def seeds(inputs: Inputs) -> dict[str, str]:
    """Returns the networks by their seeds, `0 to 4`; seeds that are not consecutive one by one."""
    found: dict[str, list[str]] = {}
    for network, runs in inputs.experiment.by_network().items():
        found.setdefault(_numbers(run.seed for run in runs), []).append(network)
    return {numbers: ", ".join(names) for numbers, names in found.items()}


def _numbers(seeds: Iterable[int]) -> str:
    found = sorted(seeds)
    consecutive = found == list(range(found[0], found[-1] + 1))
    return ", ".join(map(str, found)) if len(found) == 1 or not consecutive else f"{found[0]} to {found[-1]}"
