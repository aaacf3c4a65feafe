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
from resnet.claims.verdicts import Judged, words
from resnet.statistics import contrast
from resnet.study import Measure, Network, Study

TRAINING, VALIDATION = 0.9, 2.2  # points
DROPS: dict[str, Any] = {"color": "#9aa0a8", "linewidth": 0.9, "linestyle": (0, (2, 2))}
WHOLE: dict[str, Any] = {"linewidth": 1, "linestyle": (0, (1, 2))}
AT_START: Any = (0, (1.2, 1.2))
FLATTENS = 8
LABELS_APART = 1.17  # ratio of neighbouring depths that have labels
INK, HOLDS = "#22252b", "#e3dfcf"  # of effects, and of the values for which a claim holds
QUANTILES = "10 to 90 % of the seeds"
DIGITS = dict.fromkeys(("curves", "plain", "depth"), "%.4f")  # of errors in per cent

Figures = dict[str, tuple[Callable[[Study, pd.DataFrame], Drawing], pd.DataFrame]]  # by name: how, and what is drawn
Curve = Callable[[Axes, pd.DataFrame, Look], None]  # draws the rows of one network


def every(inputs: Inputs, judged: Sequence[Judged] = ()) -> Figures:
    """Returns the figures that there are data for; the curves and the errors by depth always."""
    study = inputs.study
    networks = study.networks
    found: Figures = {
        "curves": (draw_curves, curves.errors(networks)),
        "forest": (draw_forest, curves.effects(judged, words(study.trial))),
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
    figure, axes = style.panels(("training error", "validation error"), kinds)
    for panel, split in zip(axes, ("train", "val"), strict=True):
        for name, rows in numbers[numbers["split"] == split].groupby("network"):
            style.line(panel, rows, looks[str(name)], linewidth=1.8)
        _iterations(panel, pair)
    _percent(axes, study)
    return figure


def draw_curves(study: Study, numbers: pd.DataFrame) -> Drawing:
    """Draws Fig. 4 and 6: training error thin, validation error bold; plain left, residual right."""

    def curve(axes: Axes, rows: pd.DataFrame, look: Look) -> None:
        style.line(axes, rows[rows["split"] == "train"], {**look, "label": ""}, linewidth=TRAINING, alpha=0.8)
        style.line(axes, rows[rows["split"] == "val"], look, linewidth=VALIDATION)

    shown = _shown(study, numbers)
    thin, bold = key("training", linewidth=TRAINING), key("validation", linewidth=VALIDATION)
    kinds = (thin, bold, key("learning rate / 10", **DROPS), *style.spread_key(numbers))
    figure, axes = _by_family(shown, numbers, curve, *kinds)
    for panel, family in zip(axes, FAMILIES, strict=True):
        _iterations(panel, [n for n in shown if n.architecture.family == family])
    _percent(axes, study)
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

    figure, axes = _by_family(
        _shown(study, numbers), numbers, curve, key("nothing left out", **WHOLE), *style.spread_key(numbers)
    )
    _percent(axes, study)
    return figure


def draw_noise(study: Study, numbers: pd.DataFrame) -> Drawing:
    """Draws errors by the standard deviation of Gaussian noise, in units of the pixels' range."""

    def curve(axes: Axes, rows: pd.DataFrame, look: Look) -> None:
        style.line(axes, rows, look, linewidth=1.8, marker="o", markersize=3.2)
        axes.set_xlabel("s.d. of the noise / pixels' range")

    figure, axes = _by_family(_shown(study, numbers), numbers, curve, *style.spread_key(numbers))
    _percent(axes, study)
    return figure


def draw_gradients(study: Study, numbers: pd.DataFrame) -> Drawing:
    """Draws the gradient's norm by convolution on a logarithmic axis: at the start dotted, halfway solid."""
    of_one = numbers.groupby("network")["iteration"]
    start = key(_when("at the first of the", of_one.min()), linestyle=AT_START, linewidth=1.5)
    half = key(_when("half of the", of_one.max()), linewidth=1.5)

    def curve(axes: Axes, rows: pd.DataFrame, look: Look) -> None:
        first, last = rows["iteration"].min(), rows["iteration"].max()
        style.line(axes, rows[rows["iteration"] == first], {**look, "linestyle": AT_START, "label": ""}, linewidth=1.3)
        style.line(axes, rows[rows["iteration"] == last], {**look, "linestyle": "-"}, linewidth=1.3)
        axes.locator_params("x", nbins=5, integer=True)
        axes.set_xlabel("convolution")

    shown, kinds = _one_a_depth(_shown(study, numbers)), (start, half, *style.spread_key(numbers, QUANTILES))
    figure, axes = _by_family(shown, numbers, curve, *kinds)
    style.logarithmic(axes[0])
    axes[0].set_ylabel("norm of the gradient")
    style.label_ends(*axes)
    return figure


def _when(otherwise: str, iterations: "pd.Series[int]") -> str:
    """Returns the iteration, or `otherwise` where the recipes of the networks differ."""
    return f"iteration {iterations.iloc[0]:,}" if iterations.nunique() == 1 else f"{otherwise} iterations"


def draw_responses(study: Study, numbers: pd.DataFrame) -> Drawing:
    """Draws Fig. 7: in the order of the layers left, by size right."""
    looks = style.looks(_one_a_depth(_shown(study, numbers)))
    keys = [*_family_keys(), *style.spread_key(numbers, QUANTILES)]
    figure, (left, right) = style.panels(("in the order of the layers", "by size"), keys)
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
    style.label_ends(left, right)
    return figure


def _apart(depths: Sequence[int]) -> set[int]:
    """Returns the sorted depths whose labels do not overlap on a logarithmic axis."""
    kept: list[int] = []
    for depth in depths:
        if not kept or depth > LABELS_APART * kept[-1]:
            kept.append(depth)
    return set(kept)


def draw_depth(study: Study, numbers: pd.DataFrame) -> Drawing:
    """Draws a dot for a seed, and means with 95 % intervals, hollow for one seed; lines connect the ladders."""
    measures: tuple[Measure, ...] = ("train", study.headline)
    dot = key("each seed", linestyle="", marker="o", markersize=3, markeredgewidth=0, alpha=0.5)
    hollow = key("one seed only", linestyle="", marker="o", markersize=5, markerfacecolor="white")
    figure, axes = style.panels([LABEL[measure] for measure in measures], [*_family_keys(), dot, hollow])
    series = [networks for ladder in study.ladders() for networks in (ladder.plain, ladder.residual)]
    depths = sorted({n.architecture.depth for n in study.networks})
    labelled = _apart(depths)
    for panel, measure in zip(axes, measures, strict=True):
        own = numbers[numbers["split"] == measure]
        means = own.groupby("network")["error_percent"].mean()
        for networks in series:
            points = [(_shifted(n), means[n.name]) for n in networks if n.name in means]
            color = FAMILIES[networks[0].architecture.family]["color"] if networks else None
            panel.plot([x for x, _ in points], [y for _, y in points], color=color, linewidth=1.8, zorder=2)
        for network in (n for n in study.networks if n.name in means):
            _seeds(panel, network, own.loc[own["network"] == network.name, "error_percent"].tolist())
        panel.set_xscale("log")
        panel.set_xticks(depths, [str(d) if d in labelled else "" for d in depths])
        panel.set_xticks([], minor=True)
        panel.margins(x=0.08)
        panel.set_xlabel("layers")
    axes[0].set_ylim(0, max(1.0, 1.1 * numbers["error_percent"].max()) if len(numbers) else 1)
    axes[0].set_ylabel("error (%)")
    return figure


def _seeds(panel: Axes, network: Network, errors: list[float]) -> None:
    """Draws a dot a seed, and their mean with its interval."""
    look, x = FAMILIES[network.architecture.family], _shifted(network)
    dots: dict[str, Any] = {"s": 9, "color": look["color"], "alpha": 0.5, "linewidths": 0, "zorder": 3}
    mean, several = sum(errors) / len(errors), len(errors) > 1
    if several:
        panel.scatter([x] * len(errors), errors, clip_on=False, **dots)
        panel.vlines(x, *contrast([errors], [1.0]).interval(), color=look["color"], linewidth=1.2, zorder=2)
    face = look["color"] if several else "white"
    panel.plot(x, mean, **look, markersize=5, markerfacecolor=face, zorder=4, clip_on=False)


def _shifted(network: Network) -> float:
    """Returns the depth, a little to the left for plain and to the right for residual networks."""
    return network.architecture.depth * (0.985 if network.architecture.family == "plain" else 1.015)


def draw_forest(study: Study, numbers: pd.DataFrame) -> Drawing:
    """Draws the effects of the tested claims with 95 % intervals, over the values for which each claim holds."""
    delta, rows = study.trial.delta, range(len(numbers))
    widest = 2 * max(numbers["effect"].abs().max(), 3 * delta)  # of two seeds, intervals are endless
    limits = (
        max(-widest, min(numbers["low"].min(), -3 * delta) - 2 * delta),
        min(widest, max(numbers["high"].max(), 3 * delta) + 2 * delta),
    )
    holds = numbers[["from", "to"]].fillna(dict(zip(("from", "to"), limits, strict=True))).clip(*limits)
    figure = Drawing(figsize=(7.2, 1.1 + 0.24 * len(numbers)))
    axes = figure.subplots()
    axes.barh(rows, holds["to"] - holds["from"], left=holds["from"], height=0.8, color=HOLDS)
    axes.hlines(rows, numbers["low"].clip(*limits), numbers["high"].clip(*limits), color=INK, linewidth=1.5)
    face = ["white" if verdict == "indicative" else INK for verdict in numbers["verdict"]]
    axes.scatter(numbers["effect"], rows, s=26, color=face, edgecolors=INK, zorder=3)
    axes.axvline(0, color="#9aa0a8", linewidth=0.9, zorder=1)
    for margin in (-delta, delta):
        axes.axvline(margin, zorder=1, **DROPS)
    axes.set_yticks(rows, numbers["claim"])
    for row, verdict in zip(rows, numbers["verdict"], strict=True):
        axes.text(1.01, row, verdict, transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    axes.set(xlim=limits, ylim=(len(numbers) - 0.4, -0.6), xlabel="effect, log odds of an error")
    axes.grid(visible=False)
    keys = [key("95 % interval", marker="o", color=INK), key("± margin", **DROPS), key("the claim holds", linewidth=7)]
    keys[-1].set_color(HOLDS)
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys))
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


def _family_keys() -> list[Line2D]:
    return [key(f"{family} networks", linewidth=2, markersize=4, **look) for family, look in FAMILIES.items()]


def _by_family(
    networks: Sequence[Network], numbers: pd.DataFrame, curve: Curve, *kinds: Line2D
) -> tuple[Drawing, Sequence[Axes]]:
    """Draws a panel of plain and one of residual networks, with keys of kinds of lines and of variants."""
    looks = style.looks(networks)
    figure, axes = style.panels([f"{f} networks" for f in FAMILIES], style.variant_keys(networks, looks), kinds)
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


def _percent(axes: Sequence[Axes], study: Study) -> None:
    axes[0].set_ylabel("error (%)")
    axes[0].set_ylim(0, min(100.0, 106.0 * (1 - 1 / study.classes)))  # guessing, and a little above
    style.label_ends(*axes)
