"""Tables 1 to 6 of the paper, each row next to what was measured here; tables without a row here are only named."""

from collections.abc import Sequence
from dataclasses import replace

from pipeline import data
from pipeline.reporting.inputs import Inputs, percent
from pipeline.reporting.markdown import NOT_RUN, Table, cell, signed
from pipeline.reporting.tables import Top, error, protocols
from resnet.architectures import ARCHITECTURES, Architecture, same_but
from resnet.paper import published
from resnet.paper.published import Line, kind
from resnet.statistics import Summary, summarise
from resnet.study import SMALL_IMAGES, Network

DIFFERENCE, OTHERS = "here − paper", "others"
COUNTS = ("parameters, here", "paper's")
SINGLE_VIEW = "single view"
NOT_COMPARABLE = "–"
TOPS: tuple[Top, ...] = (1, 5)


def every(inputs: Inputs) -> dict[str, Table | None]:
    """Returns the paper's tables by their titles, in their order; None where none of a table's rows is here.

    Those of errors only where the images are the paper's.
    """
    found, family = {"Table 1: layouts and multiply-adds": table1(inputs)}, data.of(inputs.manifest).paper_family
    if family == "cifar":
        found["Table 6: the CIFAR family, test split"] = table6(inputs)
    if family == "imagenet":
        two, three, four = published.table2(), published.table3(), published.table4()
        found |= {
            "Table 2: plain and residual networks (paper: 10 crops)": _errors(inputs, two),
            "Table 3: options and deeper networks (paper: 10 crops)": _errors(inputs, three),
            "Table 4: single networks on several scales": _errors(inputs, four, "multi-scale"),
            "Table 5: ensembles": table5(inputs),
        }
    return found if family else {title: table for title, table in found.items() if table}


def table1(inputs: Inputs) -> Table | None:
    """Returns layers, blocks and multiply-adds: here at the images' own size, in the paper at 224x224."""
    found = {name: inputs.study.find(name) for name in published.multiply_adds()}
    if not any(found.values()):
        return None
    rows: list[tuple[str, ...]] = []
    for name, network in found.items():
        layout = network.architecture if network else ARCHITECTURES[name]
        counted = f"{network.runs[0].multiply_adds / 1e9:.3g}" if network and network.runs else NOT_RUN
        blocks, paper = ", ".join(map(str, layout.blocks)), f"{published.multiply_adds()[name]:g}"
        rows.append((name, str(layout.depth), blocks, layout.block, counted, paper))
    size = f"{inputs.manifest.size}×{inputs.manifest.size}"
    head = ("network", "layers", "blocks in conv2_x to conv5_x", "block", f"10⁹ multiply-adds, here ({size})")
    return Table((*head, "paper (224×224)"), tuple(rows), (1, 4, 5))


def table5(inputs: Inputs) -> Table | None:
    """Returns a row a protocol: the mean over ensembles that share no run."""
    errors, ensembles = ensemble_errors(inputs), inputs.ensembles
    if ensembles is None or not errors:
        return None
    name, paper = " + ".join(ensembles.networks), str(published.ensemble_top5())
    notes = f"{inputs.study.dataset} {ensembles.split}"
    rows = [(name, *(cell(s, [protocol, notes]) for s in both.values()), paper) for protocol, both in errors.items()]
    return Table(("networks", "top-1, here", "top-5, here", "paper, top-5"), tuple(rows))


def ensemble_errors(inputs: Inputs) -> dict[str, dict[Top, Summary | None]]:
    """Returns top-1 and top-5 errors by protocol; None where they are not measured."""
    ensembles = inputs.ensembles.ensembles if inputs.ensembles else []
    found: dict[str, dict[Top, Summary | None]] = {}
    for protocol in dict.fromkeys(name for one in ensembles for name in one.protocols):
        for top in TOPS:
            values = [percent(one.protocols.get(protocol), top) for one in ensembles]
            measured = [value for value in values if value is not None]
            found.setdefault(protocol, {})[top] = summarise(measured) if measured else None
    return found


