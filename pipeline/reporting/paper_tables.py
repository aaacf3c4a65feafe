"""Tables 1 to 6 of the paper, each row beside what was measured here; tables without a row here are only named."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.reporting import cells
from pipeline.reporting.cells import NOT_COMPARABLE, NOT_RUN, Error, Top, band_cell, cell, paper_cell
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.markdown import Table
from resnet.architectures import ARCHITECTURES
from resnet.paper import published
from resnet.paper.published import Line, Published
from resnet.statistics import Summary
from resnet.study import Network, Study

DIFFERENCE, OTHERS = "here − paper", "others"
COUNTS = ("parameters, here", "paper's")
SINGLE_VIEW = "single view"


@dataclass(frozen=True, slots=True)
class _Here:
    """A network of the paper that is here; its errors by the paper's protocol, or by another where there are none."""

    network: Network
    top1: Error | None
    top5: Error | None


@dataclass(frozen=True, slots=True)
class Beside:
    """A table of the paper with its title; `content` is None where none of its rows is here."""

    number: str
    title: str
    content: Table | None


def everything(study: Study, inputs: Inputs) -> list[Beside]:
    split = f"{study.headline} split"
    two, three, four = published.table2(), published.table3(), published.table4()
    return [
        Beside("Table 1", "layouts and multiply-adds", table1(study, inputs)),
        Beside("Table 2", f"plain and residual networks (paper: 10 crops), {split}", _errors(study, inputs, two)),
        Beside("Table 3", f"options and deeper networks (paper: 10 crops), {split}", _errors(study, inputs, three)),
        Beside(
            "Table 4",
            f"single networks on several scales, {split}",
            _errors(study, inputs, four, only="multi-scale"),
        ),
        Beside("Table 5", "ensembles", table5(study, inputs)),
        Beside("Table 6", f"the CIFAR family, {split}", table6(study, inputs)),
    ]


def table1(study: Study, inputs: Inputs) -> Table | None:
    """Layers, blocks and multiply-adds, here at the images' own size, in the paper at 224x224."""
    rows: list[tuple[str, ...]] = []
    for name, paper in published.multiply_adds().items():
        network = study.find(name)
        here = network.runs[0].multiply_adds / 1e9 if network is not None and network.runs else None
        layout = network.architecture if network is not None else ARCHITECTURES[name]
        blocks = ", ".join(str(n) for n in layout.blocks)
        counted = NOT_RUN if here is None else f"{here:.3g}"
        rows.append((name, str(layout.depth), blocks, layout.block, counted, f"{paper:g}"))
    size = f"{inputs.manifest.size}×{inputs.manifest.size}"
    head = ("network", "layers", "blocks in conv2_x to conv5_x", "block", f"10⁹ multiply-adds, here ({size})")
    found = any(study.find(name) is not None for name in published.multiply_adds())
    return Table((*head, "paper (224×224)"), tuple(rows), (1, 4, 5)) if found else None


def _errors(study: Study, inputs: Inputs, lines: Sequence[Line], only: str = "") -> Table | None:
    """Top-1 errors, and top-5 errors where they are measured here. `only`: nothing by another protocol is shown."""
    found = [_measured(study, inputs, line, only) for line in lines]
    if all(one is None for one in found):
        return None
    both = list(zip(lines, found, strict=True))
    rows = [(line.label, *_beside(study, line, one, line.top1, 1)) for line, one in both]
    head: tuple[str, ...] = ("network", "top-1, here", "paper", DIFFERENCE, OTHERS)
    if any(one is not None and one.top5 is not None for one in found):
        fives = [_beside(study, line, one, line.top5, 5)[:3] for line, one in both]
        rows = [(*row, *more) for row, more in zip(rows, fives, strict=True)]
        head = (*head, "top-5, here", "paper", DIFFERENCE)
    return _without_empty(head, rows)


def _measured(study: Study, inputs: Inputs, line: Line, only: str = "") -> "_Here | None":
    network = cells.find(study, line)
    if network is None:
        return None
    wanted = line.top1.protocol if line.top1 is not None else SINGLE_VIEW
    top1 = cells.error(inputs, study, network, wanted, 1)
    if only and (top1 is None or published.kind(top1.protocol) != only):
        return None
    return _Here(network, top1, cells.error(inputs, study, network, wanted, 5))


def _beside(study: Study, line: Line, here: "_Here | None", paper: Published | None, top: Top) -> tuple[str, ...]:
    """Here, the paper, the difference, and others."""
    error = None if here is None else here.top1 if top == 1 else here.top5
    own, less = NOT_RUN, ""
    if here is not None and error is not None:
        own = cell(error.summary, [error.protocol, study.dataset], here.network.wanted)
        less = cells.difference(study, here.network, line, error, paper)
    protocol = SINGLE_VIEW if paper is None else paper.protocol
    return own, paper_cell(paper), less, band_cell(published.others(line.name, line.shortcut, protocol))


def _without_empty(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    """Without columns of differences and of others' results in which nothing is said."""
    nothing = {"", NOT_COMPARABLE}
    silent = [name in (DIFFERENCE, OTHERS) and {row[i] for row in rows} <= nothing for i, name in enumerate(head)]
    kept = [i for i in range(len(head)) if not silent[i]]
    numeric = tuple(place for place, i in enumerate(kept) if head[i] in (DIFFERENCE, *COUNTS))
    return Table(tuple(head[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in rows), numeric)


def table6(study: Study, inputs: Inputs) -> Table | None:
    """Table 6's residual networks and their plain twins, whose errors the paper shows in Fig. 6 only."""
    rows = []
    lines = [line for line in published.table6() if line.top1 is not None or cells.find(study, line) is not None]
    for line in lines:
        here = _measured(study, inputs, line)
        runs = here.network.runs if here is not None else ()
        counts = (f"{runs[0].parameters:,}" if runs else NOT_RUN, published.parameters().get(line.name, ""))
        own, paper, less, others = _beside(study, line, here, line.top1, 1)
        rows.append((line.label, *counts, own, paper or "Fig. 6 only", less, others))
    if all(cells.find(study, line) is None for line in lines):
        return None
    return _without_empty(("network", *COUNTS, "top-1, here", "paper", DIFFERENCE, OTHERS), rows)


def table5(study: Study, inputs: Inputs) -> Table | None:
    """A row a protocol: the mean over ensembles that share no run."""
    together = inputs.ensembles
    if together is None or not together.ensembles:
        return None
    found = cells.ensembles(together)
    name, paper = " + ".join(together.networks), paper_cell(published.ensemble_top5())
    rows = [
        (name, _by(errors[1], protocol, together.split, study), _by(errors[5], protocol, together.split, study), paper)
        for protocol, errors in found.items()
    ]
    return Table(("networks", "top-1, here", "top-5, here", "paper, top-5"), tuple(rows))


def _by(summary: Summary | None, protocol: str, split: str, study: Study) -> str:
    return cell(summary, [protocol, f"{study.dataset} {split}"])
