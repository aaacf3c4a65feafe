"""The evidence for a verdict, in words and as numbers for report.json. Decides nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from itertools import groupby
from typing import Any

from resnet import statistics
from resnet.architectures import Architecture
from resnet.claims.hypotheses import Comparison, Equivalent, Greater, Hypothesis, OneSample
from resnet.claims.measurements import Quantity, Sample
from resnet.statistics import ALPHA
from resnet.study import Network, recipe_differences

COMPARED = ("blocks", "block", "shortcut")  # fields in which the networks of a claim are meant to differ


def sentence(hypothesis: Hypothesis) -> str:
    """Returns the numbers with spreads and intervals, and what a reader must know before believing them."""
    groups = [list(group) for _, group in groupby(hypothesis.parts, lambda part: (type(part), part.a.quantity.label))]
    texts = [_group(group) for group in groups]
    compared = {part.a.quantity.label for part in hypothesis.parts}
    for label, shown in _by_label(hypothesis.context).items():
        texts.append(f"{'for comparison' if label in compared else label}: {', '.join(shown)}")
    samples = [s for part in hypothesis.parts for s in part.samples]
    texts += [*hypothesis.remarks, *_notes(samples), *_differences(hypothesis.parts)]
    if not hypothesis.tested:
        side = "points the claim's way" if hypothesis.agrees else "points the other way"
        texts.append(f"{side}, one seed decides nothing")
    return "; ".join(texts)


def numbers(hypothesis: Hypothesis) -> dict[str, Any]:
    """Returns the entries of report.json, one per comparison."""
    return {"parts": [_entry(part) for part in hypothesis.parts], **hypothesis.statistic}


def _entry(part: Comparison) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "test": part.test,
        "measure": part.a.quantity.label,
        "networks": [s.network.name for s in part.samples],
        "difference": part.difference,
        "interval_95": _interval(part),
    }
    if isinstance(part, Equivalent):
        return entry | {"margin": part.margin}
    if isinstance(part, OneSample):
        return entry | {"threshold": part.threshold, "side": part.side}
    permutation = statistics.p_permutation(part.a.values, part.b.values, part.margin) if _tested(part) else None
    return entry | {"threshold": part.margin, "p_permutation": permutation}


def number(s: Sample) -> str:
    """Formats a sample: `plain-34 28.54 ± 0.20 % (n=5)`."""
    summary, form = s.summary, s.quantity.form
    spread = "" if summary.sd is None else f" ± {summary.sd:{form}}"
    unit = f" {s.quantity.unit}" if s.quantity.unit else ""
    return f"{s.network.name} {summary.mean:{form}}{spread}{unit} (n={summary.n})"


def _group(parts: Sequence[Comparison]) -> str:
    """Describes comparisons of one kind and quantity: with a threshold, of a pair, or of a chain of networks."""
    quantity = parts[0].a.quantity
    if isinstance(parts[0], OneSample):
        return f"{quantity.label}: {', '.join(_one_sample(p) for p in parts if isinstance(p, OneSample))}"
    if len(parts) == 1:
        a, b = parts[0].samples
        text = f"{quantity.label}: {number(a)} against {number(b)}; difference {_difference(parts[0])}"
    else:
        samples = {s.network.name: s for part in parts for s in part.samples}
        smallest = min(parts, key=lambda part: part.distance)
        names = " against ".join(s.network.name for s in smallest.samples)
        text = f"{quantity.label}: {', '.join(number(s) for s in sorted(samples.values(), key=_depth))}"
        text += f"; smallest difference {_difference(smallest)}, {names}"
    return text + _margin(parts[0], quantity) + "".join(_doubt(part) for part in parts)


def _depth(s: Sample) -> int:
    return s.network.architecture.depth


def _one_sample(part: OneSample) -> str:
    interval = statistics.bootstrap_interval(part.a.values) if _tested(part) else None
    form = part.a.quantity.form
    shown = f" [{interval[0]:{form}}, {interval[1]:{form}}]" if interval else ""
    return f"{number(part.a)}{shown}, target: {part.side} {_amount(part.threshold, part.a.quantity.unit)}"


def _difference(part: Comparison) -> str:
    """Formats a difference: `+3.51 [+3.20, +3.81] points`."""
    quantity, interval = part.a.quantity, _interval(part)
    brackets = f" [{', '.join(signed(end, quantity) for end in interval)}]" if interval else ""
    return f"{signed(part.difference, quantity)}{brackets}{f' {quantity.step}' if quantity.step else ''}"


def signed(value: float, quantity: Quantity) -> str:
    text = f"{value:+{quantity.form}}"
    return text.replace("-", "+") if float(text.replace(",", "")) == 0 else text


def _interval(part: Comparison) -> list[float] | None:
    """Returns the 95 % bootstrap interval of the difference."""
    if not _tested(part):
        return None
    against = (part.threshold,) if isinstance(part, OneSample) else part.b.values
    return list(statistics.bootstrap_interval(part.a.values, against))


def _tested(part: Comparison) -> bool:
    return all(len(s.values) > 1 for s in part.samples)


def _margin(part: Comparison, quantity: Quantity) -> str:
    if isinstance(part, Equivalent):
        return f"; margin ±{_amount(part.margin, quantity.step)}, TOST"
    margin = part.margin if isinstance(part, Greater) else 0.0
    if margin < 0:
        return f"; up to {_amount(-margin, quantity.step)} worse counts as not worse"
    return f"; target: a difference above {_amount(margin, quantity.step)}" if margin > 0 else ""


def _amount(value: float, unit: str) -> str:
    """Formats an amount: `1 point`, `2 points`, `60 %`, `-3`."""
    return f"{value:g} {unit.removesuffix('s') if value == 1 else unit}".rstrip()


def _doubt(part: Comparison) -> str:
    """Says where Student's distribution decides and the permutation test, with enough seeds to decide, does not."""
    if not isinstance(part, Greater) or not _tested(part) or part.p_for() >= ALPHA:
        return ""
    p = statistics.p_permutation(part.a.values, part.b.values, part.margin)
    enough = statistics.least_permutation_p(len(part.a.values), len(part.b.values)) < ALPHA
    return f"; a permutation test is less sure of {part.a.network.name} (p = {p:.2f})" if enough and p >= ALPHA else ""


