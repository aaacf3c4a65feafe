"""What an experiment measured, as the claims see it: networks, their runs, their errors."""

from dataclasses import dataclass, fields
from typing import Literal

from resnet.architectures import ARCHITECTURES, Architecture, same_but
from resnet.history import Gradient as Gradient
from resnet.recipe import Recipe
from resnet.statistics import Summary, summarise

Measure = Literal["train", "clean", "val", "test"]  # train: augmented batches of the last epoch; clean: no augmentation
SMALL_IMAGES = ("stem", "width", "stride_on")  # fields in which a network may differ and be the paper's all the same
WORST = 100.0  # per cent; what a diverged run counts as, since scores that are not finite are all errors


@dataclass(frozen=True, slots=True)
class Point:
    """One line of a run's history."""

    iteration: int
    train: float  # per cent, on augmented batches
    val: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One seed. Errors in per cent; None where nothing was measured."""

    seed: int
    diverged: bool
    train: float
    clean: float | None
    val: float | None
    test: float | None
    parameters: int
    multiply_adds: int  # of one forward pass of one image
    warm_up_ended_at: int | None
    history: tuple[Point, ...]
    protocols: tuple[tuple[str, float], ...] = ()  # (name, top-1 error of the headline split)
    responses: tuple[float, ...] = ()  # Fig. 7: s.d. of each 3x3 layer's output after BN, in order
    variances_at_start: tuple[float, ...] = ()  # of each convolution's output, before training
    gradients: tuple[Gradient, ...] = ()  # at start and during training
    lesions: tuple[float, ...] = ()  # validation error without each block, in order
    noise: tuple[tuple[float, float], ...] = ()  # (s.d. of the noise in units of the pixels' range, validation error)

    def error(self, measure: Measure) -> float | None:
        if self.diverged:
            return WORST
        value: float | None = getattr(self, measure)
        return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """One row of the comparison with the runs that there are; `wanted` seeds were asked for."""

    name: str
    architecture_name: str  # in resnet.architectures
    architecture: Architecture
    recipe: Recipe
    runs: tuple[Run, ...]
    wanted: int

    def errors(self, measure: Measure) -> tuple[float, ...]:
        values = (run.error(measure) for run in self.runs)
        return tuple(value for value in values if value is not None)

    def summary(self, measure: Measure) -> Summary | None:
        values = self.errors(measure)
        return summarise(values) if values else None

    @property
    def is_the_papers(self) -> bool:
        """Whether it is the named network, but for what small images change, and where a bottleneck halves."""
        return same_but(self.architecture, ARCHITECTURES[self.architecture_name], *SMALL_IMAGES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    experiment: str
    dataset: str
    classes: int
    networks: tuple[Network, ...]
    headline: Literal["val", "test"]  # whose error the claims on accuracy are about: ImageNet's 50,000 images are `val`
    train_images: int | None = None  # with the batch size the length of an epoch; None where it is not known

    def rows(self, name: str) -> tuple[Network, ...]:
        """All rows built like the paper's network `name`: first the row of that name, then the shortest trained."""
        named = ARCHITECTURES[name]
        found = [n for n in self.networks if same_but(n.architecture, named, *SMALL_IMAGES)]
        return tuple(sorted(found, key=lambda n: (n.name != name, n.architecture_name != name, n.recipe.iterations)))

    def find(self, name: str) -> Network | None:
        """The first of `rows`."""
        return next(iter(self.rows(name)), None)

    def ladder(self, family: Literal["plain", "residual"]) -> tuple[Network, ...]:
        """The CIFAR family's plain or option-A networks that have runs, shallow first, one a depth (Sec. 4.2)."""
        named = ARCHITECTURES["cifar-plain-20" if family == "plain" else "cifar-resnet-20"]
        found: dict[int, Network] = {}
        for network in sorted(self.networks, key=lambda n: (n.name != n.architecture_name, n.recipe.iterations)):
            here = network.architecture
            of_family = len(here.blocks) == 3 and len(set(here.blocks)) == 1
            if of_family and same_but(here, named, *SMALL_IMAGES, "blocks") and network.runs:
                found.setdefault(here.depth, network)
        return tuple(found[depth] for depth in sorted(found))


def recipe_differences(a: Network, b: Network) -> list[str]:
    """Fields in which two networks were trained differently, so that a comparison is not of the networks alone."""
    silent = ("record_every", "validate_every")
    names = [field.name for field in fields(Recipe) if field.name not in silent]
    return [name for name in names if getattr(a.recipe, name) != getattr(b.recipe, name)]
