"""The paper's main finding in three claims, on whatever ladder an experiment has.

Depth degrades plain networks; it does not degrade residual ones; so shortcuts reduce the harm of depth. All three use
the training error, all depths of the ladder and one margin, so that a ladder cannot both degrade and not degrade. The
ladder may be of any block, width or data set, or climb another field (`trial.along`).
"""

from dataclasses import replace
from functools import partial

from resnet.claims.hypotheses import Hypothesis, degrades, does_not_degrade, interaction
from resnet.claims.measurements import TRAIN, available
from resnet.claims.select_networks import MissingRuns
from resnet.claims.verdicts import Claim, Judged, judge_all
from resnet.statistics import MIN_SEEDS, mean, unseen_collapse
from resnet.study import Ladder, Network, Study

QUESTION = "the paper's main finding"


def plain_ladder(study: Study) -> Hypothesis:
    return Hypothesis(parts=(degrades(_rows(study, "plain"), TRAIN, study.trial.delta, study.trial.along),))


def residual_ladder(study: Study) -> Hypothesis:
    return Hypothesis(parts=(does_not_degrade(_rows(study, "residual"), TRAIN, study.trial.delta, study.trial.along),))


def shortcuts_reduce_the_harm(study: Study) -> Hypothesis:
    ladder = _ladder(study)
    if len(ladder.twins()) < 2:
        raise MissingRuns(f"needs two places on a ladder in `{study.trial.along}` with plain and residual twins", "add")
    return Hypothesis(parts=(interaction(ladder, TRAIN, study.trial.delta),))


_claim = partial(Claim, question=QUESTION, home="cifar10", small="fashion")
LADDERS = "§4.1, Fig. 4; §4.2, Fig. 6"
HEADLINE = (
    _claim(id="plain-ladder", where=LADDERS, sentence="Deeper plain networks train worse", rule=plain_ladder),
    _claim(id="residual-ladder", where=LADDERS, sentence="Deeper residual networks do not", rule=residual_ladder),
    _claim(
        id="interaction",
        where="§1, Fig. 1; §4",
        sentence="Shortcuts reduce the harm of depth",
        rule=shortcuts_reduce_the_harm,
    ),
)


def judge_headline(study: Study) -> list[Judged]:
    """Judges the three claims, each with what other networks of the study say against it."""
    return [replace(j, remaining=_remaining(study, j.claim.id)) for j in judge_all(study, HEADLINE)]


def _ladder(study: Study) -> Ladder:
    """Returns the ladder with the most twins, without networks of too few seeds where enough are left."""
    found = study.ladders()
    if not found:
        raise MissingRuns(f"needs two networks that differ in `{study.trial.along}` alone", "add")
    return replace(found[0], plain=_with_enough_seeds(found[0].plain), residual=_with_enough_seeds(found[0].residual))


def _rows(study: Study, family: str) -> tuple[Network, ...]:
    """Returns the family's part of the headline's ladder, or the longest other one."""
    ladders = [_ladder(study), *study.ladders()]
    rows = next((rows for one in ladders if len(rows := getattr(one, family)) > 1), ())
    if not rows:
        raise MissingRuns(f"needs two {family} networks that differ in `{study.trial.along}` alone", "add")
    return _with_enough_seeds(rows)


def _with_enough_seeds(rows: tuple[Network, ...]) -> tuple[Network, ...]:
    """Leaves out networks that were planned with too few seeds. Missing runs leave none out: they cap the verdict."""
    kept = tuple(network for network in rows if network.wanted >= MIN_SEEDS)
    return kept if len(kept) > 1 else rows


def _remaining(study: Study, name: str) -> str:
    """Names networks outside of the judged ladder that point the other way, with their training errors and seeds."""
    if name == "interaction":
        return ""
    family = name.partition("-")[0]
    try:
        judged = _rows(study, family)
    except MissingRuns:
        return ""
    shallowest, fewest = judged[0], min(len(network.runs) for network in judged)
    worse = [n for n in study.networks if n not in judged and _points_away(n, shallowest, family, study)]
    clean = f"{fewest} runs of a network cannot exclude that {unseen_collapse(fewest or 1):.0f} % of runs collapse"
    shown = ", ".join(f"{s.network.name} {s.summary.mean:.2f} % (n={s.summary.n})" for s in available(worse, TRAIN))
    side = "worse" if family == "residual" else "no worse"
    worse_ones = f"deeper networks that are {side} than {shallowest.name}: {shown}" if shown else ""
    return "; ".join(filter(None, (worse_ones, clean if family == "residual" and fewest else "")))


def _points_away(network: Network, shallowest: Network, family: str, study: Study) -> bool:
    """Whether a deeper network of the family says the opposite of the paper's finding, even with one seed."""
    if network.architecture.family != family or network.architecture.depth <= shallowest.architecture.depth:
        return False
    samples = available([network, shallowest], TRAIN)
    if len(samples) < 2:
        return False
    drift = mean(samples[0].scaled) - mean(samples[1].scaled)
    return drift > study.trial.delta if family == "residual" else drift < study.trial.delta
