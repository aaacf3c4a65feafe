"""Errors during training: Fig. 1, Fig. 4 and Fig. 6."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.reporting import curves, panels, style
from pipeline.reporting.style import DROP, FAMILIES, Look
from resnet.study import Network, Study

TRAINING, VALIDATION = 0.9, 2.2  # points
DROPS: dict[str, Any] = {"color": DROP, "linewidth": 0.9, "linestyle": (0, (2, 2))}


def shallow_and_deep(study: Study) -> tuple[Network, Network] | None:
    """The two plain networks of Fig. 1: 20 and 56 layers, else 18 and 34, else the first and last depth of a family."""
    for names in (("cifar-plain-20", "cifar-plain-56"), ("plain-18", "plain-34")):
        pair = [network for network in map(study.find, names) if network is not None and network.runs]
        if len(pair) == 2:
            return pair[0], pair[1]
    ladder = study.ladder("plain")
    return (ladder[0], ladder[-1]) if len(ladder) > 1 else None


def draw_shallow_and_deep(study: Study, pair: tuple[Network, Network]) -> Figure:
    """Fig. 1: training error left, validation error right."""
    looks = style.looks(pair)
    keys = [[*panels.layer_keys(pair, looks), panels.sample("learning rate / 10", **DROPS), *panels.spread_key(pair)]]
    figure, axes = panels.by_family(2.5, panels.rows(*keys))
    both = zip(axes.values(), ("training error", "validation error"), strict=True)
    for (panel, title), curve in zip(both, (curves.training, curves.validation), strict=True):
        panel.set_title(title)
        for network in pair:
            panels.line(panel, curve(network), looks[network.name])
        _iterations(panel, pair)
    _percent(axes["plain"], study)
    panels.legends(figure, *keys)
    return figure


def draw_curves(study: Study) -> Figure:
    """Fig. 4 and 6: training error thin, validation error bold, against iterations; plain left, residual right."""
    there = [n for n in study.networks if n.runs]
    looks = style.looks(there)
    kinds = [
        panels.sample("training", linewidth=TRAINING),
        panels.sample("validation", linewidth=VALIDATION),
        panels.sample("learning rate / 10", **DROPS),
        *panels.spread_key(there),
    ]
    keys = [panels.layer_keys(there, looks), kinds]
    figure, axes = panels.by_family(2.7, panels.rows(*keys))
    for family in FAMILIES:
        members = [n for n in there if n.architecture.family == family]
        _curves(axes[family], sorted(members, key=lambda n: n.architecture.depth), looks)
    _percent(axes["plain"], study)
    panels.legends(figure, *keys)
    return figure


def _curves(axes: Axes, members: Sequence[Network], looks: dict[str, Look]) -> None:
    for network in members:
        panels.line(axes, curves.training(network), looks[network.name], width=TRAINING, alpha=0.8)
        panels.line(axes, curves.validation(network), looks[network.name], width=VALIDATION)
    if members:
        _iterations(axes, members)
    else:
        panels.empty(axes)


def _iterations(axes: Axes, members: Sequence[Network]) -> None:
    for drop in sorted({drop for network in members for drop in network.recipe.lr_drops}):
        axes.axvline(drop, zorder=1, **DROPS)
    axes.set_xlim(0, max(n.recipe.iterations for n in members))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k" if x >= 10_000 else f"{x:g}")
    axes.set_xlabel("iteration")


def _percent(axes: Axes, study: Study) -> None:
    axes.set_ylabel("error (%)")
    axes.set_ylim(0, min(100.0, 106.0 * (1 - 1 / study.classes)))  # guessing, and a little above


def in_the_manner_of(study: Study) -> str:
    """Which of the paper's figures the curves are like."""
    cifar = {n.architecture_name.startswith("cifar-") for n in study.networks}
    return "Fig. 6" if cifar == {True} else "Fig. 4" if cifar == {False} else "Figs. 4 and 6"
