"""The experiment's own tables: every network with all its errors, and what the runs cost."""

from collections.abc import Sequence

from pipeline.reporting.cells import NOT_RUN, PLUS_MINUS, Error, by_protocol, cell, error, headline
from pipeline.reporting.inputs import Inputs, Measured, percent
from pipeline.reporting.markdown import Table
from resnet.roofline import FORWARD_AND_BACKWARD
from resnet.statistics import mean, summarise
from resnet.study import Measure, Network, Study


def networks(study: Study, inputs: Inputs) -> Table:
    """Every network of the experiment with its errors of all kinds and protocols, parameters and multiply-adds."""
    protocols = list(dict.fromkeys(p for m in inputs.measured if m.result is not None for p in m.result.protocols))
    top5 = any(percent(headline(m, study), 5) is not None for m in inputs.measured)
    measures: tuple[Measure, ...] = ("train", "clean", "val", "test")
    rows = []
    for network in study.networks:
        errors = [cell(network.summary(measure), (), network.wanted) for measure in measures]
        errors += [_cell(by_protocol(inputs, network, name), network) for name in protocols]
        errors += [_cell(error(inputs, study, network, "", 5), network)] if top5 else []
        size = [f"{getattr(network.runs[0], f):,}" if network.runs else "" for f in ("parameters", "multiply_adds")]
        rows.append((network.name, str(network.architecture.depth), *errors, *size))
    extra = [f"{study.headline}, {name}" for name in protocols] + ([f"{study.headline}, top-5"] if top5 else [])
    head = ("network", "layers", "train, as in the curves", "train, clean", "val", "test", *extra)
    last = len(head)
    return Table((*head, "parameters", "multiply-adds"), tuple(rows), (1, last, last + 1))


def _cell(found: Error | None, network: Network) -> str:
    return cell(None if found is None else found.summary, (), network.wanted)


def costs(study: Study, inputs: Inputs) -> Table:
    """Seconds, images and multiply-adds a second, and memory, by network."""
    peaks = _peaks(inputs)
    rows = []
    for network in study.networks:
        groups = _by_device(inputs.of(network.name))
        rows += [_cost(network, device, measured, peaks[device]) for device, measured in groups.items()]
        rows += [] if groups else [(network.name, *[NOT_RUN] * 7, "")]
    rates = ("images/s, training", "images/s, evaluation", "10⁹ multiply-adds/s, training", "share of the peak")
    head = ("network", "s per run", *rates, "peak MiB", "runs", "device")
    if len(peaks) > 1:
        return Table(head, tuple(rows), tuple(range(1, 8)))
    return Table(head[:-1], tuple(row[:-1] for row in rows), tuple(range(1, 8)))  # the device is said below it


def devices(inputs: Inputs) -> list[str]:
    """Each with its peak, that the shares can be computed again from."""
    return [
        f"{device}: {'peak not measured' if peak is None else f'peak {peak / 1e9:,.1f}·10⁹ multiply-adds/s'}"
        for device, peak in sorted(_peaks(inputs).items())
    ]


def _by_device(measured: Sequence[Measured]) -> dict[str, list[Measured]]:
    """What has a roofline of its own: a device with so many threads, in one precision."""
    found: dict[str, list[Measured]] = {}
    for m in measured:
        device = f"{m.record.device}, {m.record.threads} thread(s), {m.spec.recipe.precision}"
        found.setdefault(device, []).append(m)
    return found


def _rate(measured: Sequence[Measured]) -> float:
    """Multiply-adds a second in training: the mean over the runs."""
    return FORWARD_AND_BACKWARD * mean([m.record.multiply_adds * m.record.images_per_second for m in measured])


def _peaks(inputs: Inputs) -> dict[str, float | None]:
    return {device: _peak(measured) for device, measured in _by_device(inputs.measured).items()}


def _peak(measured: Sequence[Measured]) -> float | None:
    """The most that a matrix product reached on the device of these runs, before a training or in an evaluation.

    Neighbours slow single products down. None where it was not measured in training and evaluated elsewhere.
    """
    peaks = [m.record.peak_multiply_adds_per_second for m in measured]
    results = [m.result for m in measured if m.result is not None and m.result.device == m.record.device]
    peaks += [result.peak_multiply_adds_per_second for result in results]
    return max((peak for peak in peaks if peak is not None), default=None)


def _cost(network: Network, device: str, measured: Sequence[Measured], peak: float | None) -> tuple[str, ...]:
    rate = _rate(measured)
    return (
        network.name,
        _mean([m.record.seconds for m in measured], 1),
        _mean([m.record.images_per_second for m in measured], 0),
        _mean([m.result.images_per_second for m in measured if m.result is not None], 0),
        f"{rate / 1e9:,.2f}",
        "not measured" if peak is None else f"{100 * rate / peak:.0f} %",
        f"{max(m.record.peak_mib for m in measured):,.0f}",
        str(len(measured)),
        device,
    )


def _mean(values: Sequence[float], digits: int) -> str:
    if not values:
        return NOT_RUN
    summary = summarise(values)
    spread = "" if summary.sd is None else f"{PLUS_MINUS}{summary.sd:,.{digits}f}"
    return f"{summary.mean:,.{digits}f}{spread}"
