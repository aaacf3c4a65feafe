"""The figures: Fig. 4's curves and the final errors by depth. The same numbers give the same bytes."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pipeline.reporting import curves
from resnet.judges import LABEL
from resnet.study import Measure, Network, Study

TITLES = {"plain": "plain networks", "residual": "residual networks"}
FAMILY_COLOUR = {"plain": "#d1495b", "residual": "#00798c"}  # told apart by all common kinds of colour blindness
FAMILY_MARKER = {"plain": "s", "residual": "o"}
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)))  # networks of the same depth in one panel
INK, FAINT, DROP = "#22252b", "#d9dce1", "#9aa0a8"
STYLE: Any = {  # names that matplotlib checks itself
    "svg.hashsalt": "he2015",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9aa0a8",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlesize": 12.5,
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


@contextmanager
def _styled() -> Iterator[None]:
    matplotlib.use("Agg")
    with matplotlib.rc_context(STYLE):
        yield


def save(figure: Figure, path: Path) -> None:
    """PATH.png and PATH.svg without anything that changes from one time to the next."""
    figure.savefig(path.with_suffix(".png"), dpi=144, metadata={"Software": None})
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None})


def depth_colours(depths: Sequence[int]) -> dict[int, str]:
    """From dark blue (shallow) to light orange (deep): ordered in lightness, so also for the colour-blind."""
    ordered = sorted(set(depths))
    steps = [0.5 if len(ordered) == 1 else i / (len(ordered) - 1) for i in range(len(ordered))]
    return {depth: to_hex(colormaps["plasma"](0.04 + 0.72 * s)) for depth, s in zip(ordered, steps, strict=True)}


def draw_curves(study: Study, path: Path) -> None:
    """Fig. 4: training error thin, validation error bold, against iterations; plain left, residual right."""
    looks = _looks([n for n in study.networks if n.runs])
    guessing = 100.0 * (1 - 1 / study.classes)
    with _styled():
        figure = Figure(figsize=(10.4, 4.4), layout="constrained")
        panels: Sequence[Axes] = figure.subplots(1, 2, sharey=True, gridspec_kw={"wspace": 0.05})
        for axes, family in zip(panels, ("plain", "residual"), strict=True):
            _panel(axes, [n for n in study.networks if n.architecture.family == family and n.runs], looks)
            axes.set_title(TITLES[family])
            axes.set_xlabel("iteration")
            axes.label_outer()
        panels[0].set_ylabel("error (%)")
        panels[0].set_ylim(0, min(100.0, 1.06 * guessing))
        _keys(figure, study, looks)
        save(figure, path)


def _looks(networks: Sequence[Network]) -> dict[str, Look]:
    """Colour by depth, dashes by order among the networks of one depth and family."""
    colours = depth_colours([n.architecture.depth for n in networks])
    seen: Counter[tuple[str, int]] = Counter()
    looks = {}
    for network in networks:
        kind = (network.architecture.family, network.architecture.depth)
        looks[network.name] = Look(colours[kind[1]], DASHES[seen[kind] % len(DASHES)])
        seen[kind] += 1
    return looks


def _panel(axes: Axes, members: Sequence[Network], looks: dict[str, Look]) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k" if x >= 10_000 else f"{x:g}")
    for drop in sorted({drop for network in members for drop in network.recipe.lr_drops}):
        axes.axvline(drop, color=DROP, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
    for network in sorted(members, key=lambda n: n.architecture.depth):
        look = looks[network.name]
        for curve, width, alpha in ((curves.training(network), 1.0, 0.8), (curves.validation(network), 2.4, 1.0)):
            line = {"color": look.colour, "linestyle": look.dash, "alpha": alpha}
            axes.plot(curve.iterations, curve.mean, linewidth=width, **line)
            low = [m - s for m, s in zip(curve.mean, curve.sd, strict=True)]
            high = [m + s for m, s in zip(curve.mean, curve.sd, strict=True)]
            axes.fill_between(curve.iterations, low, high, color=look.colour, alpha=0.13, linewidth=0)
    if members:
        axes.set_xlim(0, max(n.recipe.iterations for n in members))
    else:
        axes.text(0.5, 0.5, "no run of this kind", transform=axes.transAxes, ha="center", color="#6b7079")


def _keys(figure: Figure, study: Study, looks: dict[str, Look]) -> None:
    """Beside the panels the depths, or the names where several networks have one depth; below, the kinds of line."""
    entries: dict[str, Line2D] = {}
    for network in sorted((n for n in study.networks if n.runs), key=lambda n: n.architecture.depth):
        look, depth = looks[network.name], network.architecture.depth
        label = str(depth) if look.dash == DASHES[0] else network.name
        entries.setdefault(label, Line2D([], [], color=look.colour, linewidth=2.4, linestyle=look.dash, label=label))
    if entries:
        place: Any = "outside right upper"
        figure.legend(handles=list(entries.values()), loc=place, title="layers", frameon=False, alignment="left")
    lines = [
        Line2D([], [], color=INK, linewidth=1.0, alpha=0.8, label="training"),
        Line2D([], [], color=INK, linewidth=2.4, label="validation"),
        Line2D([], [], color=DROP, linewidth=0.9, linestyle=(0, (2, 2)), label="learning rate divided by 10"),
    ]
    if any(len(n.runs) > 1 for n in study.networks):
        lines.append(Line2D([], [], color=INK, linewidth=8, alpha=0.13, label="± 1 s.d. over seeds"))
    place = "outside lower center"
    figure.legend(handles=lines, loc=place, ncols=len(lines), frameon=False, fontsize=10)


def draw_depth(study: Study, path: Path) -> None:
    """Final errors by depth: a dot for a seed, a line through the means; training left, headline error right."""
    with _styled():
        figure = Figure(figsize=(10.4, 4.2), layout="constrained")
        panels: Sequence[Axes] = figure.subplots(1, 2)
        depths = sorted({n.architecture.depth for n in study.networks})
        measures: tuple[Measure, ...] = ("train", study.headline)
        for axes, measure in zip(panels, measures, strict=True):
            for family in ("plain", "residual"):
                _dots(axes, [n for n in study.networks if n.architecture.family == family], measure, depths)
            axes.set_xticks(range(len(depths)), [str(d) for d in depths])
            axes.set_xlim(-0.5, len(depths) - 0.5)
            axes.set_ylim(bottom=0)
            axes.set_title(f"{LABEL[measure]}, end of training")
            axes.set_xlabel("layers")
        panels[0].set_ylabel("error (%)")
        lines = [line for line in panels[0].get_lines() if line.get_label() in TITLES.values()]
        if lines:
            place: Any = "outside lower center"
            figure.legend(handles=lines, loc=place, ncols=2, frameon=False, fontsize=10)
        save(figure, path)


def _dots(axes: Axes, members: Sequence[Network], measure: Measure, depths: Sequence[int]) -> None:
    measured = sorted((n for n in members if n.errors(measure)), key=lambda n: n.architecture.depth)
    if not measured:
        return
    family = measured[0].architecture.family
    colour = FAMILY_COLOUR[family]
    shift = -0.06 if family == "plain" else 0.06
    for network in measured:
        errors = network.errors(measure)
        x = depths.index(network.architecture.depth) + shift
        axes.scatter([x] * len(errors), errors, s=30, color=colour, alpha=0.55, linewidths=0, zorder=3)
    first = {n.architecture.depth: n for n in reversed(measured)}  # the line leaves out further networks of a depth
    places = [depths.index(depth) + shift for depth in sorted(first)]
    means = [sum(errors) / len(errors) for errors in (first[depth].errors(measure) for depth in sorted(first))]
    marker = FAMILY_MARKER[family]
    for x, mean in zip(places, means, strict=True):
        axes.annotate(
            f"{mean:.1f}",
            (x, mean),
            xytext=(-7 if family == "plain" else 7, 4),
            textcoords="offset points",
            ha="right" if family == "plain" else "left",
            color=colour,
            fontsize=10,
            zorder=4,
        )
    axes.plot(places, means, color=colour, linewidth=2, marker=marker, markersize=4, label=TITLES[family], zorder=2)
