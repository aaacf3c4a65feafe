"""Final errors by depth: the degradation at one look."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.reporting import panels
from pipeline.reporting.curves import to_csv
from pipeline.reporting.style import FAMILIES, FAMILY_COLOUR, FAMILY_MARKER, TITLES, Family
from resnet.claims.judges import LABEL
from resnet.study import Measure, Network, Study

SHIFT: dict[Family, float] = {"plain": -0.08, "residual": 0.08}


def draw_depth(study: Study) -> Figure:
    """A dot for a seed, a line through the means; training left, headline error right."""
    depths = sorted({n.architecture.depth for n in study.networks})
    measures: tuple[Measure, ...] = ("train", study.headline)
    kinds = [family for family in FAMILIES if any(n.errors("train") for n in _of(study, family))]
    dot = panels.sample("one seed", linestyle="", marker="o", markersize=4.5, markeredgewidth=0, alpha=0.5)
    keys = [*(_key(family) for family in kinds), dot]
    figure, axes = panels.by_family(2.5, panels.rows(keys))
    for panel, measure in zip(axes.values(), measures, strict=True):
        for family in FAMILIES:
            _dots(panel, _of(study, family), measure, depths)
        panel.set_xticks(range(len(depths)), [str(d) for d in depths])
        panel.set_xlim(-0.5, len(depths) - 0.5)
        panel.set_title(LABEL[measure])
        panel.set_xlabel("layers")
    axes["plain"].set_ylim(bottom=0)
    axes["plain"].set_ylabel("error (%)")
    panels.legends(figure, keys)
    return figure


def as_csv(study: Study) -> str:
    """A row a seed."""
    measures: tuple[Measure, ...] = ("train", study.headline)
    rows: list[Sequence[object]] = []
    for network in study.networks:
        for run in network.runs:
            errors = ((measure, run.error(measure)) for measure in measures)
            about = (network.name, network.architecture.family, network.architecture.depth, run.seed)
            rows += [(*about, measure, f"{error:.4f}") for measure, error in errors if error is not None]
    return to_csv(("network", "family", "layers", "seed", "split", "error_percent"), rows)


def _of(study: Study, family: Family) -> list[Network]:
    return [n for n in study.networks if n.architecture.family == family]


def _key(family: Family) -> Line2D:
    look = {"color": FAMILY_COLOUR[family], "marker": FAMILY_MARKER[family], "markersize": 4}
    return panels.sample(TITLES[family], linewidth=2, **look)


def _dots(axes: Axes, members: Sequence[Network], measure: Measure, depths: Sequence[int]) -> None:
    measured = sorted((n for n in members if n.errors(measure)), key=lambda n: n.architecture.depth)
    if not measured:
        return
    family = measured[0].architecture.family
    colour = FAMILY_COLOUR[family]
    for network in measured:
        errors = network.errors(measure)
        x = depths.index(network.architecture.depth) + SHIFT[family]
        axes.scatter([x] * len(errors), errors, s=22, color=colour, alpha=0.5, linewidths=0, zorder=3, clip_on=False)
    named = [n for n in measured if n.is_the_papers]  # the line leaves out networks that are built otherwise ...
    first = {n.architecture.depth: n for n in reversed(named)}  # ... and further ones of a depth
    if not first:  # an empty line has no place, and would leave none to the panels
        return
    places = [depths.index(depth) + SHIFT[family] for depth in sorted(first)]
    means = [sum(errors) / len(errors) for errors in (first[depth].errors(measure) for depth in sorted(first))]
    marker = FAMILY_MARKER[family]
    axes.plot(places, means, color=colour, linewidth=2, marker=marker, markersize=4, zorder=2, clip_on=False)
