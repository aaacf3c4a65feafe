"""The rules of Sec. 4.1: which networks, which number, which comparison. `he2015_imagenet` has the sentences."""

import numpy as np

from resnet.claims.judges import MARGIN, Beyond, Question, Settled, equivalent, falling, greater
from resnet.claims.needs import Lacking, longer, named, options, plain_bottlenecks
from resnet.claims.quantities import ERROR, TRAIN, Quantity, Sample, headline, iterations_until, sample, seen
from resnet.claims.quantities_inside import GRADIENT_RANGE, SMALLEST_VARIANCE
from resnet.claims.verdicts import Rule
from resnet.study import Network, Study

BOTTLENECKS = ("resnet-50", "resnet-101", "resnet-152")
MORE_ITERATIONS = 2.9  # times; footnote 3 has 3
HEALTHY = -3.0  # log10: gradients of two layers within a factor of 1,000 have not decayed exponentially with depth


def beside_headline(study: Study, *rows: Network) -> tuple[Sample, ...]:
    """The validation error, where the claim is about the test error."""
    return seen(rows, ERROR["val"]) if study.headline == "test" else ()


def worse(first: str, second: str, quantity: Quantity | None = None) -> Rule:
    """The first network has the higher number; by default the experiment's headline error."""

    def rule(study: Study) -> Question:
        a, b = named(study, first, second)
        beside = beside_headline(study, a, b) if quantity is None else ()
        return Question(parts=(greater(a, b, quantity or headline(study)),), beside=beside)

    return rule


def deeper_plain_trains_worse(study: Study) -> Question:
    a, b = named(study, "plain-34", "plain-18")
    share = higher_throughout(a, b)
    return Question(
        parts=(greater(a, b, TRAIN),),
        remarks=() if share is None else (f"higher at {share:.0f} % of the recorded iterations",),
        statistic={} if share is None else {"higher_at_percent_of_recorded_iterations": share},
    )


def higher_throughout(a: Network, b: Network) -> float | None:
    """Share in per cent of the common recorded iterations at which `a` has the higher mean training error."""
    curves = [_mean_curve(n) for n in (a, b)]
    common = sorted(set(curves[0]) & set(curves[1]))
    return 100.0 * float(np.mean([curves[0][i] > curves[1][i] for i in common])) if common else None


def _mean_curve(network: Network) -> dict[int, float]:
    """Mean training error over the runs, at iterations that all of them recorded."""
    curves = [{p.iteration: p.train for p in run.history} for run in network.runs if not run.diverged]
    common = set.intersection(*(set(curve) for curve in curves)) if curves else set()
    return {i: float(np.mean([curve[i] for curve in curves])) for i in common}


def deeper_residual_trains_as_well(study: Study) -> Question:
    return Question(parts=falling(named(study, "resnet-18", "resnet-34"), TRAIN, -MARGIN))


def about_equal(first: str, second: str) -> Rule:
    """The headline errors of two networks differ by less than the margin."""

    def rule(study: Study) -> Question:
        a, b = named(study, first, second)
        return Question(parts=(equivalent(a, b, headline(study)),), beside=beside_headline(study, a, b))

    return rule


def converges_faster(study: Study) -> Question:
    slow, quick = named(study, "plain-18", "resnet-18")
    measure = iterations_until(50.0 * (1 - 1 / study.classes), "half of what guessing gives")
    return Question(parts=(greater(slow, quick, measure),))


def options_beat_plain(study: Study) -> Question:
    """ "Considerably": by more than the points that do not count."""
    plain, a = named(study, "plain-34", "resnet-34")
    rows = [a, *options(study, a, "B", "C")]
    return Question(parts=tuple(greater(plain, row, headline(study), MARGIN) for row in rows))


def more_projections_are_better(study: Study) -> Question:
    (a,) = named(study, "resnet-34")
    rows = [a, *options(study, a, "B", "C")]
    return Question(parts=falling(rows, headline(study)), beside=beside_headline(study, *rows))


def more_iterations_do_not_help(study: Study) -> Question:
    base, trained_longer = longer(study, "plain-34", MORE_ITERATIONS)
    (shallow,) = named(study, "plain-18")
    times = trained_longer.recipe.iterations / base.recipe.iterations
    return Question(
        parts=(greater(trained_longer, shallow, TRAIN),),
        beside=seen([base], TRAIN),
        remarks=(
            f"{trained_longer.name} has {times:.1f} times the iterations of {base.name}, and "
            f"{shallow.name}, which it is compared with, {shallow.recipe.iterations:,}",
        ),
    )


def signals_pass(study: Study) -> Question | Settled:
    """On plain-34, of which the paper says it, or else plain-18; what other plain networks show stands beside it."""
    plain = [n for n in study.networks if n.runs and n.architecture.shortcut == "none"]
    plain.sort(key=lambda n: n.architecture.depth)
    ours = [n for name in ("plain-34", "plain-18") if (n := study.find(name)) is not None and n.runs]
    row = ours[0] if ours else named(study, "plain-34")[0]
    variances, ratios = sample(row, SMALLEST_VARIANCE), sample(row, GRADIENT_RANGE)
    dead = sum(value <= 0 for value in variances.values)
    if dead:
        text = f"in {dead} of {len(variances.values)} runs of {row.name} a convolution's output has no variance at all"
        return Settled(verdict="contradicted" if len(variances.values) > 1 else "indicative", evidence=text)
    others = [n for n in plain if n is not row]
    return Question(parts=(Beyond(ratios, "above", HEALTHY),), beside=(*seen(others, GRADIENT_RANGE), variances))


def plain_bottlenecks_degrade(study: Study) -> Question:
    rows = plain_bottlenecks(study)
    return Question(parts=falling(rows[::-1], TRAIN), beside=seen(rows, headline(study)))


def bottlenecks_do_not_degrade(study: Study) -> Question:
    named(study, BOTTLENECKS[0])
    rows = [n for name in ("resnet-34", *BOTTLENECKS) if (n := study.find(name)) is not None and n.runs]
    if len(rows) < 2:
        raise Lacking("needs two of resnet-34, resnet-50, resnet-101, resnet-152", "add")
    return Question(parts=falling(rows, TRAIN, -MARGIN), beside=seen(rows, headline(study)))
