"""The claims of He et al. 2015, Sec. 4.1, and the rules that decide them."""

from functools import partial

import numpy as np

from resnet.claims.gradients import plain_gradients_are_healthy
from resnet.claims.hypotheses import (
    Hypothesis,
    degrades,
    does_not_degrade,
    equivalent,
    falling,
    greater,
)
from resnet.claims.measurements import TRAIN, Quantity, available, headline, iterations_until, validation_errors
from resnet.claims.select_networks import MissingRuns, longer, named, options, plain_bottlenecks
from resnet.claims.verdicts import OPTIONS, PLAIN, RESIDUAL, ROBUST, SHALLOW, SHORTCUTS, Claim, Rule
from resnet.study import Network, Study

BOTTLENECKS = ("resnet-50", "resnet-101", "resnet-152")
MORE_ITERATIONS = 2.9  # times; footnote 3 has 3


def worse(first: str, second: str, quantity: Quantity | None = None) -> Rule:
    """Requires that the first network has the higher number; by default the experiment's headline error."""

    def rule(study: Study) -> Hypothesis:
        a, b = named(study, first, second)
        context = validation_errors(study, a, b) if quantity is None else ()
        return Hypothesis(parts=(greater(a, b, quantity or headline(study)),), context=context)

    return rule


def deeper_plain_trains_worse(study: Study) -> Hypothesis:
    a, b = named(study, "plain-34", "plain-18")
    share = higher_throughout(a, b)
    return Hypothesis(
        parts=(degrades([b, a], TRAIN, study.trial.delta),),
        remarks=() if share is None else (f"higher at {share:.0f} % of the recorded iterations",),
        statistic={} if share is None else {"higher_at_percent_of_recorded_iterations": share},
    )


def higher_throughout(a: Network, b: Network) -> float | None:
    """Returns the percentage of common recorded iterations at which `a` has the higher mean training error."""
    curves = [_mean_curve(n) for n in (a, b)]
    common = sorted(set(curves[0]) & set(curves[1]))
    return 100.0 * float(np.mean([curves[0][i] > curves[1][i] for i in common])) if common else None


def _mean_curve(network: Network) -> dict[int, float]:
    """Returns the mean training error over the runs, at iterations that all of them recorded."""
    curves = [{p.iteration: p.train for p in run.history} for run in network.runs if not run.diverged]
    common = set.intersection(*(set(curve) for curve in curves)) if curves else set()
    return {i: float(np.mean([curve[i] for curve in curves])) for i in common}


def deeper_residual_trains_as_well(study: Study) -> Hypothesis:
    return Hypothesis(parts=(does_not_degrade(named(study, "resnet-18", "resnet-34"), TRAIN, study.trial.delta),))


def about_equal(first: str, second: str) -> Rule:
    """Requires that the headline errors of two networks differ by less than the margin."""

    def rule(study: Study) -> Hypothesis:
        a, b = named(study, first, second)
        return Hypothesis(
            parts=(equivalent(a, b, headline(study), study.trial.delta),), context=validation_errors(study, a, b)
        )

    return rule


def converges_faster(study: Study) -> Hypothesis:
    slow, quick = named(study, "plain-18", "resnet-18")
    measure = iterations_until(50.0 * (1 - 1 / study.classes), "half of what guessing gives")
    return Hypothesis(parts=(greater(slow, quick, measure),))


def options_beat_plain(study: Study) -> Hypothesis:
    """Reads "considerably" as by more than the margin."""
    plain, a = named(study, "plain-34", "resnet-34")
    rows = [a, *options(study, a, "B", "C")]
    return Hypothesis(parts=tuple(greater(plain, row, headline(study), study.trial.delta) for row in rows))


def more_projections_are_better(study: Study) -> Hypothesis:
    (a,) = named(study, "resnet-34")
    rows = [a, *options(study, a, "B", "C")]
    return Hypothesis(parts=falling(rows, headline(study)), context=validation_errors(study, *rows))


def more_iterations_do_not_help(study: Study) -> Hypothesis:
    base, trained_longer = longer(study, "plain-34", MORE_ITERATIONS)
    (shallow,) = named(study, "plain-18")
    times = trained_longer.recipe.iterations / base.recipe.iterations
    return Hypothesis(
        parts=(degrades([shallow, trained_longer], TRAIN, study.trial.delta),),
        context=available([base], TRAIN),
        about=frozenset({"iterations", "lr_drops"}),
        remarks=(
            f"{trained_longer.name} has {times:.1f} times the iterations of {base.name}, and "
            f"{shallow.name}, which it is compared with, {shallow.recipe.iterations:,}",
        ),
    )


