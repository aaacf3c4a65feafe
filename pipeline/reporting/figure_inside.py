"""Signals inside networks: the responses of layers (Fig. 7) and the norms of gradients."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.reporting import inside, panels, style
from pipeline.reporting.curves import Curve
from pipeline.reporting.inside import Moments, Row
from pipeline.reporting.style import FAMILIES, Look
from resnet.study import Network

PLAIN: Any = (0, (4, 1.5))  # Fig. 7 draws plain networks dashed
FLATTENS = 8
AT_START: Any = (0, (1.2, 1.2))


def one_a_depth(networks: Sequence[Network]) -> list[Network]:
    """The first of each family and depth; further ones of a depth are in the numbers, not in the figure."""
    found: dict[tuple[str, int], Network] = {}
    for network in networks:
        found.setdefault((network.architecture.family, network.architecture.depth), network)
    return list(found.values())


def draw_responses(rows: Sequence[Row]) -> Figure:
    """Fig. 7: in the order of the layers above, by size below; plain networks dashed, residual ones solid."""
    shown = one_a_depth([network for network, _ in rows])
    curves = [(network, curve) for network, curve in rows if network in shown]
    colours = style.depth_colours([n.architecture.depth for n in shown])
    looks = {n.name: Look(colours[n.architecture.depth], _dash(n)) for n in shown}
    ordered = sorted(shown, key=lambda n: (n.architecture.family, n.architecture.depth))
    keys = [_key(n, looks[n.name]) for n in ordered]
    height = 4.3 + panels.ROW * panels.rows(keys)
    figure = Figure(figsize=(style.WIDTH, height), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharey=True, sharex=True)
    for network, curve in curves:
        panels.line(top, curve, looks[network.name], width=1.5)
        panels.line(bottom, inside.descending(curve), looks[network.name], width=1.5, spread=False)
    far_apart = _far_apart([curve for _, curve in curves])
    for axes, title in ((top, "in the order of the layers"), (bottom, "by size")):
        axes.set_title(title)
        axes.set_ylabel("standard deviation")
        if far_apart:
            _logarithmic(axes)
        else:
            axes.set_ylim(bottom=0)
    bottom.set_xlabel("3×3 layer, and rank")
    bottom.set_xlim(left=0)
    panels.whole_numbers(bottom)
    panels.legends(figure, keys)
    return figure


def _logarithmic(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")  # no mathematical text


def _far_apart(curves: Sequence[Curve]) -> bool:
    """Whether one network would flatten the others: its largest response is many times another's."""
    largest = [max(curve.mean) for curve in curves if curve.mean]
    return bool(largest) and max(largest) > FLATTENS * min(largest)


def _dash(network: Network) -> Any:
    return PLAIN if network.architecture.family == "plain" else "-"


def _key(network: Network, look: Look) -> Any:
    kind = "plain" if network.architecture.family == "plain" else "ResNet"
    label = f"{kind}-{network.architecture.depth}"
    return panels.sample(label, color=look.colour, linestyle=look.dash, linewidth=2)


def draw_gradients(found: Sequence[Moments]) -> Figure:
    """Norm of the loss's gradient by convolution on a logarithmic axis: at the start dotted, amid training solid."""
    shown = one_a_depth([moments.network for moments in found])
    colours = style.depth_colours([n.architecture.depth for n in shown])
    looks = {n.name: Look(colours[n.architecture.depth], "-") for n in shown}
    kinds = [
        panels.sample(_when("at the first of the", [m.first for m in found]), linestyle=AT_START, linewidth=1.5),
        panels.sample(_when("half of the", [m.amid for m in found]), linewidth=1.5),
        *panels.spread_key(shown),
    ]
    keys = [panels.layer_keys(shown, looks), kinds]
    figure, axes = panels.by_family(2.7, panels.rows(*keys))
    for family in FAMILIES:
        members = [m for m in found if m.network in shown and m.network.architecture.family == family]
        for m in members:
            colour = looks[m.network.name].colour
            panels.line(axes[family], m.start, Look(colour, AT_START), width=1.3)
            panels.line(axes[family], m.later, Look(colour, "-"), width=1.3)
        axes[family].set_xlabel("convolution")
        panels.whole_numbers(axes[family])
        if not members:
            panels.empty(axes[family])
    _logarithmic(axes["plain"])
    axes["plain"].set_ylabel("norm of the gradient")
    panels.legends(figure, *keys)
    return figure


def _when(otherwise: str, iterations: Sequence[int]) -> str:
    """`otherwise`, where the recipes of the networks differ."""
    return f"iteration {iterations[0]:,}" if len(set(iterations)) == 1 else f"{otherwise} iterations"
