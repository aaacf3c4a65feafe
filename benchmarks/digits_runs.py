"""The runs of the experiment `digits`: how long one takes on this machine, and the rows that it makes."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.turns import ROOT
from pipeline.config import params
from pipeline.loading.splits import load_splits
from pipeline.prepare import prepare
from resnet.history import Row
from resnet.training import Training, start, train
from tests import tracking_maker

QUICK_ROWS = 10
WARM_UP = 2  # iterations of each network


class Digits:
    """A run in progress of each network of the experiment; with `quick` of the first alone."""

    def __init__(self, *, quick: bool) -> None:
        experiment = params.load("digits", ROOT / "params.yaml")
        self.quick = quick
        self.specs = experiment.runs[:1] if quick else experiment.runs
        torch.set_flush_denormal(True)  # as a worker does
        device = torch.device("cpu")
        with tempfile.TemporaryDirectory(prefix="benchmark-digits-") as folder:
            manifest = prepare(experiment, Path(folder))
            splits = load_splits(Path(folder, experiment.name), manifest, device)
        self._going: dict[str, tuple[Training, Iterator[Training]]] = {}
        for spec in {spec.network: spec for spec in self.specs}.values():
            run = start(
                spec.architecture,
                spec.recipe,
                classes=len(manifest.classes),
                channels=manifest.channels,
                seed=spec.seed,
                device=device,
            )
            self._going[spec.network] = run, train(run, spec.recipe, spec.seed, splits.train, splits.val)
        for _ in range(WARM_UP):
            self.mean_run_s()

    def mean_run_s(self) -> float:
        """Training seconds of a run, the mean over the experiment's: from one more iteration of each network."""
        iteration_s = {}
        for network, (run, iterations) in self._going.items():
            before = run.seconds
            next(iterations)
            iteration_s[network] = run.seconds - before
        return sum(spec.recipe.iterations * iteration_s[spec.network] for spec in self.specs) / len(self.specs)

    def history(self) -> list[Row]:
        """As many rows as a run makes; one in ten has a validation error, where in the experiment it is one in four.

        With `quick` a few."""
        recipe = self.specs[0].recipe
        return tracking_maker.rows(QUICK_ROWS if self.quick else recipe.iterations // recipe.record_every)
