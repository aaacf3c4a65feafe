"""Rules about the gradients of plain and residual networks: those of He et al. 2015, Sec. 4.1, and of the article.

All depths enter. The growth of the gradient towards the input, at the start and in training, is with every verdict.
"""

from collections.abc import Sequence

from resnet.claims.hypotheses import ExactResult, Hypothesis, greater, threshold
from resnet.claims.measurements import Quantity, available, sample
from resnet.claims.measurements_inside import (
    GROWTH_AT_START,
    GROWTH_IN_TRAINING,
    LOWEST_REACH,
    SMALLEST_VARIANCE,
    imbalance,
)
from resnet.claims.select_networks import named
from resnet.statistics import MIN_SEEDS
from resnet.study import Network, Run, Study

HEALTHY = 3.0  # log10: first and last gradients within a factor of 1,000
GROWTH = (
    "growth of the gradient towards the input, factor a convolution at the start and later where it is farthest from 1"
)
VANISHED = -1.0  # log10: the first convolutions' gradients are a tenth of the last ones'


def plain_gradients_are_healthy(study: Study) -> Hypothesis | ExactResult:
    """IN-8: no variance of zero, and healthy gradients in every plain network at every iteration of the first half.

    A seed counts with its worst plain network, so that one comparison is about all depths. Networks of fewer than five
    seeds do not decide where others have them.
    """
    rows = [n for n in study.networks if n.runs and n.architecture.shortcut == "none"] or named(study, "plain-34")
    rows.sort(key=lambda n: n.architecture.depth)
    judged = [n for n in rows if len(n.runs) >= MIN_SEEDS] or rows
    variances = [sample(n, SMALLEST_VARIANCE) for n in judged]
    dead = {s.network.name: sum(value <= 0 for value in s.values) for s in variances}
    if any(dead.values()):
        text = ", ".join(f"{count} runs of {name}" for name, count in dead.items() if count)
        enough = any(count >= MIN_SEEDS for count in dead.values())
        return ExactResult(
            verdict="contradicted" if enough else "indicative",
            evidence=f"a convolution's output has no variance at all in {text}",
        )
    others = [s for n in rows if n not in judged for s in available([n], _imbalance([n]))]
    return Hypothesis(
        parts=(threshold(judged[-1], _imbalance(judged), "below", HEALTHY),),
        context=(*others, min(variances, key=lambda s: min(s.values))),
        remarks=tuple(_growth(plain=rows, residual=_residual(study))),
    )


def shortcuts_cure_vanishing(study: Study) -> Hypothesis:
    """AR-1: the gradients of the deepest plain network vanish, and those of its residual twin do so less.

    There is nothing to cure where they do not vanish.
    """
    twins = ([pair for pair in ladder.twins() if all(n.runs for n in pair)] for ladder in study.ladders())
    pairs = next(filter(None, twins), [])
    plain, residual = pairs[-1] if pairs else named(study, "plain-34", "resnet-34")
    return Hypothesis(
        parts=(
            threshold(plain, LOWEST_REACH, "below", VANISHED),
            greater(residual, plain, LOWEST_REACH),
        ),
        remarks=(*_at_start(plain), *_growth(plain=[a for a, _ in pairs], residual=[b for _, b in pairs])),
    )


def _imbalance(rows: Sequence[Network]) -> Quantity:
    """Measures the imbalance of the worst of these networks with a run's seed."""
    runs = {(n.name, run.seed): run for n in rows for run in n.runs}

    def of(own: Run, _: Network) -> float | None:
        found = [imbalance(run, n) for n in rows if (run := runs.get((n.name, own.seed))) is not None]
        known = [value for value in found if value is not None]
        return max(known) if len(known) == len(rows) else None

    depths = ", ".join(str(n.architecture.depth) for n in rows)
    label = (
        "|log₁₀| of the gradient norm in the first quarter of the convolutions over the last, largest in the first "
        f"half of training and over the plain networks of {depths} layers"
    )
    return Quantity(label=label, of=of, unit="", step="", stage="train")


def _residual(study: Study) -> list[Network]:
    rows = [n for n in study.networks if n.runs and n.architecture.shortcut != "none"]
    return sorted(rows, key=lambda n: n.architecture.depth)


def _growth(**families: Sequence[Network]) -> list[str]:
    """Says by which factor the gradient grows towards the input, at each depth of each family."""
    texts = []
    for family, rows in families.items():
        first, later = (
            {s.network.name: s.summary.mean for s in available(rows, quantity)}
            for quantity in (GROWTH_AT_START, GROWTH_IN_TRAINING)
        )
        shown = [
            f"{growth:.3f}, {later[n.name]:.3f} at {n.architecture.depth}"
            for n in rows
            if (growth := first.get(n.name)) is not None and n.name in later
        ]
        texts += [f"{family} {'; '.join(shown)} layers"] if shown else []
    return [f"{GROWTH}: {', '.join(texts)}"] if texts else []


def _at_start(plain: Network) -> list[str]:
    """Says what the gradients of a plain network do before its first step."""
    return [
        f"at the start the gradients of {plain.name} {_word(s.summary.mean)} towards the input"
        for s in available([plain], GROWTH_AT_START)
    ]


def _word(growth: float) -> str:
    return f"explode (by {growth:.3f} a convolution) and do not vanish" if growth > 1 else "vanish"
