"""All figures of a report: each is drawn where there are data for it, with its numbers in a file of its own."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D

from pipeline.reporting import curves, style
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.style import FAMILIES, Look, key
from resnet.claims.measurements import LABEL
from resnet.study import Measure, Network, Study

TRAINING, VALIDATION = 0.9, 2.2  # points
DROPS: dict[str, Any] = {"color": "#9aa0a8", "linewidth": 0.9, "linestyle": (0, (2, 2))}
WHOLE: dict[str, Any] = {"linewidth": 1, "linestyle": (0, (1, 2))}
AT_START: Any = (0, (1.2, 1.2))
FLATTENS = 8
DIGITS = dict.fromkeys(("curves", "plain", "depth"), "%.4f")  # of errors in per cent

Figures = dict[str, tuple[Callable[[Study, pd.DataFrame], Drawing], pd.DataFrame]]  # by name: how, and what is drawn
Curve = Callable[[Axes, pd.DataFrame, Look], None]  # draws the rows of one network


def every(inputs: Inputs) -> Figures:
    """Returns the figures that there are data for; the curves and the errors by depth always."""
    study = inputs.study
    networks = study.networks
    found: Figures = {
        "curves": (draw_curves, curves.errors(networks)),
        "plain": (draw_shallow_and_deep, curves.errors(study.shallow_and_deep())),
        "depth": (draw_depth, curves.final_errors(study)),
        "responses": (draw_responses, curves.responses(networks)),
        "gradients": (draw_gradients, curves.gradients(networks)),
        "lesions": (draw_lesions, curves.lesions(networks)),
        "noise": (draw_noise, curves.noise(networks)),
    }
    return {name: one for name, one in found.items() if name in ("curves", "depth") or not one[1].empty}


def save(figures: Figures, study: Study, folder: Path) -> None:
    """Writes figures/NAME.png, svg/NAME.svg and numbers/NAME.csv into a report's folder.

    The bitmaps have a folder for themselves, because `dvc plots` shows all that is in it.
    """
    png, svg, csv = (folder / part for part in ("figures", "svg", "numbers"))
    for part in (png, svg, csv):
        part.mkdir()
    for name, (draw, numbers) in figures.items():
        style.save(partial(draw, study, numbers), png / f"{name}.png", svg / f"{name}.svg")
        numbers.to_csv(csv / f"{name}.csv", index=False, float_format=DIGITS.get(name, "%.6g"))


def draw_shallow_and_deep(study: Study, numbers: pd.DataFrame) -> Drawing:
    """Draws Fig. 1: training error left, validation error right."""
    pair = study.shallow_and_deep()
    looks = style.looks(pair)
    kinds = [key("learning rate / 10", **DROPS), *style.spread_key(numbers)]
    figure, axes = style.panels(("training error", "validation error"), style.layer_keys(pair, looks), kinds)
    for panel, split in zip(axes, ("train", "val"), strict=True):
        for name, rows in numbers[numbers["split"] == split].groupby("network"):
            style.line(panel, rows, looks[str(name)], linewidth=1.8)
        _iterations(panel, pair)
    _percent(axes[0], study)
    return figure


def draw_curves(study: Study, numbers: pd.DataFrame) -> Drawing:
    """Draws Fig. 4 and 6: training error thin, validation error bold; plain left, residual right."""

    def curve(axes: Axes, rows: pd.DataFrame, look: Look) -> None:
        style.line(axes, rows[rows["split"] == "train"], look, linewidth=TRAINING, alpha=0.8)
        style.line(axes, rows[rows["split"] == "val"], look, linewidth=VALIDATION)

    shown = _shown(study, numbers)
    thin, bold = key("training", linewidth=TRAINING), key("validation", linewidth=VALIDATION)
    figure, axes = _by_family(shown, numbers, curve, thin, bold, key("learning rate / 10", **DROPS))
    for panel, family in zip(axes, FAMILIES, strict=True):
        _iterations(panel, [n for n in shown if n.architecture.family == family])
    _percent(axes[0], study)
    return figure


def draw_lesions(study: Study, numbers: pd.DataFrame) -> Drawing:
    """Draws errors by the block that is left out; the dotted line is the whole network's."""

    def curve(axes: Axes, rows: pd.DataFrame, look: Look) -> None:
        blocks = rows[rows["block"] > 0]
        style.line(axes, blocks, look, linewidth=1.3, marker="o", markersize=3.2 if len(blocks) <= 30 else 1.6)
        for error in rows.loc[rows["block"] == 0, "error_percent"]:
            axes.axhline(error, color=look["color"], zorder=1, **WHOLE)
        axes.locator_params("x", nbins=5, integer=True)
        axes.set_xlabel("block left out")

    figure, axes = _by_family(_shown(study, numbers), numbers, curve, key("nothing left out", **WHOLE))
    _percent(axes[0], study)
    return figure


