"""How all figures look and how they are saved: the same numbers give the same bytes.

A page shows a figure 490 to 980 pixels wide, on white or on black: 7.2 inches with letters of 10 points stay legible at
the half width, and the figure brings its own white ground.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter

from resnet.study import Network

FAMILIES: dict[str, dict[str, Any]] = {  # colours that are distinct in common colour blindness
    "plain": {"color": "#d1495b", "marker": "s"},
    "residual": {"color": "#00798c", "marker": "o"},
}
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.4, 1.2, 1.4)))  # networks of one depth
CHARACTERS = 94  # of the small letters that fit into the width
ROW = 0.21  # inches of a row of keys
SHEET = Path(__file__).with_name("report.mplstyle")
Look = dict[str, Any]  # colour and dash of a line


def save(draw: Callable[[], Figure], png: Path, svg: Path) -> None:
    """Draws a figure and writes both files without anything that changes from one time to the next."""
    with matplotlib.rc_context(fname=SHEET):
        figure = draw()
        figure.draw_without_rendering()  # lays out
        figure.set_layout_engine("none")  # once is enough for both files
        figure.savefig(png, metadata={"Software": None})
        figure.savefig(svg, metadata={"Date": None, "Creator": None})


def looks(networks: Sequence[Network]) -> dict[str, Look]:
    """Returns looks by name: dark blue (shallow) to light orange (deep), ordered in lightness.

    Further networks of a depth and family are dashed and a little lighter.
    """
    seen: Counter[tuple[str, int]] = Counter()
    places = {}
    for network in networks:
        kind = (network.architecture.family, network.architecture.depth)
        places[network.name] = (kind[1], seen[kind])
        seen[kind] += 1
    order = sorted(set(places.values()))
    steps = {place: i / (len(order) - 1) if len(order) > 1 else 0.5 for i, place in enumerate(order)}
    return {
        name: {"color": to_hex(colormaps["plasma"](0.04 + 0.72 * steps[place])), "linestyle": DASHES[place[1] % 4]}
        for name, place in places.items()
    }


def layer_keys(networks: Sequence[Network], looks: dict[str, Look]) -> list[Line2D]:
    """Returns a key for each depth, or for each name where several networks of a family have one depth."""
    keys: dict[str, Line2D] = {}
    for network in sorted(networks, key=lambda n: n.architecture.depth):
        look, name = looks[network.name], network.name
        label = name if len(name) <= 24 else f"{name[:12]}…{name[-11:]}"  # which leaves space for the panels
        label = f"{network.architecture.depth} layers" if look["linestyle"] == DASHES[0] else label
        keys.setdefault(label, key(label, linewidth=2.2, **look))
    return list(keys.values())


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
    """Draws means, and a band of one standard deviation where there are several runs; columns as in `curves`."""
    x, mean, sd, runs = (curve[name] for name in curve.columns[-4:])
    axes.plot(x, mean, **look, **more)
    if spread and (runs > 1).any():
        axes.fill_between(x, mean - sd, mean + sd, color=look["color"], alpha=0.13, linewidth=0)


def spread_key(numbers: pd.DataFrame) -> list[Line2D]:
    """Returns the key of the bands, where there are any."""
    return [key("± 1 s.d. over seeds", linewidth=7, alpha=0.13)] if (numbers["runs"] > 1).any() else []


def logarithmic(axes: Axes) -> None:
    """Makes the vertical axis logarithmic, without mathematical text."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(LogFormatter())  # has labels within a single power of ten
