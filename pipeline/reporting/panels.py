"""What several figures are made of: panels for plain and residual networks, lines with bands, and their keys."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pipeline.reporting.curves import Curve
from pipeline.reporting.style import DASHES, FAMILIES, INK, QUIET, TITLES, WIDTH, Family, Look, short
from resnet.study import Network

CHARACTERS = 94  # of the small letters that fit into the width
ROW = 0.21  # inches of a row of keys


def by_family(height: float, rows_of_keys: int) -> tuple[Figure, dict[Family, Axes]]:
    """Plain left, residual right; one vertical axis. `height` in inches is that of the panels."""
    figure = Figure(figsize=(WIDTH, height + ROW * rows_of_keys), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, gridspec_kw={"wspace": 0.04})
    panels: dict[Family, Axes] = {"plain": left, "residual": right}
    for family in FAMILIES:
        panels[family].set_title(TITLES[family])
    right.tick_params(labelleft=False)
    return figure, panels


def line(axes: Axes, curve: Curve, look: Look, *, width: float = 1.8, spread: bool = True, **more: Any) -> None:
    """The means, and a band of one standard deviation where there are several runs."""
    axes.plot(curve.x, curve.mean, color=look.colour, linestyle=look.dash, linewidth=width, **more)
    if spread and any(n > 1 for n in curve.n):
        low = [m - s for m, s in zip(curve.mean, curve.sd, strict=True)]
        high = [m + s for m, s in zip(curve.mean, curve.sd, strict=True)]
        axes.fill_between(curve.x, low, high, color=look.colour, alpha=0.13, linewidth=0)


def empty(axes: Axes) -> None:
    axes.text(0.5, 0.5, "no run of this kind", transform=axes.transAxes, ha="center", color=QUIET)
    axes.set_xticks([])


def whole_numbers(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def layer_keys(networks: Sequence[Network], looks: dict[str, Look]) -> list[Line2D]:
    """A key for each depth, or for each name where several networks of a family have one depth."""
    entries: dict[str, Line2D] = {}
    for network in sorted(networks, key=lambda n: n.architecture.depth):
        look, depth = looks[network.name], network.architecture.depth
        label = f"{depth} layers" if look.dash == DASHES[0] else short(network.name)
        entries.setdefault(label, Line2D([], [], color=look.colour, linewidth=2.2, linestyle=look.dash, label=label))
    return list(entries.values())


def sample(label: str, **how: Any) -> Line2D:
    """A key for a kind of line."""
    return Line2D([], [], **{"color": INK, **how}, label=label)


def spread_key(networks: Sequence[Network]) -> list[Line2D]:
    return [sample("± 1 s.d. over seeds", linewidth=7, alpha=0.13)] if any(len(n.runs) > 1 for n in networks) else []


def rows(*groups: Sequence[Line2D]) -> int:
    return sum(-(-len(group) // _columns(group)) for group in groups if group)


def _columns(keys: Sequence[Line2D]) -> int:
    """How many keys stand side by side: as many as fit, in rows of about equal length."""
    widths = [len(str(key.get_label())) + 7 for key in keys]  # characters, with the line before it
    for count in range(1, len(keys) + 1):
        columns = -(-len(keys) // count)
        if sum(max(part) for part in np.array_split(widths, columns)) <= CHARACTERS:
            return columns
    return 1


def legends(figure: Figure, *groups: Sequence[Line2D]) -> None:
    """One group of keys under another, below the panels, in the place that was kept for them."""
    height = float(figure.get_figheight())
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, ROW * rows(*groups) / height, 1, 1 - ROW * rows(*groups) / height))
    for i, group in enumerate(groups):
        if group:
            figure.legend(
                handles=list(group),
                loc="lower center",
                bbox_to_anchor=(0.5, ROW * rows(*groups[i + 1 :]) / height),
                ncols=_columns(group),
                frameon=False,
                borderpad=0.25,
                borderaxespad=0,
                handlelength=1.7,
                columnspacing=1.3,
                labelspacing=0.35,
            )