def draw_noise(study: Study, numbers: pd.DataFrame) -> Drawing:
    """Draws errors by the standard deviation of Gaussian noise, in units of the pixels' range."""

    def curve(axes: Axes, rows: pd.DataFrame, look: Look) -> None:
        style.line(axes, rows, look, linewidth=1.8, marker="o", markersize=3.2)
        axes.set_xlabel("s.d. of the noise / pixels' range")

    figure, axes = _by_family(_shown(study, numbers), numbers, curve)
    _percent(axes[0], study)
    return figure


def draw_gradients(study: Study, numbers: pd.DataFrame) -> Drawing:
    """Draws the gradient's norm by convolution on a logarithmic axis: at the start dotted, halfway solid."""
    of_one = numbers.groupby("network")["iteration"]
    start = key(_when("at the first of the", of_one.min()), linestyle=AT_START, linewidth=1.5)
    half = key(_when("half of the", of_one.max()), linewidth=1.5)

    def curve(axes: Axes, rows: pd.DataFrame, look: Look) -> None:
        for iteration, dash in ((rows["iteration"].min(), AT_START), (rows["iteration"].max(), "-")):
            style.line(axes, rows[rows["iteration"] == iteration], {**look, "linestyle": dash}, linewidth=1.3)
        axes.locator_params("x", nbins=5, integer=True)
        axes.set_xlabel("convolution")

    figure, axes = _by_family(_one_a_depth(_shown(study, numbers)), numbers, curve, start, half)
    style.logarithmic(axes[0])
    axes[0].set_ylabel("norm of the gradient")
    return figure


def _when(otherwise: str, iterations: "pd.Series[int]") -> str:
    """Returns the iteration, or `otherwise` where the recipes of the networks differ."""
    return f"iteration {iterations.iloc[0]:,}" if iterations.nunique() == 1 else f"{otherwise} iterations"


def draw_responses(study: Study, numbers: pd.DataFrame) -> Drawing:
    """Draws Fig. 7: in the order of the layers left, by size right; plain networks dashed, residual ones solid."""
    shown = _one_a_depth(_shown(study, numbers))
    looks, keys = style.looks(shown), []
    for network in sorted(shown, key=lambda n: n.architecture.family):
        plain = network.architecture.family == "plain"
        look = looks[network.name] = {**looks[network.name], "linestyle": (0, (4, 1.5)) if plain else "-"}
        keys.append(key(f"{'plain' if plain else 'ResNet'}-{network.architecture.depth}", linewidth=2, **look))
    figure, (left, right) = style.panels(("in the order of the layers", "by size"), keys, style.spread_key(numbers))
    drawn = numbers[numbers["network"].isin(looks)].groupby("network")
    for name, rows in drawn:
        style.line(left, rows, looks[str(name)], linewidth=1.5)
        by_size = rows.sort_values("response_sd", ascending=False).assign(layer=range(1, len(rows) + 1))
        style.line(right, by_size, looks[str(name)], linewidth=1.5, spread=False)
    largest = drawn["response_sd"].max()
    if largest.max() > FLATTENS * largest.min():  # one network would flatten the others
        style.logarithmic(left)
    else:
        left.set_ylim(bottom=0)
    left.set_ylabel("standard deviation")
    for panel, label in ((left, "3×3 layer"), (right, "rank")):
        panel.set_xlabel(label)
        panel.locator_params("x", nbins=5, integer=True)
    return figure


