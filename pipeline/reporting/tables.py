"""The tables of a report: errors beside the paper's, sizes, and what it all cost."""

from collections.abc import Sequence

import numpy as np

from pipeline.records import SplitErrors
from pipeline.reporting.inputs import Inputs, Measured, percent
from pipeline.reporting.markdown import Table
from resnet import published
from resnet.published import Published
from resnet.statistics import Summary, summarise
from resnet.study import Measure, Network, Study

NOT_RUN = "not run"
FORWARD_AND_BACKWARD = 3  # the backward pass takes about twice the forward pass's multiply-adds


def cell(summary: Summary | None, notes: Sequence[str] = (), wanted: int | None = None) -> str:
    """`9.99 ± 0.14 (n=5, single view)`; `n=3 of 5` where seeds are missing."""
    if summary is None:
        return NOT_RUN
    spread = "" if summary.sd is None else f" ± {summary.sd:.2f}"
    of = f" of {wanted}" if wanted is not None and wanted != summary.n else ""
    return f"{summary.mean:.2f}{spread} ({', '.join([f'n={summary.n}{of}', *notes])})"


def paper_cell(number: Published | None) -> str:
    if number is None:
        return ""
    spread = "" if number.sd is None else f" ± {number.sd:.2f}"
    n = "" if number.n is None else f"n={number.n}, "
    return f"{number.value:.2f}{spread} ({n}{number.protocol})"


def protocol(inputs: Inputs) -> str:
    found = list(dict.fromkeys(m.result.protocol for m in inputs.measured if m.result is not None))
    return ", ".join(found)


def _here(network: Network | None, measure: Measure, notes: Sequence[str]) -> str:
    return NOT_RUN if network is None else cell(network.summary(measure), notes, network.wanted)


def table2(study: Study, inputs: Inputs) -> Table | None:
    """Table 2's four cells; None where the experiment asks for none of them."""
    notes = [text for text in (protocol(inputs), study.dataset) if text]
    rows = []
    for layers in (18, 34):
        line = [f"{layers} layers"]
        for name in (f"plain-{layers}", f"resnet-{layers}"):
            line += [_here(study.find(name), study.headline, notes), paper_cell(published.top1()[name])]
        rows.append(tuple(line))
    if all(study.find(f"{kind}-{layers}") is None for kind in ("plain", "resnet") for layers in (18, 34)):
        return None
    return Table(("", "plain, here", "plain, paper", "residual, here", "residual, paper"), tuple(rows))


def table6(study: Study, inputs: Inputs) -> Table | None:
    """Table 6's residual networks and, beside them, their plain twins, whose errors the paper shows in Fig. 6 only."""
    notes = [text for text in (protocol(inputs), study.dataset) if text]
    rows = []
    for depth in (20, 32, 44, 56, 110, 1202):
        name = f"cifar-resnet-{depth}"
        own, twin = study.find(name), study.find(f"cifar-plain-{depth}")
        if own is None and twin is None:
            continue
        here = f"{own.runs[0].parameters:,}" if own is not None and own.runs else NOT_RUN
        errors = [_here(network, study.headline, notes) for network in (own, twin)]
        paper = published.parameters()[name], paper_cell(published.top1().get(name))
        rows.append((str(depth), here, paper[0], errors[0], paper[1], errors[1]))
    head = ("layers", "parameters, here", "paper", "ResNet, here", "ResNet, paper", "plain, here")
    return Table(head, tuple(rows), (0, 1, 2)) if rows else None


def networks(study: Study, inputs: Inputs) -> Table:
    """Every network of the experiment with its errors of all kinds, parameters and multiply-adds."""
    top5 = any(m.result is not None and percent(_headline(m, study), 5) is not None for m in inputs.measured)
    measures: tuple[Measure, ...] = ("train", "clean", "val", "test")
    rows = []
    for network in study.networks:
        errors = [cell(network.summary(measure), (), network.wanted) for measure in measures]
        errors += [_top5(inputs.of(network.name), study, network.wanted)] if top5 else []
        size = [f"{getattr(network.runs[0], f):,}" if network.runs else "" for f in ("parameters", "multiply_adds")]
        rows.append((network.name, str(network.architecture.depth), *errors, *size))
    extra = (f"{study.headline}, top-5",) if top5 else ()
    head = ("network", "layers", "train, as in the curves", "train, clean", "val", "test", *extra)
    last = len(head)
    return Table((*head, "parameters", "multiply-adds"), tuple(rows), (1, last, last + 1))


def _headline(m: Measured, study: Study) -> SplitErrors | None:
    if m.result is None:
        return None
    return m.result.val if study.headline == "val" else m.result.test


def _top5(measured: list[Measured], study: Study, wanted: int) -> str:
    found = [percent(_headline(m, study), 5) for m in measured]
    values = [value for value in found if value is not None]
    return cell(summarise(values), (), wanted) if values else NOT_RUN


def costs(study: Study, inputs: Inputs) -> Table:
    """Seconds, images and multiply-adds a second, and memory, by network."""
    rows = []
    for network in study.networks:
        measured = inputs.of(network.name)
        if not measured:
            rows.append((network.name, *[NOT_RUN] * 7))
            continue
        training = [m.record.images_per_second for m in measured]
        evaluation = [m.result.images_per_second for m in measured if m.result is not None]
        rate = FORWARD_AND_BACKWARD * measured[0].record.multiply_adds * float(np.mean(training))
        devices = dict.fromkeys(f"{m.record.device}, {m.record.threads} thread(s)" for m in measured)
        rows.append(
            (
                network.name,
                _mean([m.record.seconds for m in measured], 1),
                _mean(training, 0),
                _mean(evaluation, 0),
                f"{rate / 1e9:.2f}",
                f"{max(m.record.peak_mib for m in measured):,.0f}",
                str(len(measured)),
                "; ".join(devices),
            )
        )
    head = ("network", "s per run", "images/s, training", "images/s, evaluation", "10⁹ multiply-adds/s, training")
    return Table((*head, "peak MiB", "runs", "device"), tuple(rows), (1, 2, 3, 4, 5, 6))


def _mean(values: Sequence[float], digits: int) -> str:
    if not values:
        return NOT_RUN
    summary = summarise(values)
    spread = "" if summary.sd is None else f" ± {summary.sd:,.{digits}f}"
    return f"{summary.mean:,.{digits}f}{spread}"