def table6(inputs: Inputs) -> Table | None:
    """Returns Table 6's residual networks and their plain twins, whose errors the paper shows in Fig. 6 only."""
    found = {line: _find(inputs, line) for line in published.table6()}
    if not any(found.values()):
        return None
    rows = []
    for line, network in found.items():
        if network is not None or line.top1 is not None:
            parameters = f"{network.runs[0].parameters:,}" if network and network.runs else NOT_RUN
            own, paper, difference, others = _compared(inputs, line, 1)
            papers = published.parameters().get(line.name, "")
            rows.append((line.label, parameters, papers, own, paper or "Fig. 6 only", difference, others))
    return _drop_empty(("network", *COUNTS, "top-1, here", "paper", DIFFERENCE, OTHERS), rows)


def _errors(inputs: Inputs, lines: Sequence[Line], only: str = "") -> Table | None:
    """Returns top-1 errors, and top-5 errors where they are measured. `only`: nothing by another protocol is shown."""
    if not any(_find(inputs, line) and (not only or _error(inputs, line, 1, only)) for line in lines):
        return None
    head: tuple[str, ...] = ("network", "top-1, here", "paper", DIFFERENCE, OTHERS)
    rows: list[tuple[str, ...]] = [(line.label, *_compared(inputs, line, 1, only)) for line in lines]
    if any(_error(inputs, line, 5, only) for line in lines):
        rows = [(*row, *_compared(inputs, line, 5, only)[:3]) for row, line in zip(rows, lines, strict=True)]
        head = (*head, "top-5, here", "paper", DIFFERENCE)
    return _drop_empty(head, rows)


def _built_as(line: Line) -> Architecture:
    return replace(ARCHITECTURES[line.name], shortcut=line.shortcut)


def _find(inputs: Inputs, line: Line) -> Network | None:
    """Returns a network that is built like the paper's: the one of that name, else the first."""
    rows = [n for n in inputs.study.networks if n.architecture_name == line.name]
    rows = [n for n in rows if same_but(n.architecture, _built_as(line), *SMALL_IMAGES)]
    return next((n for n in rows if n.name == line.name), rows[0] if rows else None)


def _error(inputs: Inputs, line: Line, top: Top, only: str = "") -> tuple[Summary, str] | None:
    """Returns the error here and its protocol: the paper's, or the evaluation's own where there is none by it."""
    network = _find(inputs, line)
    measured = protocols(inputs, network) if network else []
    wanted = kind(line.top1.protocol if line.top1 else SINGLE_VIEW)
    name = next((name for name in measured if kind(name) == wanted), measured[0] if measured else "")
    summary = error(inputs, network, name, top) if network else None
    return None if summary is None or (only and kind(name) != only) else (summary, name)


def _compared(inputs: Inputs, line: Line, top: Top, only: str = "") -> tuple[str, str, str, str]:
    """Returns the error here, the paper's, the difference in points, and others'.

    The difference is taken only where network and protocol are the paper's, too.
    """
    network, found = _find(inputs, line), _error(inputs, line, top, only)
    paper, own, difference = line.top1 if top == 1 else line.top5, NOT_RUN, ""
    if network is not None and found is not None:
        summary, protocol = found
        own = cell(summary, [protocol, inputs.study.dataset], network.wanted)
        if paper is not None:
            alike = kind(protocol) == kind(paper.protocol) and network.architecture == _built_as(line)
            difference = signed(summary.mean - paper.value) if alike else NOT_COMPARABLE
    others = published.others(line.name, line.shortcut, paper.protocol if paper else SINGLE_VIEW)
    return own, str(paper or ""), difference, str(others or "")


def _drop_empty(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    """Drops empty columns of differences and of others' results."""
    nothing = {"", NOT_COMPARABLE}
    empty = [name in (DIFFERENCE, OTHERS) and {row[i] for row in rows} <= nothing for i, name in enumerate(head)]
    kept = [i for i in range(len(head)) if not empty[i]]
    numeric = tuple(place for place, i in enumerate(kept) if head[i] in (DIFFERENCE, *COUNTS))
    return Table(tuple(head[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in rows), numeric)
