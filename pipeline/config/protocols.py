"""The paper's protocols beside the one view: whether an experiment can have those that its `evaluation` asks for."""

from collections import Counter

from pipeline.config.experiment import Experiment, RunSpec
from pipeline.config.yaml_file import nearest, shown
from pipeline.errors import UserError

PHOTOGRAPHS = ("folder", "imagenet")  # data sets whose images are larger than what a network sees of them


def check(experiment: Experiment, where: str) -> None:
    """Raises UserError for what its data set and its rows cannot give; `where` is the place of the section."""
    evaluation, dataset = experiment.evaluation, experiment.data.dataset
    if evaluation.protocols and dataset not in PHOTOGRAPHS:
        raise UserError(
            f"{where}.protocols: crops and scales are for photographs ({', '.join(PHOTOGRAPHS)}), images of {dataset} "
            f"have a single view (Sec. 4.2); leave the key out, got {shown(evaluation.protocols)}"
        )
    if evaluation.precision != "fp32" and not evaluation.protocols:
        raise UserError(
            f"{where}.precision: is that of the protocols, and none is asked for; the single view is measured in fp32; "
            f"leave the key out, got {shown(evaluation.precision)}"
        )
    if len(set(evaluation.protocols)) != len(evaluation.protocols):
        raise UserError(f"{where}.protocols: each protocol once, got {shown(evaluation.protocols)}")
    runs = _runs(experiment)
    for row, times in Counter(evaluation.ensemble).items():
        if row not in runs:
            hint = nearest(row, list(runs))
            raise UserError(f"{where}.ensemble: no network {shown(row)}{hint}; networks has {', '.join(runs)}")
        if times > len(runs[row]):
            raise UserError(f"{where}.ensemble: {row} must stand there once a seed, of which it has {len(runs[row])}")
    if len(evaluation.ensemble) == 1:
        raise UserError(f"{where}.ensemble: must be at least 2 networks, got {shown(evaluation.ensemble)}")


def ensembles(experiment: Experiment) -> list[list[RunSpec]]:
    """The runs of each ensemble. The first has the first seeds of each row, the next one those behind them, as long as
    every row has some; no run is in two of them."""
    runs, times = _runs(experiment), Counter(experiment.evaluation.ensemble)
    number = min((len(runs[row]) // n for row, n in times.items()), default=0)
    return [[run for row, n in times.items() for run in runs[row][i * n : (i + 1) * n]] for i in range(number)]


def _runs(experiment: Experiment) -> dict[str, list[RunSpec]]:
    """By row."""
    return {row.network: [run for run in experiment.runs if run.network == row.network] for row in experiment.runs}
