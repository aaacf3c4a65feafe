"""Made-up studies for the tests of claims, from columns of numbers, one per seed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from resnet.architectures import ARCHITECTURES
from resnet.claims import CLAIMS
from resnet.claims.verdicts import Claim, Judged, judge_all
from resnet.recipe import Recipe, WarmUp
from resnet.study import Gradient, Network, Point, Run, Study

RECIPE = Recipe(
    batch_size=128, iterations=1000, lr=0.1, lr_drops=(500,), momentum=0.9, weight_decay=1e-4, pad=4, flip=True,
    record_every=100, validate_every=500,
)  # fmt: skip
WARM = replace(RECIPE, warm_up=WarmUp(lr=0.01, until_train_error_percent=80))
IMAGES = 10_000  # that an error is a share of
EVERY_100 = range(100, 1001, 100)
Columns = Mapping[str, Any]
Errors = Mapping[str, Sequence[float]]


def runs(**columns: Sequence[Any]) -> tuple[Run, ...]:
    """One run a seed; `error` fills all four errors and a history that falls to it."""
    count = len(next(iter(columns.values())))
    made = []
    for seed in range(count):
        row = {name: values[seed] for name, values in columns.items()}
        error = row.pop("error", 5.0)
        errors = dict.fromkeys(("train", "clean", "val", "test"), error)
        counts: dict[str, Any] = dict.fromkeys(("parameters", "multiply_adds"), 1000)
        counts |= {"images": dict.fromkeys(errors, IMAGES)}
        fields: dict[str, Any] = {**errors, **counts, "warm_up_ended_at": None, "diverged": False, "history": ()}
        made.append(Run(seed=seed, **(fields | row)))
    return tuple(made)


def falling_to(error: float) -> tuple[Point, ...]:
    return tuple(Point(i, max(error, 100 - i / 10), error) for i in EVERY_100)


def row(name: str, columns: Columns, recipe: Recipe = RECIPE, like: str = "", **architecture: Any) -> Network:
    """The network `like` of resnet.architectures, by default the one of the row's name, with fields changed."""
    there = runs(**columns)
    return Network(
        name=name,
        architecture_name=like or name,
        architecture=replace(ARCHITECTURES[like or name], **architecture),
        recipe=recipe,
        runs=there,
        wanted=len(there),
    )


def study(
    *rows: Network, dataset: str = "cifar10", headline: Literal["val", "test"] = "test", images: int | None = 1280
) -> Study:
    return Study(experiment="tiny", dataset=dataset, classes=10, networks=rows, headline=headline, train_images=images)


def of_errors(errors: Errors, dataset: str = "digits") -> Study:
    """A study in which every error of a run is the same number."""
    return study(
        *(row(n, {"error": e, "history": [falling_to(x) for x in e]}) for n, e in errors.items()), dataset=dataset
    )


def claim(name: str) -> Claim:
    return next(c for c in CLAIMS if c.id == name)


def judged(measured: Study, name: str) -> Judged:
    return judge_all(measured, (claim(name),))[0]


def verdict(measured: Study, name: str) -> str:
    """Judges one claim, without the others of its question."""
    return judged(measured, name).verdict


def seeds(mean: float, sd: float = 0.05, n: int = 5) -> list[float]:
    """n numbers with exactly this mean and standard deviation, spread evenly."""
    scale = sd * (12 / (n * (n + 1))) ** 0.5
    return [mean + scale * (i - (n - 1) / 2) for i in range(n)]


def gradients(*norms: float, iterations: Sequence[int] = (1, 500, 1000)) -> tuple[Gradient, ...]:
    return tuple(Gradient(i, norms) for i in iterations)