def _by_label(samples: Iterable[Sample]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for s in samples:
        found.setdefault(s.quantity.label, []).append(number(s))
    return found


def _notes(samples: Sequence[Sample]) -> list[str]:
    """Reports missing seeds, diverged runs, and runs without the number."""
    texts = []
    for n in {s.network.name: s.network for s in samples}.values():
        if len(n.runs) < n.wanted:
            texts.append(f"{n.wanted - len(n.runs)} of {n.wanted} seeds of {n.name} are missing")
    for s in {(s.network.name, s.quantity.label): s for s in samples}.values():
        texts += _uncounted(s)
    return list(dict.fromkeys(texts))


def _uncounted(s: Sample) -> list[str]:
    network, without = s.network, len(s.network.runs) - len(s.values)
    diverged = sum(run.diverged for run in network.runs)
    if without:
        why = f", {diverged} diverged" if diverged else ""
        return [f"{without} of {len(network.runs)} runs of {network.name} could not be measured{why}"]
    worst = f" count as {s.quantity.worst}" if s.quantity.worst else ""
    return [f"{diverged} diverged run(s) of {network.name}{worst}"] if diverged else []


def _differences(parts: Sequence[Comparison]) -> list[str]:
    """Reports fields in which compared networks differ although the claim is not about them."""
    pairs = [(part.a.network, part.b.network) for part in parts if not isinstance(part, OneSample)]
    recipes = sorted({name for a, b in pairs for name in recipe_differences(a, b)})
    shapes = sorted({name for a, b in pairs for name in _unlike(a, b)})
    texts = [f"recipes differ in {', '.join(recipes)}"] if recipes else []
    return texts + ([f"networks differ in {', '.join(shapes)}"] if shapes else [])


def _unlike(a: Network, b: Network) -> list[str]:
    names = [f.name for f in fields(Architecture) if f.name not in COMPARED]
    return [name for name in names if getattr(a.architecture, name) != getattr(b.architecture, name)]
