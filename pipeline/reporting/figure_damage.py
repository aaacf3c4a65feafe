"""What networks bear: the error after leaving out a block, and under noise on the images."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.reporting import panels, style
from pipeline.reporting.inside import Row
from pipeline.reporting.style import FAMILIES, Look


def draw_lesions(rows: Sequence[Row], guessing: float) -> Figure:
    """Error by the block that is left out; the dotted line is the whole network's. `guessing` in per cent."""
    return _draw(rows, guessing, "block left out", whole=True)


def draw_noise(rows: Sequence[Row], guessing: float) -> Figure:
    """Error by the standard deviation of Gaussian noise, in units of the pixels' range."""
    return _draw(rows, guessing, "s.d. of the noise / pixels' range", whole=False)


def _draw(rows: Sequence[Row], guessing: float, label: str, *, whole: bool) -> Figure:
    networks = [network for network, _ in rows]
    looks = style.looks(networks)
    kinds = [panels.sample("nothing left out", linewidth=1, linestyle=(0, (1, 2)))] if whole else []
    keys = [panels.layer_keys(networks, looks), [*kinds, *panels.spread_key(networks)]]
    figure, axes = panels.by_family(2.6, panels.rows(*keys))
    for family in FAMILIES:
        members = [(n, curve) for n, curve in rows if n.architecture.family == family]
        for network, curve in sorted(members, key=lambda row: row[0].architecture.depth):
            _line(axes[family], (network, curve), looks[network.name], whole=whole)
        axes[family].set_xlabel(label)
        axes[family].margins(x=0.02)
        if not members:
            panels.empty(axes[family])
        elif whole:
            panels.whole_numbers(axes[family])
    axes["plain"].set_ylim(0, min(100.0, 1.06 * guessing))
    axes["plain"].set_ylabel("error (%)")
    panels.legends(figure, *keys)
    return figure


def _line(axes: Axes, row: Row, look: Look, *, whole: bool) -> None:
    _, curve = row
    if not whole:
        panels.line(axes, curve, look, marker="o", markersize=3.2)
        return
    blocks = curve.part(lambda x: x > 0)
    panels.line(axes, blocks, look, width=1.3, marker="o", markersize=3.2 if len(blocks.x) <= 30 else 1.6)
    for mean in curve.part(lambda x: x == 0).mean:
        axes.axhline(mean, color=look.colour, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
