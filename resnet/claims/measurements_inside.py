"""Measurements inside a network: responses, signals and gradients, lesions, noise.

A diverged run has only those that were recorded before; it is missing from other samples, which the evidence says.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from resnet.architectures import Architecture
from resnet.claims.measurements import Quantity
from resnet.statistics import mean
from resnet.study import Network, Run

LOWEST = -12.0  # what a ratio's logarithm counts as at least, so that a gradient of zero is a number too

RESPONSE = Quantity(
    label="mean s.d. of the 3×3 layers' responses",
    of=lambda run, _: mean(run.responses) if run.responses else None,
    unit="",
    step="",
)


def _smallest_variance(run: Run, _: Network) -> float | None:
    """A variance that is not finite carries no signal and counts as zero."""
    return min((v if math.isfinite(v) else 0.0 for v in run.variances_at_start), default=None)


SMALLEST_VARIANCE = Quantity(
    label="smallest variance of a convolution's output before training",
    of=_smallest_variance,
    unit="",
    step="",
    form=".3g",
)


def log_ratio(low: float, high: float) -> float:
    """Returns log10(low / high), at least -12, which also represents norms that are zero or not finite."""
    good = math.isfinite(low) and math.isfinite(high) and low > 0 and high > 0
    return max(LOWEST, math.log10(low / high)) if good else LOWEST


def reach(norms: Sequence[float]) -> float:
    """Returns log10 of the mean norm in the first quarter of the convolutions over that in the last, from -12 to 12.

    It is negative where gradients vanish towards the input, and positive where they explode.
    """
    quarter = max(1, len(norms) // 4)
    first, last = mean(norms[:quarter]), mean(norms[-quarter:])
    return log_ratio(first, last) if first <= last else -log_ratio(last, first)


def _early(run: Run, network: Network) -> list[tuple[float, ...]]:
    """Returns the norms recorded in the first half of training: a network that has fit its data has tiny gradients."""
    return [g.norms for g in run.gradients if g.norms and g.iteration <= max(1, network.recipe.iterations // 2)]


def _growth(norms: Sequence[float]) -> float:
    """Returns the factor a convolution by which the norm grows towards the input, from quarter to quarter."""
    between = len(norms) - max(1, len(norms) // 4)
    return 10.0 ** (reach(norms) / between) if between else 1.0


# At the start batch normalisation makes gradients of plain networks grow exponentially towards the input: "A Mean
# Field Theory of Batch Normalization" (Yang et al. 2019, arXiv:1902.08129).
GROWTH_AT_START = Quantity(
    label="growth of the gradient towards the input at the start, factor a convolution",
    of=lambda run, network: next((_growth(norms) for norms in _early(run, network)), None),
    unit="",
    step="",
    form=".3f",
    stage="train",
)
GROWTH_IN_TRAINING = replace(
    GROWTH_AT_START,
    label="growth of the gradient towards the input in the first half of training, where it is farthest from 1",
    of=lambda run, network: max((_growth(norms) for norms in _early(run, network)[1:]), key=_size, default=None),
)
LOWEST_REACH = Quantity(
    label="log₁₀ of the gradient norm in the first quarter of the convolutions over the last, lowest in the first half "
    "of training",
    of=lambda run, network: min(map(reach, _early(run, network)), default=None),
    unit="",
    step="",
    stage="train",
)


def _size(factor: float) -> float:
    return abs(math.log(factor))


def imbalance(run: Run, network: Network) -> float | None:
    """Returns the largest distance of `reach` from 0 in the first half of training: either direction counts."""
    return max((abs(reach(norms)) for norms in _early(run, network)), default=None)


def whole(run: Run, _: Network) -> float | None:
    """Returns the error in percent on the images of the lesions and the noise."""
    return next((error for strength, error in run.noise if strength == 0), None)


WHOLE = Quantity(label="error of the whole network on the same images", of=whole)


def same_shape(errors: Sequence[float], architecture: Architecture) -> Sequence[float]:
    """Returns the errors of blocks that keep the shape: the others cannot be left out of a plain network."""
    if len(errors) != sum(architecture.blocks):
        return errors
    starts = {sum(architecture.blocks[:stage]) for stage in range(len(architecture.blocks))}
    changing = starts if architecture.block == "bottleneck" else starts - {0}
    return [error for i, error in enumerate(errors) if i not in changing]


def _lesion(run: Run, network: Network) -> float | None:
    base, errors = whole(run, network), same_shape(run.lesions, network.architecture)
    return mean(errors) - base if errors and base is not None else None


LESION = Quantity(label="mean increase of the error when one block is left out", of=_lesion, unit="points")


def _noise(run: Run, network: Network) -> float | None:
    base, errors = whole(run, network), [error for strength, error in run.noise if strength > 0]
    return mean(errors) - base if errors and base is not None else None


NOISE = Quantity(label="mean increase of the error under noise on the images", of=_noise, unit="points")