def plain_bottlenecks_degrade(study: Study) -> Hypothesis:
    rows = plain_bottlenecks(study)
    return Hypothesis(parts=(degrades(rows, TRAIN, study.trial.delta),), context=available(rows, headline(study)))


def bottlenecks_do_not_degrade(study: Study) -> Hypothesis:
    named(study, BOTTLENECKS[0])
    rows = [n for name in ("resnet-34", *BOTTLENECKS) if (n := study.find(name)) is not None and n.runs]
    if len(rows) < 2:
        raise MissingRuns("needs two of resnet-34, resnet-50, resnet-101, resnet-152", "add")
    return Hypothesis(
        parts=(does_not_degrade(rows, TRAIN, study.trial.delta),), context=available(rows, headline(study))
    )


HOME, SMALL = "imagenet", "fashion"  # experiments of params.yaml

_claim = partial(Claim, home=HOME, small=SMALL)
CLAIMS = (
    _claim(
        id="IN-1",
        where="§4.1, Table 2",
        sentence="The deeper plain network has the higher error: plain-34 against plain-18",
        question=PLAIN,
        rule=worse("plain-34", "plain-18"),
        paper="28.54 against 27.94 %",
    ),
    _claim(
        id="IN-2",
        where="§4.1, Fig. 4 left",
        sentence="The deeper plain network has the higher training error, so it is not overfitting",
        question=PLAIN,
        rule=deeper_plain_trains_worse,
    ),
    _claim(
        id="IN-3a",
        where="§4.1, Fig. 4 right",
        sentence="The deeper residual network is not worse in training error: ResNet-34 against ResNet-18",
        question=RESIDUAL,
        rule=deeper_residual_trains_as_well,
    ),
    _claim(
        id="IN-3b",
        where="§4.1, Table 2",
        sentence="The deeper residual network has the lower error: ResNet-18 against ResNet-34",
        question=RESIDUAL,
        rule=worse("resnet-18", "resnet-34"),
        paper="27.88 against 25.03 %",
    ),
    _claim(
        id="IN-4",
        where="§4.1, Table 2",
        sentence="With shortcuts the 34-layer network has the lower error: plain-34 against ResNet-34",
        question=SHORTCUTS,
        rule=worse("plain-34", "resnet-34"),
        paper="28.54 against 25.03 %",
    ),
    _claim(
        id="IN-5a",
        where="§4.1, Table 2",
        sentence="At 18 layers plain and residual networks are about equally accurate",
        question=SHALLOW,
        rule=about_equal("plain-18", "resnet-18"),
        paper="27.94 against 27.88 %",
    ),
    _claim(
        id="IN-5b",
        where="§4.1, Fig. 4",
        sentence="At 18 layers the residual network converges faster",
        question=SHALLOW,
        rule=converges_faster,
    ),
    _claim(
        id="IN-6a",
        where="§4.1, Table 3",
        sentence="With each of the options A, B and C ResNet-34 is considerably better than plain-34",
        question=SHORTCUTS,
        small="",
        rule=options_beat_plain,
        paper="28.54 against 25.03, 24.52, 24.19 %",
    ),
    _claim(
        id="IN-6b",
        where="§4.1, Table 3",
        sentence="Option B is slightly better than A, and C than B",
        question=OPTIONS,
        small="",
        rule=more_projections_are_better,
        paper="25.03, 24.52, 24.19 %",
    ),
    _claim(
        id="IN-7",
        where="§4.1, footnote 3",
        sentence="Three times as many iterations do not remove the degradation of plain-34",
        question=ROBUST,
        small="",
        rule=more_iterations_do_not_help,
    ),
    _claim(
        id="IN-8",
        where="§4.1",
        sentence="Plain networks with batch normalisation have signals of non-zero variance and healthy gradients",
        rule=plain_gradients_are_healthy,
    ),
    _claim(
        id="IN-9",
        where="§4.1, footnote 4",
        sentence="Plain networks of bottlenecks degrade too: the deeper one has the higher training error",
        question=ROBUST,
        small="",
        rule=plain_bottlenecks_degrade,
    ),
    _claim(
        id="IN-10",
        where="§4.1, Table 3",
        sentence="Bottleneck networks of 50, 101 and 152 layers do not degrade in training error",
        question=RESIDUAL,
        rule=bottlenecks_do_not_degrade,
    ),
)
