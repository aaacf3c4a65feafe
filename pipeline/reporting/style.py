"""How all figures look and how they are saved: the same numbers give the same bytes.

A page shows a figure 490 to 980 pixels wide, on white or on black: 7.2 inches with letters of 10 points stay legible at
the half width, and the figure brings its own white ground. A family is a hue, a depth a lightness, in every figure.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import cycle, groupby
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter

from resnet.study import Network

FAMILIES: dict[str, dict[str, Any]] = {  # colours that are distinct in common colour blindness
    "plain": {"color": "#d1495b", "marker": "s"},
    "residual": {"color": "#00798c", "marker": "o"},
}
SHADES = {  # from shallow to deep
    "plain": LinearSegmentedColormap.from_list("plain", ("#f2a28c", "#d1495b", "#5c0a22")),
    "residual": LinearSegmentedColormap.from_list("residual", ("#6cc3b8", "#00798c", "#0b2447")),
}
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.4, 1.2, 1.4)))  # networks of one depth
CHARACTERS = 94  # of the small letters that fit into the width
ROW = 0.21  # inches of a row of keys
LETTER = 0.085  # of a panel's height: between two labels
GROUND: dict[str, Any] = {"facecolor": "white", "alpha": 0.75, "pad": 0.6, "linewidth": 0}  # of labels on lines
SHEET = Path(__file__).with_name("report.mplstyle")
Look = dict[str, Any]  # colour, dash and label of a line


def save(draw: Callable[[], Figure], png: Path, svg: Path) -> None:
    """Draws a figure and writes both files without anything that changes from one time to the next."""
    with matplotlib.rc_context(fname=SHEET):
        figure = draw()
        figure.draw_without_rendering()  # lays out
        figure.set_layout_engine("none")  # once is enough for both files
        figure.savefig(png, metadata={"Software": None})
        figure.savefig(svg, metadata={"Date": None, "Creator": None})


def looks(networks: Iterable[Network]) -> dict[str, Look]:
    """Returns looks by name: the family's hue, the deeper the darker; further networks of a depth are dashed."""
    found: dict[str, Look] = {}
    of_family = groupby(sorted(networks, key=lambda n: n.architecture.family), key=lambda n: n.architecture.family)
    for family, members in of_family:
        depths: dict[int, list[str]] = {}
        for network in members:
            depths.setdefault(network.architecture.depth, []).append(network.name)
        for i, depth in enumerate(sorted(depths)):
            color = to_hex(SHADES[family](i / (len(depths) - 1) if len(depths) > 1 else 0.5))
            for dash, name in zip(cycle(DASHES), depths[depth], strict=False):
                found[name] = {"color": color, "linestyle": dash, "label": str(depth)}
    return found


def variant_keys(networks: Iterable[Network], looks: dict[str, Look]) -> list[Line2D]:
    """Returns a key for each further network of a family and depth; the first ones have their depth at their line."""
    names = [n.name for n in networks if looks[n.name]["linestyle"] != DASHES[0]]
    shown = {name: name if len(name) <= 24 else f"{name[:12]}…{name[-11:]}" for name in names}
    return [key(**{**looks[name], "label": label}, linewidth=2.2) for name, label in shown.items()]


def key(label: str, **how: Any) -> Line2D:
    """Returns a key for a kind of line."""
    return Line2D([], [], label=label, **how)


def panels(titles: Iterable[str], *groups: Sequence[Line2D]) -> tuple[Figure, Sequence[Axes]]:
    """Returns a figure with two panels that share their vertical axis, and keys: a group above and one below them."""
    figure = Figure()
    axes: Sequence[Axes] = figure.subplots(1, 2, sharey=True)
    for panel, title in zip(axes, titles, strict=True):
        panel.set_title(title)
    places: tuple[Any, ...] = ("outside upper center", "outside lower center")
    for place, keys in zip(places, groups, strict=False):
        if keys:
            widths = [len(str(key.get_label())) + 7 for key in keys]  # characters, with the line before it
            rows = 1 if sum(widths) <= CHARACTERS else -(-len(keys) // (CHARACTERS // max(widths)))
            figure.legend(handles=keys, loc=place, ncols=-(-len(keys) // rows))
            figure.set_figheight(figure.get_figheight() + ROW * rows)
    return figure, axes


def line(axes: Axes, curve: pd.DataFrame, look: Look, *, spread: bool = True, **more: Any) -> None:
    """Draws a value, and its band where there are several runs; columns as in `curves`."""
    x, value, low, high, runs = (curve[name] for name in curve.columns[-5:])
    axes.plot(x, value, **look, **more)
    if spread and (runs > 1).any():
        axes.fill_between(x, low, high, color=look["color"], alpha=0.13, linewidth=0)


def label_ends(*panels: Axes) -> None:
    """Writes the labels of lines at their ends, one above the other where they are close. The limits must be final."""
    for axes in panels:
        to_axes, ends = axes.transData + axes.transAxes.inverted(), set()
        for one in axes.get_lines():
            label, points = str(one.get_label()), np.asarray(one.get_xydata())
            if len(points) and label and not label.startswith("_"):
                x, y = to_axes.transform(points[-1])
                ends.add((round(float(x), 3), min(max(float(y), 0.0), 1.0), label, str(one.get_color())))
        for x, group in groupby(sorted(ends), key=lambda end: end[0]):
            at: list[float] = []
            for end in (members := list(group)):
                at.append(max(end[1], at[-1] + LETTER) if at else end[1])
            down = max(at[-1] - 1.0, min(at[0], (at[-1] - members[-1][1]) / 2))
            for y, (_, _, label, color) in zip(at, members, strict=True):
                how: dict[str, Any] = {"color": color, "va": "center", "fontsize": 9, "bbox": GROUND}
                axes.text(x + 0.012, y - down, label, transform=axes.transAxes, **how)


def spread_key(numbers: pd.DataFrame, what: str = "± 1 s.d. over seeds") -> list[Line2D]:
    """Returns the key of the bands, where there are any."""
    return [key(what, linewidth=7, alpha=0.13)] if (numbers["runs"] > 1).any() else []


def logarithmic(axes: Axes) -> None:
    """Makes the vertical axis logarithmic, without mathematical text."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(LogFormatter())  # has labels within a single power of ten
