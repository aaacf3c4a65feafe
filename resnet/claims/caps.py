"""Why a comparison cannot carry a verdict although its numbers may look clear: it is then *indicative* at most."""

from collections.abc import Sequence
from dataclasses import fields

from resnet.architectures import Architecture
from resnet.claims.hypotheses import Contrast, Hypothesis
from resnet.claims.measurements import Sample
from resnet.statistics import MIN_SEEDS
from resnet.study import Network, Trial, recipe_differences

COMPARED = ("blocks", "block", "shortcut")  # fields in which the networks of a claim are meant to differ


def caps(hypothesis: Hypothesis, trial: Trial, networks: Sequence[Network]) -> tuple[str, ...]:
    """Returns the reasons, among the `networks` of a study."""
    allowed = hypothesis.about | trial.nuisance | {trial.along}
    texts = [*_seeds(hypothesis.samples), *_rows(hypothesis.samples, networks)]
    for part in hypothesis.parts:
        if isinstance(part, Contrast):
            texts += _differences([s.network for s in part.samples], allowed)
    return tuple(dict.fromkeys(texts))


def _seeds(samples: Sequence[Sample]) -> list[str]:
    texts = []
    for s in samples:
        missing = s.network.wanted - len(s.network.runs)
        if missing > 0:
            texts.append(f"{missing} of {s.network.wanted} seeds of {s.network.name} are missing")
        if (n := len(s.values)) < MIN_SEEDS:
            texts.append(f"{s.network.name} has {n} seed{'s' * (n > 1)}, a verdict takes {MIN_SEEDS}")
    if len({tuple(sorted(run.seed for run in s.network.runs)) for s in samples}) > 1 and not texts:
        texts.append("the networks were trained with different seeds")
    return texts


def _rows(samples: Sequence[Sample], networks: Sequence[Network]) -> list[str]:
    """Reports that another row is the same network with the same recipe: which of them answers would be a choice."""
    texts = []
    for one in {s.network.name: s.network for s in samples}.values():
        same = [n.name for n in networks if n.name != one.name and n.architecture == one.architecture]
        equal = [n for n in networks if n.name in same and not recipe_differences(n, one) and n.runs]
        texts += [f"{other.name} is the same network as {one.name}" for other in equal]
    return texts


def _differences(rows: Sequence[Network], allowed: frozenset[str]) -> list[str]:
    """Reports fields in which compared networks differ although the claim is not about them."""
    pairs = [(rows[0], other) for other in rows[1:]]
    recipes = sorted({name for a, b in pairs for name in recipe_differences(a, b)} - allowed)
    shapes = sorted({name for a, b in pairs for name in _unlike(a, b)} - allowed)
    texts = [f"recipes differ in {', '.join(recipes)}"] if recipes else []
    return texts + ([f"networks differ in {', '.join(shapes)}"] if shapes else [])


def _unlike(a: Network, b: Network) -> list[str]:
    names = [f.name for f in fields(Architecture) if f.name not in COMPARED]
    return [name for name in names if getattr(a.architecture, name) != getattr(b.architecture, name)]
