"""The rule of each claim: which networks, which error, which test. `claims` lists them with the paper's sentences."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Literal

from resnet import judges
from resnet.judges import LABEL, MARGIN, Finding, Verdict
from resnet.study import Measure, Network, Study, same_but

Judge = Callable[[Study], Finding]
BOTTLENECKS = ("resnet-50", "resnet-101", "resnet-152")
DEEPEST = 110  # of 1202 layers the paper says the opposite (CF-9)


def _row(study: Study, name: str) -> Network:
    network = study.find(name)
    assert network is not None, name  # claims has looked
    return network


def worse(first: str, second: str, measure: Measure | None = None) -> Judge:
    """The first network has the higher error; without a measure, the experiment's headline error."""

    def judge(study: Study) -> Finding:
        here = measure or study.headline
        if judges.absent(study, (first, second), here):
            return unmeasured(study)
        beside: Measure | None = "val" if here == "test" else None
        return judges.greater([(_row(study, first), _row(study, second))], here, beside=beside)

    return judge


def unmeasured(study: Study) -> Finding:
    text = f"no {LABEL[study.headline]} is there; python -m pipeline.evaluate {study.experiment}"
    return Finding(evidence=text, fixed="not run")


def deeper_plain_trains_worse(study: Study) -> Finding:
    a, b = _row(study, "plain-34"), _row(study, "plain-18")
    finding = judges.greater([(a, b)], "train")
    share = judges.higher_throughout(a, b)
    if share is None:
        return finding
    finding.statistic["higher_at_percent_of_recorded_iterations"] = share
    more = f"; higher at {share:.0f} % of the recorded iterations"
    return replace(finding, evidence=finding.evidence + more)


def deeper_residual_trains_as_well(study: Study) -> Finding:
    return judges.greater([(_row(study, "resnet-18"), _row(study, "resnet-34"))], "train", -MARGIN)


def bottlenecks_do_not_degrade(study: Study) -> Finding:
    names = ("resnet-34", *BOTTLENECKS)
    chain = [_row(study, name) for name in names if not judges.absent(study, (name,), "train")]
    if len(chain) < 2:
        return Finding(evidence="needs two of resnet-34, resnet-50, resnet-101, resnet-152", fixed="not run")
    return judges.greater(list(pairwise(chain)), "train", -MARGIN, beside=study.headline)


def comparable(study: Study) -> Finding:
    a, b, here = _row(study, "plain-18"), _row(study, "resnet-18"), study.headline
    if not (a.errors(here) and b.errors(here)):
        return unmeasured(study)
    return judges.equivalent(a, b, here, MARGIN, beside="val" if here == "test" else None)


def converges_faster(study: Study) -> Finding:
    half_of_guessing = 50.0 * (1 - 1 / study.classes)
    return judges.sooner(_row(study, "resnet-18"), _row(study, "plain-18"), half_of_guessing)


def ladder(family: Literal["plain", "residual"]) -> Judge:
    """Sec. 4.2: plain networks get worse in training error with depth, residual ones better in test error."""
    name = "cifar-plain-N" if family == "plain" else "cifar-resnet-N"

    def judge(study: Study) -> Finding:
        measure: Measure = "train" if family == "plain" else study.headline
        rows = [row for row in study.ladder(family) if row.errors(measure) and row.architecture.depth <= DEEPEST]
        if len(rows) < 2:
            return Finding(
                evidence=f"needs two depths of {name} with a {LABEL[measure]}, here {len(rows)}: "
                "dvc exp run -S 'experiments=[cifar10]'",
                fixed="not run",
            )
        pairs = [(b, a) if family == "plain" else (a, b) for a, b in pairwise(rows)]
        return judges.greater(pairs, measure)

    return judge


def equal_parameters(study: Study) -> Finding:
    """Exact: no seed is needed, one network of each kind is."""
    twins = [
        (a, b)
        for a in study.networks
        for b in study.networks
        if a.runs and b.runs and a.architecture.shortcut == "none" and b.architecture.shortcut == "A"
        if same_but(a.architecture, b.architecture, "shortcut")
    ]
    if not twins:
        return Finding(evidence="needs a plain network and its option-A twin of the same width", fixed="not run")
    unequal = [(a, b) for a, b in twins if a.runs[0].parameters != b.runs[0].parameters]
    shown = unequal or twins
    text = ", ".join(f"{a.name} {a.runs[0].parameters:,} and {b.name} {b.runs[0].parameters:,}" for a, b in shown)
    return Finding(evidence=text, fixed="contradicted" if unequal else "reproduced", statistic={"pairs": len(twins)})


def warm_up_ends(study: Study) -> Finding:
    """Within a factor of two of 400 in every run; the number is one of CIFAR-10 with batches of 128."""
    network = _row(study, "cifar-resnet-110")
    if network.recipe.warm_up is None:
        return Finding(evidence=f"{network.name} is trained without warm_up in {study.experiment}", fixed="not run")
    ends = [run.warm_up_ended_at for run in network.runs]
    text = f"switched at iterations {', '.join('never' if end is None else str(end) for end in ends)}"
    text += f", looked at every {network.recipe.record_every}"
    statistic = {"iterations": ends}
    close = [end is not None and 200 <= end <= 800 for end in ends]
    if study.dataset != "cifar10" or network.recipe.batch_size != 128:
        text += "; other data or batches than the paper's, so its number of iterations need not hold"
        return Finding(evidence=text, fixed="indicative", statistic=statistic)
    if len(ends) < 2:
        return judges.indicative(text, all(close), statistic)
    verdict: Verdict = "reproduced" if all(close) else "undecided" if any(close) else "contradicted"
    return Finding(evidence=text, fixed=verdict, statistic=statistic)
