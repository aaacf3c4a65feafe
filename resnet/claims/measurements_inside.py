"""Measurements inside a network: responses, signals and gradients, lesions, noise.

A diverged run has only those that were recorded before; it is missing from other samples, which the evidence says.
"""

import math
from collections.abc import Sequence

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


def _worst_ratio(run: Run, network: Network) -> float | None:
    """Takes the first half of training: a network that has fit its data has tiny gradients in all layers."""
    early = [g.norms for g in run.gradients if g.norms and g.iteration <= max(1, network.recipe.iterations // 2)]
    return min((log_ratio(min(norms), max(norms)) if _finite(norms) else LOWEST for norms in early), default=None)


def _finite(norms: Sequence[float]) -> bool:
    return all(math.isfinite(norm) for norm in norms)


GRADIENT_RANGE = Quantity(
    label="log₁₀ of the smallest over the largest gradient norm of a convolution, at its worst in the first half of "
    "training",
    of=_worst_ratio,
    unit="",
    step="",
    stage="train",
)


def _first_over_last(run: Run, _: Network) -> float | None:
    """Takes the first recorded iteration."""
    first = min(run.gradients, key=lambda g: g.iteration, default=None)
    if first is None or not first.norms:
        return None
    quarter = max(1, len(first.norms) // 4)
    return log_ratio(mean(first.norms[:quarter]), mean(first.norms[-quarter:]))


GRADIENT_REACH = Quantity(
    label="log₁₀ of the gradient norm in the first quarter of the convolutions over that in the last, at the start",
    of=_first_over_last,
    unit="",
    step="",
    stage="train",
)


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
