"""The numbers of a run that claims are about: what each is called, how it is taken and how it is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from resnet.claims.needs import Lacking
from resnet.recipe import Recipe
from resnet.statistics import Summary, summarise
from resnet.study import WORST, Measure, Network, Run, Study

LABEL: dict[Measure, str] = {
    "train": "training error",
    "clean": "training error without augmentation",
    "val": "validation error",
    "test": "test error",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantity:
    """One number a run; None where it was not measured."""

    label: str
    of: Callable[[Run, Network], float | None]
    unit: str = "%"  # of a value
    step: str = "points"  # of a difference
    form: str = ".2f"
    stage: Literal["train", "evaluate"] = "evaluate"  # of the pipeline, which measures it
    worst: str = ""  # what a diverged run counts as; empty where it has no number


@dataclass(frozen=True, slots=True)
class Sample:
    """A quantity of one network, a number a run that has it."""

    network: Network
    quantity: Quantity
    values: tuple[float, ...]

    @property
    def summary(self) -> Summary:
        return summarise(self.values)


def sample(network: Network, quantity: Quantity) -> Sample:
    """Raises Lacking where no run has the number."""
    numbers = (quantity.of(run, network) for run in network.runs)
    values = tuple(number for number in numbers if number is not None)
    if values:
        return Sample(network, quantity, values)
    if network.runs and all(run.diverged for run in network.runs):
        raise Lacking(f"no {quantity.label} of {network.name} can be measured: all its runs diverged", "nothing")
    raise Lacking(f"no {quantity.label} of {network.name} is there", quantity.stage)


def seen(networks: Sequence[Network], quantity: Quantity) -> tuple[Sample, ...]:
    """Of those networks that have the number."""
    taken = ((n, tuple(v for run in n.runs if (v := quantity.of(run, n)) is not None)) for n in networks)
    return tuple(Sample(network, quantity, values) for network, values in taken if values)


def _error(measure: Measure) -> Quantity:
    return Quantity(
        label=LABEL[measure],
        of=lambda run, _: run.error(measure),
        stage="train" if measure == "train" else "evaluate",
        worst=f"{WORST:g} %",
    )


ERROR: dict[Measure, Quantity] = {measure: _error(measure) for measure in LABEL}
TRAIN = ERROR["train"]


def headline(study: Study) -> Quantity:
    return ERROR[study.headline]


def iterations_until(error: float, what: str) -> Quantity:
    """Recorded iterations until the training error is first below `error` per cent."""
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
    """The last iteration of the recipe where there is none, or where the run diverged."""
    found = (point.iteration for point in run.history if point.train < error)
    return recipe.iterations if run.diverged else next(found, recipe.iterations)


def epochs_until_it_stays(error: float, images: int) -> Quantity:
    """Epochs until the training error is below `error` per cent for good: one that guesses is below it at times."""

    def epochs(run: Run, network: Network) -> float:
        above = [point.iteration for point in run.history if point.train >= error]
        recipe = network.recipe
        last = recipe.iterations if run.diverged else max(above, default=0)
        return last * recipe.batch_size / images

    label = f"epochs until the training error stays below {error:g} %"
    worst = "all epochs"
    return Quantity(label=label, of=epochs, unit="epochs", step="epochs", form=".1f", stage="train", worst=worst)
