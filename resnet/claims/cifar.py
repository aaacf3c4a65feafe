"""The claims of He et al. 2015, Sec. 4.2, and the rules that decide them."""

from collections.abc import Sequence
from functools import partial

from resnet.architectures import same_but
from resnet.claims.hypotheses import (
    ExactResult,
    Hypothesis,
    Verdict,
    degrades,
    does_not_degrade,
    drift,
    equivalent,
    falling,
    greater,
    threshold,
)
from resnet.claims.measurements import (
    ERROR,
    TRAIN,
    available,
    epochs_until_it_stays,
    headline,
    validation_errors,
)
from resnet.claims.measurements_inside import RESPONSE
from resnet.claims.select_networks import MissingRuns, Pair, ladder_twins, named, present
from resnet.claims.verdicts import EXTREME, PLAIN, RESIDUAL, RESPONSES, Claim
from resnet.study import Network, Study, recipe_differences

DEEPEST = 110  # of 1202 layers the paper says the opposite (CF-9)
FITTED = 1.0  # percent: a training error below it cannot explain 1.3 points of test error
SEVERAL = 2  # epochs; "after several epochs" is more than these
FIG_7_PLAIN, FIG_7_RESIDUAL = (20, 56), (20, 56, 110)


def deeper_plain_trains_worse(study: Study) -> Hypothesis:
    rows = _two_depths(study.ladder("plain"), "cifar-plain-N")
    return Hypothesis(parts=(degrades(rows, TRAIN, study.trial.delta),))


def deeper_residual_trains_as_well(study: Study) -> Hypothesis:
    rows = _two_depths(study.ladder("residual"), "cifar-resnet-N")
    return Hypothesis(parts=(does_not_degrade(rows, TRAIN, study.trial.delta),))


def deeper_residual_is_better(study: Study) -> Hypothesis:
    rows = _two_depths(study.ladder("residual"), "cifar-resnet-N")
    return Hypothesis(parts=(drift(rows, headline(study), high=0.0),), context=validation_errors(study, *rows))


def _two_depths(rows: Sequence[Network], name: str) -> list[Network]:
    """Returns the rows of up to 110 layers, shallow first. Raises MissingRuns for fewer than two."""
    kept = [n for n in rows if n.architecture.depth <= DEEPEST]
    if len(kept) < 2:
        raise MissingRuns(f"needs two depths of {name}, here {len(kept)}", "add")
    return kept


def plain_110_fails(study: Study) -> Hypothesis:
    (row,) = named(study, "cifar-plain-110")
    other = f"60 % is the paper's number for 10 classes, here are {study.classes}"
    return Hypothesis(
        parts=(threshold(row, headline(study), "above", 60.0),),
        context=available([row], TRAIN),
        remarks=() if study.classes == 10 else (other,),
    )


def warm_up_ends(study: Study) -> ExactResult:
    """Requires the switch within a factor of two of 400 in every run; 400 is for CIFAR-10 with batches of 128."""
    rows = [n for n in study.rows("cifar-resnet-110") if n.recipe.warm_up is not None]
    (network,) = present({"cifar-resnet-110 with warm_up": rows[0] if rows else None})
    ends = [run.warm_up_ended_at for run in network.runs]
    text = f"switched at iterations {', '.join('never' if end is None else str(end) for end in ends)}"
    text += f", checked every {network.recipe.record_every}"
    statistic = {"iterations": ends}
    close = [end is not None and 200 <= end <= 800 for end in ends]
    if study.dataset != "cifar10" or network.recipe.batch_size != 128:
        text += "; other data or batches than the paper's, so its number of iterations need not hold"
        return ExactResult(verdict="indicative", evidence=text, statistic=statistic)
    if len(ends) < 2:
        side = "points the claim's way" if all(close) else "points the other way"
        return ExactResult(
            verdict="indicative", evidence=f"{text}; {side}, one seed decides nothing", statistic=statistic
        )
    verdict: Verdict = "reproduced" if all(close) else "undecided" if any(close) else "contradicted"
    return ExactResult(verdict=verdict, evidence=text, statistic=statistic)


def cold_start_converges(study: Study) -> Hypothesis:
    """Requires a late start, and then about the same error as with the warm-up."""
    cold, warm = _cold_and_warm(study)
    if study.train_images is None:
        raise MissingRuns("the number of training images, and so the length of an epoch, is not known", "nothing")
    guessing = 100.0 * (1 - 1 / study.classes)
    return Hypothesis(
        parts=(
            threshold(cold, TRAIN, "below", guessing),
            threshold(cold, epochs_until_it_stays(guessing, study.train_images), "above", SEVERAL),
            equivalent(cold, warm, headline(study), study.trial.delta),
        ),
        context=available([cold, warm], TRAIN),
        about=frozenset({"warm_up"}),
    )


def _cold_and_warm(study: Study) -> Pair:
    """Returns ResNet-110 without warm-up and with it, otherwise of one recipe."""
    rows = study.rows("cifar-resnet-110")
    warm = [n for n in rows if n.recipe.warm_up is not None]
    cold = [n for n in rows if n.recipe.warm_up is None]
    pairs = [(c, w) for c in cold for w in warm if recipe_differences(c, w) == ["warm_up"]]
    found = pairs[0] if pairs else (None, warm[0] if warm else None)
    one, other = present(dict(zip(("cifar-resnet-110 without warm_up", "cifar-resnet-110"), found, strict=True)))
    return one, other


