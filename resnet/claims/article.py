"""The claims of Syed Abdul Gaffar, "Build ResNet from Scratch With Python" (Analytics Vidhya, 2023), in our words."""

from collections.abc import Sequence
from functools import partial

from resnet.claims.gradients import shortcuts_cure_vanishing
from resnet.claims.hypotheses import Hypothesis, does_not_degrade, equivalent, greater
from resnet.claims.imagenet import BOTTLENECKS
from resnet.claims.measurements import TRAIN, Quantity, available, headline, sample, validation_errors
from resnet.claims.measurements_inside import LESION, NOISE, WHOLE
from resnet.claims.select_networks import MissingRuns, Pair, all_twins, deep_twins, named, options, variant
from resnet.claims.verdicts import FRAGILE, OPTIONS, RESIDUAL, SHORTCUTS, SIGNALS, Claim, Rule
from resnet.statistics import mean
from resnet.study import Study


def deep_plain_is_harder_to_train(study: Study) -> Hypothesis:
    plain, residual = deep_twins(study)
    return Hypothesis(parts=(greater(plain, residual, TRAIN),), context=available([plain, residual], headline(study)))


def depth_costs_no_accuracy(study: Study) -> Hypothesis:
    """Compares the residual networks of Table 1, else those of the CIFAR family, 1202 layers included."""
    names = ("resnet-18", "resnet-34", *BOTTLENECKS)
    rows = [n for name in names if (n := study.find(name)) is not None and n.runs]
    rows = rows if len(rows) > 1 else list(study.ladder("residual"))
    if len(rows) < 2:
        raise MissingRuns("needs two depths of a residual network", "add")
    return Hypothesis(
        parts=(does_not_degrade(rows, headline(study), study.trial.delta),), context=validation_errors(study, *rows)
    )


def _trained_pairs(study: Study, pairs: Sequence[Pair]) -> list[Pair]:
    """Returns the shallowest and the deepest pair whose networks both beat half of chance error.

    Errors are those on the images of the lesions: a guessing network has nothing to lose. Raises MissingRuns.
    """
    half = 50.0 * (1 - 1 / study.classes)
    kept = [p for p in pairs if all(mean(sample(n, WHOLE).values) < half for n in p)]
    if not kept:
        names = ", ".join(plain.name for plain, _ in pairs)
        raise MissingRuns(f"of {names} and their residual twins no pair has an error below {half:g} %", "nothing")
    return kept if len(kept) < 2 else [kept[0], kept[-1]]


def _plain_loses_more(quantity: Quantity, remark: str) -> Rule:
    """Compares the twins of each trained pair; the error of the whole networks is context."""

    def rule(study: Study) -> Hypothesis:
        pairs = _trained_pairs(study, all_twins(study))
        return Hypothesis(
            parts=tuple(greater(plain, residual, quantity) for plain, residual in pairs),
            context=available([n for pair in pairs for n in pair], WHOLE),
            remarks=(remark,),
        )

    return rule


plain_loses_more_without_a_block = _plain_loses_more(
    LESION, "over the blocks that keep the shape, in networks that have learnt"
)
plain_loses_more_under_noise = _plain_loses_more(NOISE, "in networks that have learnt")


def padding_and_projection_serve_alike(study: Study) -> Hypothesis:
    """Options A and B of ResNet-34, else of the deepest network of the CIFAR family that has both."""
    rows = [study.find("resnet-34"), *reversed(study.ladder("residual"))]
    both = (
        a for a in rows if a is not None and a.runs and (b := variant(study, a, shortcut="B")) is not None and b.runs
    )
    a = next(both, None) or named(study, "resnet-34")[0]
    (b,) = options(study, a, "B")
    return Hypothesis(
        parts=(equivalent(a, b, headline(study), study.trial.delta),), context=validation_errors(study, a, b)
    )


HOME, SMALL = "imagenet", "fashion"  # experiments of params.yaml

_claim = partial(Claim, home=HOME, small=SMALL)
CLAIMS = (
    _claim(
        id="AR-1",
        where="Gaffar 2023",
        sentence="Skip connections cure vanishing gradients: those of the first layers are less weakened than without",
        question=SIGNALS,
        rule=shortcuts_cure_vanishing,
    ),
    _claim(
        id="AR-2",
        where="Gaffar 2023",
        sentence="Deep plain networks are harder to train: their training error is higher than the residual twin's",
        question=SHORTCUTS,
        rule=deep_plain_is_harder_to_train,
    ),
    _claim(
        id="AR-3",
        where="Gaffar 2023",
        sentence="Residual networks keep their accuracy as depth grows",
        question=RESIDUAL,
        rule=depth_costs_no_accuracy,
    ),
    _claim(
        id="AR-4",
        where="Gaffar 2023",
        sentence="A layer that hurts can be skipped: without a block a residual network loses less than a plain one",
        question=FRAGILE,
        rule=plain_loses_more_without_a_block,
    ),
    _claim(
        id="AR-5",
        where="Gaffar 2023",
        sentence="Networks with skip connections are less sensitive to noise",
        question=FRAGILE,
        rule=plain_loses_more_under_noise,
    ),
    _claim(
        id="AR-6",
        where="Gaffar 2023",
        sentence="Zero-padding (option A) and 1×1 projection (B) both serve as shortcuts: errors are about equal",
        question=OPTIONS,
        small="",
        rule=padding_and_projection_serve_alike,
        paper="25.03 against 24.52 % (Table 3)",
    ),
)
