"""The numbers of a run that claims are about: their labels, how they are computed and how they are formatted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resnet.claims.select_networks import MissingRuns
from resnet.recipe import Recipe
from resnet.statistics import Summary, least_variance, log_odds, summarise
from resnet.study import WORST, Measure, Network, Run, Study

LABEL: dict[Measure, str] = {
    "train": "training error",
    "clean": "training error without augmentation",
    "val": "validation error",
    "test": "test error",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantity:
    """A measurement with one number per run; None where it was not measured."""

    label: str
    of: Callable[[Run, Network], float | None]
    unit: str = "%"  # of a value
    step: str = "points"  # of a difference
    form: str = ".2f"
    stage: Literal["train", "evaluate"] = "evaluate"  # of the pipeline, which measures it
    worst: str = ""  # what a diverged run counts as; empty where it has no number
    measure: Measure | None = None  # the error that it is: compared as log odds

    @property
    def scale(self) -> str:
        """The unit in which differences are judged."""
        return "log odds" if self.measure else self.step


@dataclass(frozen=True, slots=True)
class Sample:
    """The numbers of one network's runs that have them."""

    network: Network
    quantity: Quantity
    runs: tuple[Run, ...]
    values: tuple[float, ...]

    @property
    def scaled(self) -> tuple[float, ...]:
        """The values on the scale on which they are compared."""
        measure = self.quantity.measure
        if measure is None:
            return self.values
        return tuple(log_odds(v, run.images[measure]) for run, v in zip(self.runs, self.values, strict=True))

    @property
    def least_variance(self) -> float:
        """The least variance of the scaled values: few errors of a count have no spread at times, and yet are few."""
        measure = self.quantity.measure
        return 0.0 if measure is None else least_variance(self.values, self.runs[0].images[measure])

    def wrong(self) -> NDArray[np.float64] | None:
        """Returns for each test image the fraction of runs that were wrong; None where that is not known."""
        kept = [run.wrong.get(self.quantity.measure) for run in self.runs] if self.quantity.measure else []
        known = [np.asarray(one, dtype=np.float64) for one in kept if one is not None]
        return np.mean(known, axis=0) if known and len(known) == len(self.runs) else None

    @property
    def summary(self) -> Summary:
        return summarise(self.values)


def sample(network: Network, quantity: Quantity) -> Sample:
    """Measures the runs of a network. Raises MissingRuns where no run has the number."""
    if found := available([network], quantity):
        return found[0]
    if network.runs and all(run.diverged for run in network.runs):
        raise MissingRuns(f"no {quantity.label} of {network.name} can be measured: all its runs diverged", "nothing")
    raise MissingRuns(f"no {quantity.label} of {network.name} is available", quantity.stage)


def available(networks: Sequence[Network], quantity: Quantity) -> tuple[Sample, ...]:
    """Measures those of the networks that have the number."""
    samples = []
    for n in networks:
        taken = [(run, value) for run in n.runs if (value := quantity.of(run, n)) is not None]
        if taken:
            samples.append(Sample(n, quantity, *map(tuple, zip(*taken, strict=True))))
    return tuple(samples)


def _error(measure: Measure) -> Quantity:
    return Quantity(
        label=LABEL[measure],
        of=lambda run, _: run.error(measure),
        stage="train" if measure == "train" else "evaluate",
        worst=f"{WORST:g} %",
        measure=measure,
    )


ERROR: dict[Measure, Quantity] = {measure: _error(measure) for measure in LABEL}
TRAIN = ERROR["train"]


def headline(study: Study) -> Quantity:
    """Returns the error that claims on accuracy are about."""
    return ERROR[study.headline]


def validation_errors(study: Study, *rows: Network) -> tuple[Sample, ...]:
    """Returns the validation errors as context, where the claim is about the test error."""
    return available(rows, ERROR["val"]) if study.headline == "test" else ()


def iterations_until(error: float, what: str) -> Quantity:
    """Counts recorded iterations until the training error is first below `error` percent."""
    return Quantity(
        label=f"iterations until the training error is below {error:g} %, {what}",
        of=lambda run, network: float(first_below(run, error, network.recipe)),
        unit="iterations",
        step="iterations",
        form=",.0f",
        stage="train",
        worst="the last iteration",
    )


def first_below(run: Run, error: float, recipe: Recipe) -> int:
    """Returns that iteration, or the recipe's last one where there is none or the run diverged."""
    found = (point.iteration for point in run.history if point.train < error)
    return recipe.iterations if run.diverged else next(found, recipe.iterations)


def epochs_until_it_stays(error: float, images: int) -> Quantity:
    """Counts epochs until the training error stays below `error` percent: a guessing network is below it at times."""

    def epochs(run: Run, network: Network) -> float:
        above = [point.iteration for point in run.history if point.train >= error]
        recipe = network.recipe
        last = recipe.iterations if run.diverged else max(above, default=0)
        return last * recipe.batch_size / images

    label = f"epochs until the training error stays below {error:g} %"
    worst = "all epochs"
    return Quantity(label=label, of=epochs, unit="epochs", step="epochs", form=".1f", stage="train", worst=worst)
