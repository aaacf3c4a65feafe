"""One cell of a table: a mean with its spread, number of seeds and protocol; and what stands beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.evaluation.ensembles import Ensembles
from pipeline.reporting.inputs import Inputs, Measured, percent
from pipeline.reporting.markdown import Md
from pipeline.store.records import SplitErrors
from resnet.architectures import ARCHITECTURES, Architecture, same_but
from resnet.paper.published import Band, Line, Published, kind
from resnet.statistics import Summary, summarise
from resnet.study import WORST, Network, Study

NOT_RUN = "not run"
PLUS_MINUS = "\xa0±\xa0"  # a mean and its spread stay in one line
NOT_COMPARABLE = "–"
Top = Literal[1, 5]


@dataclass(frozen=True, slots=True)
class Error:
    """Errors of a network's runs on the headline split, and the protocol that they were measured by."""

    summary: Summary
    protocol: str

    @classmethod
    def of(
        cls, runs: Sequence[Measured], protocol: str, splits: Sequence[SplitErrors | None], top: Top
    ) -> "Error | None":
        """A diverged run is all errors; None where nothing was measured."""
        found = [percent(split, top) for split in splits]
        diverged = [m.record.status == "diverged" for m in runs]
        if top == 5 and all(value is None for value in found):
            return None
        values = [WORST if lost else value for value, lost in zip(found, diverged, strict=True)]
        there = [value for value in values if value is not None]
        return cls(summarise(there), protocol) if there else None


def cell(summary: Summary | None, notes: Sequence[str] = (), wanted: int | None = None) -> str:
    """`9.99 ± 0.14 (n=5, single view)`; `n=3 of 5` where seeds are missing."""
    if summary is None:
        return NOT_RUN
    spread = "" if summary.sd is None else f"{PLUS_MINUS}{summary.sd:.2f}"
    of = f" of {wanted}" if wanted is not None and wanted != summary.n else ""
    return f"{summary.mean:.2f}{spread} ({', '.join([f'n={summary.n}{of}', *notes])})"


def paper_cell(number: Published | None) -> str:
    if number is None:
        return ""
    spread = "" if number.sd is None else f"{PLUS_MINUS}{number.sd:.2f}"
    n = "" if number.n is None else f"n={number.n}, "
    return f"{number.value:.2f}{spread} ({n}{number.protocol})"


def band_cell(band: Band | None) -> str:
    """`6.61 to 8.42 (11)`: lowest, highest, and how many results."""
    if band is None:
        return ""
    failed = [f"{band.failed} failed"] if band.failed else []
    if not band.errors:
        return failed[0]
    low, high = min(band.errors), max(band.errors)
    ends = f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}"
    return f"{ends} ({', '.join([str(len(band.errors)), *failed])})"


def signed(points: float) -> Md:
    """A number, which begins no list."""
    return Md(f"{round(points, 2) + 0.0:+.2f}")


def headline(m: Measured, study: Study) -> SplitErrors | None:
    if m.result is None:
        return None
    return m.result.val if study.headline == "val" else m.result.test


def error(inputs: Inputs, study: Study, network: Network, protocol: str, top: Top = 1) -> Error | None:
    """By `protocol` where a run was measured by it, else by the evaluation's own."""
    runs = inputs.of(network.name)
    named = [name for m in runs if m.result for name in m.result.protocols if kind(name) == kind(protocol)]
    if named:
        return by_protocol(inputs, network, named[0], top)
    own = next((m.result.protocol for m in runs if m.result is not None), "")
    return Error.of(runs, own, [headline(m, study) for m in runs], top)


def by_protocol(inputs: Inputs, network: Network, name: str, top: Top = 1) -> Error | None:
    """By the protocol of this very name; None where no run was measured by it."""
    runs = inputs.of(network.name)
    splits = [None if m.result is None else m.result.protocols.get(name) for m in runs]
    return Error.of(runs, name, splits, top) if any(splits) else None


def ensembles(together: Ensembles) -> dict[str, dict[Top, Summary | None]]:
    """Top-1 and top-5 errors of the ensembles by protocol; None where they are not measured."""
    tops: tuple[Top, ...] = (1, 5)
    found: dict[str, dict[Top, Summary | None]] = {}
    for protocol in dict.fromkeys(name for one in together.ensembles for name in one.protocols):
        splits = [one.protocols.get(protocol) for one in together.ensembles]
        values = {top: [v for split in splits if (v := percent(split, top)) is not None] for top in tops}
        found[protocol] = {top: summarise(values[top]) if values[top] else None for top in tops}
    return found


def built_as(line: Line) -> Architecture:
    return replace(ARCHITECTURES[line.name], shortcut=line.shortcut)


def find(study: Study, line: Line) -> Network | None:
    """The row of a network of the paper: first the one of that name, then the first built like it."""
    wanted = built_as(line)
    rows = [n for n in study.networks if n.architecture_name == line.name]
    rows = [n for n in rows if same_but(n.architecture, wanted, "stem", "width", "stride_on")]
    return next((n for n in rows if n.name == line.name), rows[0] if rows else None)


def difference(study: Study, network: Network, line: Line, here: Error | None, paper: Published | None) -> str:
    """Here less the paper's, in points; only where network, data, split and protocol are the paper's."""
    if here is None or paper is None:
        return ""
    data = "imagenet" if paper.protocol.endswith("ImageNet") else "cifar10"
    free = ["stride_on"] if network.architecture.block == "basic" else []
    same = study.dataset == data and kind(here.protocol) == kind(paper.protocol)
    if not same or not same_but(network.architecture, built_as(line), *free):
        return NOT_COMPARABLE
    return signed(here.summary.mean - paper.value)