def residual_responds_less(study: Study) -> Hypothesis:
    pairs = ladder_twins(study)
    if not pairs:
        named(study, "cifar-plain-20", "cifar-resnet-20")
    measured = [pair for pair in pairs if all(len(available([n], RESPONSE)) == 1 for n in pair)] or pairs
    figure = [pair for pair in measured if pair[0].architecture.depth in FIG_7_PLAIN]
    used = figure or measured
    return Hypothesis(
        parts=tuple(greater(plain, residual, RESPONSE) for plain, residual in used),
        remarks=(_figure_7([a.architecture.depth for a, _ in used], FIG_7_PLAIN),),
    )


def deeper_responds_less(study: Study) -> Hypothesis:
    rows = _two_depths(study.ladder("residual"), "cifar-resnet-N")
    measured = [n for n in rows if available([n], RESPONSE)]
    rows = measured if len(measured) > 1 else rows
    figure = [n for n in rows if n.architecture.depth in FIG_7_RESIDUAL]
    used = figure if len(figure) > 1 else rows
    return Hypothesis(
        parts=falling(used, RESPONSE),
        remarks=(_figure_7([n.architecture.depth for n in used], FIG_7_RESIDUAL),),
    )


def _figure_7(depths: Sequence[int], paper: Sequence[int]) -> str:
    """Says which depths were compared, and which the paper's Fig. 7 has."""
    here, there = (", ".join(map(str, values)) for values in (depths, paper))
    return f"at {here} layers" + (f", the paper at {there}" if tuple(depths) != tuple(paper) else ", as in Fig. 7")


def extreme_depth_trains(study: Study) -> Hypothesis:
    (row,) = named(study, "cifar-resnet-1202")
    return Hypothesis(parts=(threshold(row, TRAIN, "below", 0.1),), context=available([row], ERROR["clean"]))


def extreme_depth_overfits(study: Study) -> Hypothesis:
    deepest, deep = named(study, "cifar-resnet-1202", "cifar-resnet-110")
    return Hypothesis(
        parts=(greater(deepest, deep, headline(study)), threshold(deepest, TRAIN, "below", FITTED)),
        context=(*available([deep], TRAIN), *validation_errors(study, deepest, deep)),
    )


def equal_parameters(study: Study) -> ExactResult:
    """Compares exact counts: no seeds are needed."""
    twins = [
        (a, b)
        for a in study.networks
        for b in study.networks
        if a.runs and b.runs and a.architecture.shortcut == "none" and b.architecture.shortcut == "A"
        if same_but(a.architecture, b.architecture, "shortcut")
    ]
    if not twins:
        raise MissingRuns("needs a plain network and its option-A twin of the same width", "add")
    unequal = [(a, b) for a, b in twins if a.runs[0].parameters != b.runs[0].parameters]
    shown = unequal or twins
    text = ", ".join(f"{a.name} {a.runs[0].parameters:,} and {b.name} {b.runs[0].parameters:,}" for a, b in shown)
    verdict: Verdict = "contradicted" if unequal else "reproduced"
    return ExactResult(verdict=verdict, evidence=text, statistic={"pairs": len(twins)})


HOME, SMALL = "cifar10", "fashion-overnight"  # experiments of params.yaml

_claim = partial(Claim, home=HOME, small=SMALL)
CLAIMS = (
    _claim(
        id="CF-1",
        where="§4.2, Fig. 6 left",
        sentence="Deeper plain networks of the CIFAR family have the higher training error",
        question=PLAIN,
        rule=deeper_plain_trains_worse,
    ),
    _claim(
        id="CF-2",
        where="§4.2, Fig. 6 left",
        sentence="The error of plain-110 is higher than 60 %",
        question=PLAIN,
        small="",
        rule=plain_110_fails,
        paper="higher than 60 %, not displayed",
    ),
    _claim(
        id="CF-3a",
        where="§4.2, Fig. 6 middle",
        sentence="Residual networks overcome the difficulty: up to 110 layers training does not get worse with depth",
        question=RESIDUAL,
        rule=deeper_residual_trains_as_well,
    ),
    _claim(
        id="CF-3b",
        where="§4.2, Fig. 6 middle, Table 6",
        sentence="Deeper residual networks of the CIFAR family, up to 110 layers, have the lower error",
        question=RESIDUAL,
        rule=deeper_residual_is_better,
        paper="8.75, 7.51, 7.17, 6.97, 6.61 % for 20, 32, 44, 56, 110 layers",
    ),
    _claim(
        id="CF-4",
        where="§4.2",
        sentence="ResNet-110 leaves the warm-up, at 80 % training error, after about 400 iterations",
        small="",
        rule=warm_up_ends,
    ),
    _claim(
        id="CF-5",
        where="§4.2, footnote 5",
        sentence="ResNet-110 started at a rate of 0.1 converges after several epochs and ends as with the warm-up",
        small="",
        rule=cold_start_converges,
    ),
    _claim(
        id="CF-6",
        where="§4.2, Fig. 7",
        sentence="The layers of residual networks have smaller responses than those of their plain twins",
        question=RESPONSES,
        rule=residual_responds_less,
    ),
    _claim(
        id="CF-7",
        where="§4.2, Fig. 7",
        sentence="The deeper residual network has the smaller responses",
        question=RESPONSES,
        rule=deeper_responds_less,
    ),
    _claim(
        id="CF-8",
        where="§4.2, Fig. 6 right",
        sentence="ResNet-1202 has a training error below 0.1 %",
        question=EXTREME,
        small="",
        rule=extreme_depth_trains,
        paper="below 0.1 %",
    ),
    _claim(
        id="CF-9",
        where="§4.2, Table 6",
        sentence="ResNet-1202 has a higher test error than ResNet-110 at a similar training error",
        question=EXTREME,
        small="",
        rule=extreme_depth_overfits,
        paper="7.93 against 6.61 %",
    ),
    _claim(
        id="CF-10",
        where="§3.2, §4.2",
        sentence="A residual network with option A has exactly as many parameters as its plain twin",
        rule=equal_parameters,
    ),
)
