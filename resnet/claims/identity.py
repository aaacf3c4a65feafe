"""The claim of He et al. 2015, Sec. 1, that needs no training: a deeper plain network as good as a shallower exists."""

from itertools import combinations

from resnet.architectures import same_but
from resnet.claims.hypotheses import ExactResult, Verdict
from resnet.claims.select_networks import MissingRuns, Pair
from resnet.claims.verdicts import PLAIN, Claim
from resnet.statistics import MIN_SEEDS, mean
from resnet.study import Network, Study, recipe_differences

TOLERANCE = 1e-5  # of the largest logit: rounding in float32


def deeper_copy_exists(study: Study) -> ExactResult:
    """Requires equal logits of all copies, and of every trained deeper network the higher error in every run.

    The first part is exact. The second is an exact permutation test at 1 / 252 with five seeds of each network.
    """
    pairs = _pairs(study)
    copies = [copy for run in pairs[0][0].runs for copy in run.identity]
    difference = max(copy.max_difference / copy.max_logit for copy in copies)
    errors = [(_built(a, b), b.errors("clean")) for a, b in pairs]
    judged = [pair for pair in errors if min(map(len, pair)) >= MIN_SEEDS]
    verdict: Verdict = "undecided"
    if difference >= TOLERANCE:
        verdict = "contradicted"
    elif not judged:
        verdict = "indicative"
    elif all(min(trained) > max(built) for built, trained in judged):
        verdict = "reproduced"
    texts = [_in_words(pair, *both) for pair, both in zip(pairs, errors, strict=True) if all(both)]
    texts.append(f"logits of built networks differ by at most {difference:.1e} of the largest")
    found = [
        {"from": a.name, "to": b.name, "built_percent": built, "trained_percent": trained}
        for (a, b), (built, trained) in zip(pairs, errors, strict=True)
    ]
    statistic = {"max_relative_logit_difference": difference, "pairs": found}
    return ExactResult(verdict=verdict, evidence="; ".join(texts), statistic=statistic)


def _pairs(study: Study) -> list[Pair]:
    """Returns the shallowest plain network with each deeper one of its recipe that was built from it, shallow first."""
    kind = ("none", "basic")
    rows = [n for n in study.networks if n.runs and (n.architecture.shortcut, n.architecture.block) == kind]
    rows.sort(key=lambda n: n.architecture.depth)
    pairs = [
        (a, b)
        for a, b in combinations(rows, 2)
        if same_but(a.architecture, b.architecture, "blocks") and set(recipe_differences(a, b)) <= study.trial.nuisance
    ]
    if not pairs:
        raise MissingRuns("needs two depths of a plain network of basic blocks with one recipe", "add")
    built = [pair for pair in pairs if _built(*pair)]
    if not built:
        raise MissingRuns("no deeper plain network was built by identity layers", "evaluate")
    return [pair for pair in built if pair[0] is built[0][0]]


def _built(shallower: Network, deeper: Network) -> tuple[float, ...]:
    """Returns the training errors of the copies with the deeper network's layout, one for each run."""
    blocks = deeper.architecture.blocks
    return tuple(copy.error for run in shallower.runs for copy in run.identity if copy.blocks == blocks)


def _in_words(pair: Pair, built: tuple[float, ...], trained: tuple[float, ...]) -> str:
    (shallower, deeper), one = pair, "" if min(len(built), len(trained)) >= MIN_SEEDS else ", too few seeds to judge"
    return (
        f"training error without augmentation of {deeper.name}, {mean(built):.2f} % built from {shallower.name} by "
        f"identity layers (n={len(built)}), {mean(trained):.2f} % trained (n={len(trained)}){one}"
    )


CLAIMS = (
    Claim(
        id="IN-0",
        where="§1",
        sentence="A deeper plain network with a shallower one's training error exists (identity layers), and training "
        "does not find it: the degradation is one of optimisation",
        question=PLAIN,
        home="imagenet",
        small="fashion",
        rule=deeper_copy_exists,
    ),
)
