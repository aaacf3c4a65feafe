"""How all figures look, and how they are saved: the same numbers give the same bytes.

A page shows a figure 490 to 980 pixels wide, on white or on black: 7.2 inches with letters of 10 points stay legible at
the half width, and the figure brings its own white ground.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from resnet.study import Network

Family = Literal["plain", "residual"]
FAMILIES: tuple[Family, ...] = ("plain", "residual")
TITLES: dict[Family, str] = {"plain": "plain networks", "residual": "residual networks"}
FAMILY_COLOUR: dict[Family, str] = {"plain": "#d1495b", "residual": "#00798c"}  # apart in all common colour blindness
FAMILY_MARKER: dict[Family, str] = {"plain": "s", "residual": "o"}
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.4, 1.2, 1.4)))  # networks of one depth
SHADES = (("black", 0.0), ("black", 0.5), ("white", 0.45), ("black", 0.25))  # of those networks
INK, QUIET, FAINT, DROP = "#22252b", "#6b7079", "#d9dce1", "#9aa0a8"
WIDTH = 7.2  # inches
SMALL = 9.2  # points
DPI = 200
STYLE: Any = {  # names that matplotlib checks itself
    "svg.hashsalt": "he2015",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.labelcolor": INK,
    "axes.edgecolor": DROP,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlesize": 10.5,
    "legend.fontsize": SMALL,
    "legend.title_fontsize": SMALL,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "text.parse_math": False,
}


@dataclass(frozen=True, slots=True)
class Look:
    colour: str
    dash: Any


def save(draw: Callable[[], Figure], png: Path, svg: Path) -> None:
    """Draws it, without anything in the files that changes from one time to the next."""
    matplotlib.use("Agg")
    with matplotlib.rc_context(STYLE):
        figure = draw()
        figure.draw_without_rendering()  # lays out
        figure.set_layout_engine("none")  # once is enough for both files
        figure.savefig(png, dpi=DPI, metadata={"Software": None})
        figure.savefig(svg, metadata={"Date": None, "Creator": None})


def depth_colours(depths: Sequence[int]) -> dict[int, str]:
    """From dark blue (shallow) to light orange (deep): ordered in lightness, so also for the colour-blind."""
    ordered = sorted(set(depths))
    steps = [0.5 if len(ordered) == 1 else i / (len(ordered) - 1) for i in range(len(ordered))]
    return {depth: to_hex(colormaps["plasma"](0.04 + 0.72 * s)) for depth, s in zip(ordered, steps, strict=True)}


def looks(networks: Sequence[Network]) -> dict[str, Look]:
    """Colour by depth; further networks of one depth and family are dashed, and darker and lighter in turn."""
    colours = depth_colours([n.architecture.depth for n in networks])
    seen: Counter[tuple[str, int]] = Counter()
    found = {}
    for network in networks:
        kind = (network.architecture.family, network.architecture.depth)
        place = seen[kind] % len(DASHES)
        found[network.name] = Look(_mixed(colours[kind[1]], *SHADES[place]), DASHES[place])
        seen[kind] += 1
    return found


def _mixed(colour: str, other: str, share: float) -> str:
    """`share` of the other colour."""
    red, green, blue = ((1 - share) * a + share * b for a, b in zip(to_rgb(colour), to_rgb(other), strict=True))
    return to_hex((red, green, blue))


def short(name: str, most: int = 24) -> str:
    """A name that leaves room for the panels."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-(most // 2 - 1) :]}"
