"""The evidence for a verdict, in words and as numbers for report.json, and what a reader must know. Decides nothing."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from resnet.claims.hypotheses import Comparison, Contrast, Hypothesis, Threshold
from resnet.claims.measurements import Quantity, Sample


def sentence(hypothesis: Hypothesis) -> str:
    """Returns the numbers with spreads and intervals."""
    texts = [_part(part) for part in hypothesis.parts]
    compared = {part.quantity.label for part in hypothesis.parts}
    for label, shown in _by_label(hypothesis.context).items():
        texts.append(f"{'for comparison' if label in compared else label}: {', '.join(shown)}")
    return "; ".join([*texts, *hypothesis.remarks, *_uncounted(hypothesis.samples)])


def numbers(hypothesis: Hypothesis) -> dict[str, Any]:
    """Returns the entries of report.json: one per comparison, with the numbers of every seed."""
    return {"parts": [_entry(part) for part in hypothesis.parts], **hypothesis.statistic}


def label(part: Comparison) -> str:
    """Names what is compared: `training error, drift from 14 to 38 layers`."""
    names = [s.network.name for s in part.samples]
    if isinstance(part, Threshold):
        return f"{part.quantity.label} of {names[0]}, {part.side} {_amount(part.threshold, part.quantity.unit)}"
    if part.form == "difference":
        return f"{part.quantity.label}, {names[0]} minus {names[1]}"
    if part.form == "interaction":
        half = len(names) // 2
        return f"{part.quantity.label}, drift of {_range(names[:half])} minus drift of {_range(names[half:])}"
    return f"{part.quantity.label}, drift along {_range(names)}"


def number(s: Sample) -> str:
    """Formats a sample: `plain-34 28.54 ± 0.20 % (n=5)`."""
    summary, form = s.summary, s.quantity.form
    spread = "" if summary.sd is None else f" ± {summary.sd:{form}}"
    unit = f" {s.quantity.unit}" if s.quantity.unit else ""
    return f"{s.network.name} {summary.mean:{form}}{spread}{unit} (n={summary.n})"


def signed(value: float, quantity: Quantity) -> str:
    """Formats a difference on the scale of the quantity; a rounded zero is positive."""
    form = ".2f" if quantity.measure else quantity.form
    text = f"{value:+{form}}"
    return text.replace("-", "+") if float(text.replace(",", "")) == 0 else text


def bounds(part: Contrast) -> str:
    """Says where the contrast must be: `above +0.10`."""
    low, high = (signed(end, part.quantity) if math.isfinite(end) else "" for end in (part.low, part.high))
    if low and high:
        return f"between {low} and {high}"
    return f"above {low}" if low else f"below {high}"


def _part(part: Comparison) -> str:
    shown = ", ".join(number(s) for s in part.samples)
    if isinstance(part, Threshold):
        target = f"{part.side} {_amount(part.threshold, part.quantity.unit)}"
        return f"{part.quantity.label}: {shown}, target: a median {target}"
    interval = _interval(part)
    brackets = f" [{', '.join(signed(end, part.quantity) for end in interval)}]" if interval else ""
    unit = f" {part.quantity.scale}" if part.quantity.scale else ""
    found = f"{part.form} {signed(part.value, part.quantity)}{brackets}{unit}"
    return f"{part.quantity.label}: {shown}; {found}, target: {bounds(part)}"


def _entry(part: Comparison) -> dict[str, Any]:
    entry = {
        "measure": part.quantity.label,
        "networks": [s.network.name for s in part.samples],
        "values": [list(s.values) for s in part.samples],
    }
    if isinstance(part, Threshold):
        return entry | {"form": "threshold", "median": part.value, "side": part.side, "threshold": part.threshold}
    interval = _interval(part)
    return entry | {
        "form": part.form,
        "scale": part.quantity.scale,
        "weights": list(part.weights),
        "value": part.value,
        "interval_95": interval,
        "bounds": [end if math.isfinite(end) else None for end in (part.low, part.high)],
        "p_permutation": part.p_permutation() if interval else None,
    }


def _interval(part: Contrast) -> list[float] | None:
    """Returns the 95 % interval of the contrast, of the procedure that decides; None with one seed."""
    return list(part.estimate.interval()) if all(len(s.values) > 1 for s in part.samples) else None


def _range(names: Sequence[str]) -> str:
    return f"{names[0]} to {names[-1]}"


def _amount(value: float, unit: str) -> str:
    """Formats an amount: `60 %`, `2 epochs`, `-3`."""
    return f"{value:g} {unit.removesuffix('s') if value == 1 else unit}".rstrip()


def _by_label(samples: Iterable[Sample]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for s in samples:
        found.setdefault(s.quantity.label, []).append(number(s))
    return found


def _uncounted(samples: Sequence[Sample]) -> list[str]:
    """Reports diverged runs, and runs without the number."""
    return list(dict.fromkeys(text for s in samples for text in _of_network(s)))


def _of_network(s: Sample) -> list[str]:
    network, without = s.network, len(s.network.runs) - len(s.values)
    diverged = sum(run.diverged for run in network.runs)
    if without:
        why = f", {diverged} diverged" if diverged else ""
        return [f"{without} of {len(network.runs)} runs of {network.name} could not be measured{why}"]
    worst = f" count as {s.quantity.worst}" if s.quantity.worst else ""
    return [f"{diverged} diverged run(s) of {network.name}{worst}"] if diverged else []
