"""The measurements of an experiment as claims read them: networks, their runs, their errors."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from resnet.architectures import ARCHITECTURES, Architecture, same_but
from resnet.history import Gradient as Gradient
from resnet.history import IdentityCopy as IdentityCopy
from resnet.recipe import Recipe
from resnet.statistics import ALPHA, DELTA, Summary, summarise

Measure = Literal["train", "clean", "val", "test"]  # train: augmented batches of the last epoch; clean: no augmentation
SMALL_IMAGES = ("stem", "width", "stride_on")  # fields in which a network may differ from the paper's
SILENT = ("record_every", "validate_every")  # fields of a recipe that decide no weights
WORST = 100.0  # percent; a diverged run counts as this, because scores that are not finite are all errors


@dataclass(frozen=True, slots=True)
class Point:
    """One row of a run's history."""

    iteration: int
    train: float  # percent, on augmented batches
    val: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One seed of a network. Errors in percent; None where nothing was measured."""

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
    images: Mapping[Measure, int] = field(default_factory=dict, compare=False)  # an error is a fraction of them
    wrong: Mapping[Measure, NDArray[np.bool_]] = field(default_factory=dict, compare=False)  # (images,), of val, test
    responses: tuple[float, ...] = ()  # Fig. 7: s.d. of each 3x3 layer's output after BN, in order
    variances_at_start: tuple[float, ...] = ()  # of each convolution's output, before training
    gradients: tuple[Gradient, ...] = ()  # at start and during training
    lesions: tuple[float, ...] = ()  # validation error without each block, in order
    identity: tuple[IdentityCopy, ...] = ()  # deeper plain networks built from this one by identity layers (Sec. 1)
    noise: tuple[tuple[float, float], ...] = ()  # (s.d. of the noise in units of the pixels' range, validation error)

    def error(self, measure: Measure) -> float | None:
        if self.diverged:
            return WORST
        value: float | None = getattr(self, measure)
        return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """A network of the experiment with its finished runs, of `wanted` seeds."""

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
        """Whether it is the named network, up to changes for small images and the stride of bottlenecks."""
        return same_but(self.architecture, ARCHITECTURES[self.architecture_name], *SMALL_IMAGES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """How an experiment is judged."""

    registered: bool = False
    reasons: tuple[str, ...] = ("it was never registered",)  # why it is exploratory
    delta: float = DELTA
    alpha: float = ALPHA  # of this look: ALPHA / number of planned looks
    looks: tuple[int, ...] = ()  # seeds a network at each planned look
    taken: int = 0  # how many were taken
    nuisance: frozenset[str] = frozenset()  # recipe fields that a pilot chose: {"lr"}
    along: str = "blocks"  # the field of an architecture or a recipe along which a ladder climbs


@dataclass(frozen=True, slots=True)
class Ladder:
    """Networks that differ in one field alone, in its order: plain ones, and the same with shortcuts."""

    plain: tuple[Network, ...]
    residual: tuple[Network, ...]
    along: str

    def positions(self, rows: Sequence[Network]) -> list[float]:
        """Returns the places of networks on the ladder: layers, where it is one of depths."""
        return [_position(row, self.along) for row in rows]

    def twins(self) -> list[tuple[Network, Network]]:
        """Returns plain networks with their residual twins, at the positions that have both."""
        residual = dict(zip(self.positions(self.residual), self.residual, strict=True))
        plain = dict(zip(self.positions(self.plain), self.plain, strict=True))
        return [(network, residual[at]) for at, network in plain.items() if at in residual]


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """All networks of one experiment."""

    experiment: str
    dataset: str
    classes: int
    networks: tuple[Network, ...]
    headline: Literal["val", "test"]  # the split of claims on accuracy: ImageNet's 50,000 images are `val`
    train_images: int | None = None  # gives the length of an epoch; None where it is not known
    trial: Trial = Trial()

    def rows(self, name: str) -> tuple[Network, ...]:
        """Returns all rows with the architecture of `name`: first the row of that name, then the shortest trained."""
        named = ARCHITECTURES[name]
        found = [n for n in self.networks if same_but(n.architecture, named, *SMALL_IMAGES)]
        return tuple(sorted(found, key=lambda n: (n.name != name, n.architecture_name != name, n.recipe.iterations)))

    def find(self, name: str) -> Network | None:
        """Returns the first of `rows`."""
        return next(iter(self.rows(name)), None)

    def ladder(self, family: Literal["plain", "residual"]) -> tuple[Network, ...]:
        """Returns the CIFAR family's plain or option-A networks with runs, shallow first, one per depth (Sec. 4.2)."""
        named = ARCHITECTURES["cifar-plain-20" if family == "plain" else "cifar-resnet-20"]
        found: dict[int, Network] = {}
        for network in sorted(self.networks, key=lambda n: (n.name != n.architecture_name, n.recipe.iterations)):
            here = network.architecture
            of_family = len(here.blocks) == 3 and len(set(here.blocks)) == 1
            if of_family and same_but(here, named, *SMALL_IMAGES, "blocks") and network.runs:
                found.setdefault(here.depth, network)
        return tuple(found[depth] for depth in sorted(found))

    def ladders(self) -> list[Ladder]:
        """Returns every ladder of two or more networks, finished or not, the one with the most twins first.

        Where several rows are at one position, the one whose recipe most of the ladder has is taken.
        """
        found: dict[Any, list[Network]] = {}
        for network in self.networks:
            found.setdefault(self._layout(network), []).append(network)
        series = {key: climbed for key, rows in found.items() if len(climbed := self._climb(rows)) > 1}
        plain = {self._layout(rows[0], "shortcut"): rows for rows in _plain(series)}
        ladders, used = [], []
        for rows in series.values():
            if rows[0].architecture.shortcut != "none":
                twin = plain.get(self._layout(rows[0], "shortcut"), ())
                ladders.append(Ladder(twin, rows, self.trial.along))
                used.append(twin)
        ladders += [Ladder(rows, (), self.trial.along) for rows in plain.values() if rows not in used]
        return sorted(ladders, key=lambda one: (-len(one.twins()), -len(one.plain), -len(one.residual)))

    def _layout(self, network: Network, *names: str) -> tuple[Any, ...]:
        """Returns what the networks of a ladder have in common: all fields but its own, and the number of stages."""
        architecture = network.architecture
        return len(architecture.blocks), *_apart_from(architecture, self.trial.along, *names)

    def _climb(self, rows: Sequence[Network]) -> tuple[Network, ...]:
        ignored = {*self.trial.nuisance, self.trial.along}
        recipes = [_apart_from(row.recipe, *ignored, *SILENT) for row in rows]
        usual = Counter(recipes).most_common(1)[0][0]
        found: dict[float, Network] = {}
        for row, _ in sorted(zip(rows, recipes, strict=True), key=lambda pair: pair[1] != usual):
            found.setdefault(_position(row, self.trial.along), row)
        return tuple(found[at] for at in sorted(found))

    def shallow_and_deep(self) -> tuple[Network, ...]:
        """Returns the two plain networks of Fig. 1: 20 and 56 layers, else 18 and 34, else a ladder's first and last.

        Returns none where there are not two.
        """
        for names in (("cifar-plain-20", "cifar-plain-56"), ("plain-18", "plain-34")):
            pair = tuple(network for network in map(self.find, names) if network is not None and network.runs)
            if len(pair) == 2:
                return pair
        ladder = self.ladder("plain")
        return (ladder[0], ladder[-1]) if len(ladder) > 1 else ()


def _plain(series: Mapping[Any, tuple[Network, ...]]) -> list[tuple[Network, ...]]:
    return [rows for rows in series.values() if rows[0].architecture.shortcut == "none"]


def _position(network: Network, along: str) -> float:
    if along == "blocks":
        return float(network.architecture.depth)
    of = network.architecture if hasattr(network.architecture, along) else network.recipe
    return float(getattr(of, along))


def _apart_from(part: Architecture | Recipe, *names: str) -> tuple[str, ...]:
    """Returns the values of all other fields."""
    return tuple(repr(value) for name, value in asdict(part).items() if name not in names)


def recipe_differences(a: Network, b: Network) -> list[str]:
    """Returns the recipe's fields in which two networks differ, so that not only the networks are compared."""
    names = [field.name for field in fields(Recipe) if field.name not in SILENT]
    return [name for name in names if getattr(a.recipe, name) != getattr(b.recipe, name)]
