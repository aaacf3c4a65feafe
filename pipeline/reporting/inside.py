"""What was measured inside networks, as numbers over seeds: responses, gradients, lesions, noise."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.reporting.curves import Curve, over_runs, to_csv
from pipeline.reporting.inputs import Inputs
from pipeline.store.records import Analysis
from resnet.architectures import Architecture
from resnet.study import Network

BLOCK = re.compile(r"conv([2-9])_x\.(\d+)")
NO_NOISE = "0.0"
Row = tuple[Network, Curve]


@dataclass(frozen=True, slots=True)
class Moments:
    """The gradients' norms by convolution, from 1, in two training iterations: the first, and one amid training."""

    network: Network
    start: Curve
    later: Curve
    first: int  # iterations
    amid: int


def responses(networks: Sequence[Network]) -> list[Row]:
    """Fig. 7: standard deviation of each 3x3 layer's output, by layer from 1."""
    return _there((n, over_runs(enumerate(run.responses, 1) for run in n.runs)) for n in networks)


def descending(curve: Curve) -> Curve:
    """The same values by rank from 1, the largest first: Fig. 7, bottom."""
    order = sorted(range(len(curve.x)), key=lambda i: -curve.mean[i])
    ranks = tuple(float(rank) for rank in range(1, len(order) + 1))
    mean, sd = (tuple(values[i] for i in order) for values in (curve.mean, curve.sd))
    return Curve(ranks, mean, sd, tuple(curve.n[i] for i in order))


def gradients(networks: Sequence[Network]) -> list[Moments]:
    found = []
    for network in networks:
        iterations = sorted({g.iteration for run in network.runs for g in run.gradients})
        half = network.recipe.iterations // 2  # at the end, all gradients of a network that fits its data are tiny
        amid = max((i for i in iterations[1:] if i <= half), default=iterations[-1] if iterations else 0)
        if iterations:
            start, later = (at_iteration(network, i) for i in (iterations[0], amid))
            found.append(Moments(network, start, later, iterations[0], amid))
    return [moments for moments in found if moments.start]


def at_iteration(network: Network, iteration: int) -> Curve:
    norms = (g.norms for run in network.runs for g in run.gradients if g.iteration == iteration)
    return over_runs(enumerate(values, 1) for values in norms)


def lesions(networks: Sequence[Network], inputs: Inputs) -> list[Row]:
    """Error in per cent by the block that is left out, counted from 1 over all blocks; at 0, of the whole network.

    Blocks that cannot be left out have no value: without a shortcut those that change the shape.
    """
    return _there((n, over_runs(_lesions(a, n.architecture) for a in _analyses(inputs, n))) for n in networks)


def _lesions(analysis: Analysis, architecture: Architecture) -> list[tuple[float, float]]:
    left_out = [
        (float(_block_number(name, architecture) or i), error)
        for i, (name, error) in enumerate(analysis.lesions.items(), 1)
    ]
    whole = analysis.noise.get(NO_NOISE)  # of the same images
    return [(0.0, whole), *left_out] if whole is not None and left_out else left_out


def _block_number(name: str, architecture: Architecture) -> int | None:
    """From 1, over all blocks of the network; None for a name that says nothing of the kind."""
    match = BLOCK.search(name)
    if match is None or int(match[1]) - 2 >= len(architecture.blocks):
        return None
    return sum(architecture.blocks[: int(match[1]) - 2]) + int(match[2]) + 1


def noise(networks: Sequence[Network]) -> list[Row]:
    """Error in per cent by the standard deviation of Gaussian noise in units of the pixels' range."""
    return _there((n, over_runs(run.noise for run in n.runs)) for n in networks)


def _analyses(inputs: Inputs, network: Network) -> list[Analysis]:
    results = [m.result for m in inputs.of(network.name)]
    return [result.analysis for result in results if result is not None and result.analysis is not None]


def _there(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row[1]]


def as_csv(rows: Sequence[Row], x: str, y: str) -> str:
    """In long form; `x` and `y` name the columns."""
    lines: list[Sequence[object]] = []
    for network, curve in rows:
        points = zip(curve.x, curve.mean, curve.sd, curve.n, strict=True)
        lines += [(network.name, f"{i:g}", f"{mean:.6g}", f"{sd:.6g}", n) for i, mean, sd, n in points]
    return to_csv(("network", x, y, "sd", "runs"), lines)


def gradients_csv(found: Sequence[Moments]) -> str:
    """What the figure shows; a run's gradients.csv has all iterations."""
    lines: list[Sequence[object]] = []
    for moments in found:
        both = {moments.first: moments.start, moments.amid: moments.later}
        for iteration, curve in both.items():
            points = zip(curve.x, curve.mean, curve.sd, curve.n, strict=True)
            about = moments.network.name, iteration
            lines += [(*about, f"{i:g}", f"{mean:.6g}", f"{sd:.6g}", n) for i, mean, sd, n in points]
    return to_csv(("network", "iteration", "convolution", "gradient_norm", "sd", "runs"), lines)