def draw_depth(study: Study, numbers: pd.DataFrame) -> Drawing:
    """Draws a dot for a seed and a line through the means; training left, headline error right."""
    depths = sorted({n.architecture.depth for n in study.networks})
    place = {depth: i for i, depth in enumerate(depths)}
    papers = [n.name for n in _one_a_depth(n for n in study.networks if n.is_the_papers and n.runs)]  # for the lines
    keys = [
        key(f"{family} networks", linewidth=2, markersize=4, **look)
        for family, look in FAMILIES.items()
        if family in set(numbers["family"])
    ]
    dot = key("one seed", linestyle="", marker="o", markersize=4.5, markeredgewidth=0, alpha=0.5)
    measures: tuple[Measure, ...] = ("train", study.headline)
    figure, axes = style.panels([LABEL[measure] for measure in measures], [*keys, dot])
    for panel, measure in zip(axes, measures, strict=True):
        for shift, (family, look) in zip((-0.08, 0.08), FAMILIES.items(), strict=True):
            own = numbers[(numbers["split"] == measure) & (numbers["family"] == family)]
            dots: dict[str, Any] = {"s": 22, "color": look["color"], "alpha": 0.5, "linewidths": 0, "zorder": 3}
            panel.scatter(own["layers"].map(place) + shift, own["error_percent"], clip_on=False, **dots)
            means = own[own["network"].isin(papers)].groupby("layers")["error_percent"].mean()
            if len(means):  # an empty line would leave no space to the panels
                x = [place[int(layers)] + shift for layers in means.index]
                panel.plot(x, means, linewidth=2, markersize=4, zorder=2, clip_on=False, **look)
        panel.set_xticks(range(len(depths)), [str(d) for d in depths])
        panel.set_xlim(-0.5, len(depths) - 0.5)
        panel.set_xlabel("layers")
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("error (%)")
    return figure


def _shown(study: Study, numbers: pd.DataFrame) -> list[Network]:
    """Returns the networks that have numbers, shallow first."""
    names = set(numbers["network"])
    return sorted((n for n in study.networks if n.name in names), key=lambda n: n.architecture.depth)


def _one_a_depth(networks: Iterable[Network]) -> list[Network]:
    """Returns the first of each family and depth; further ones of a depth are in the numbers, not in the figure."""
    found: dict[tuple[str, int], Network] = {}
    for network in networks:
        found.setdefault((network.architecture.family, network.architecture.depth), network)
    return list(found.values())


def _by_family(
    networks: Sequence[Network], numbers: pd.DataFrame, curve: Curve, *kinds: Line2D
) -> tuple[Drawing, Sequence[Axes]]:
    """Draws a panel of plain and one of residual networks, with keys of depths and kinds of lines."""
    looks = style.looks(networks)
    keys = style.layer_keys(networks, looks), [*kinds, *style.spread_key(numbers)]
    figure, axes = style.panels([f"{family} networks" for family in FAMILIES], *keys)
    for panel, family in zip(axes, FAMILIES, strict=True):
        members = [network.name for network in networks if network.architecture.family == family]
        for name in members:
            curve(panel, numbers[numbers["network"] == name], looks[name])
        if not members:
            panel.text(0.5, 0.5, "no run of this kind", transform=panel.transAxes, ha="center", color="#6b7079")
            panel.set_xticks([])
    return figure, axes


def _iterations(axes: Axes, members: Sequence[Network]) -> None:
    if not members:
        return
    for drop in sorted({drop for network in members for drop in network.recipe.lr_drops}):
        axes.axvline(drop, zorder=1, **DROPS)
    axes.set_xlim(0, max(n.recipe.iterations for n in members))
    axes.locator_params("x", nbins=4)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k" if x >= 10_000 else f"{x:g}")
    axes.set_xlabel("iteration")


def _percent(axes: Axes, study: Study) -> None:
    axes.set_ylabel("error (%)")
    axes.set_ylim(0, min(100.0, 106.0 * (1 - 1 / study.classes)))  # guessing, and a little above
