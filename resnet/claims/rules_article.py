"""The rules of the article's claims. `article` has the sentences."""

from collections.abc import Sequence

from resnet.claims.judges import MARGIN, Question, equivalent, falling, greater
from resnet.claims.needs import Lacking, Pair, all_twins, deep_twins, named, options, variant
from resnet.claims.quantities import TRAIN, Quantity, headline, sample, seen
from resnet.claims.quantities_inside import GRADIENT_REACH, LESION, NOISE, WHOLE
from resnet.claims.rules_imagenet import BOTTLENECKS, beside_headline
from resnet.claims.verdicts import Rule
from resnet.statistics import mean
from resnet.study import Study

VANISHED = -1.0  # log10: the first convolutions' gradients are a tenth of the last ones'


def gradients_reach_the_first_layers(study: Study) -> Question:
    plain, residual = deep_twins(study)
    part = greater(residual, plain, GRADIENT_REACH)
    ratio = mean(part.b.values)
    text = f"in the plain network the first layers' gradients are {10**ratio:.3g} times the last ones'"
    text += (
        ": they vanish" if ratio < VANISHED else ": they do not vanish, with batch normalisation they need not (IN-8)"
    )
    return Question(parts=(part,), remarks=(text,))


def deep_plain_is_harder_to_train(study: Study) -> Question:
    plain, residual = deep_twins(study)
    return Question(parts=(greater(plain, residual, TRAIN),), beside=seen([plain, residual], headline(study)))


def depth_costs_no_accuracy(study: Study) -> Question:
    """Over the residual networks of Table 1, else over the CIFAR family, 1202 layers included."""
    names = ("resnet-18", "resnet-34", *BOTTLENECKS)
    rows = [n for name in names if (n := study.find(name)) is not None and n.runs]
    rows = rows if len(rows) > 1 else list(study.ladder("residual"))
    if len(rows) < 2:
        raise Lacking("needs two depths of a residual network", "add")
    return Question(parts=falling(rows, headline(study), -MARGIN), beside=beside_headline(study, *rows))


def _learnt(study: Study, pairs: Sequence[Pair]) -> list[Pair]:
    """Those whose networks have both learnt, at the two ends of depth: what guesses has nothing to lose.

    Learnt is a mean error below half of guessing, on the images that blocks are left out on. Raises Lacking.
    """
    half = 50.0 * (1 - 1 / study.classes)
    kept = [p for p in pairs if all(mean(sample(n, WHOLE).values) < half for n in p)]
    if not kept:
        names = ", ".join(plain.name for plain, _ in pairs)
        raise Lacking(f"of {names} and their residual twins no pair has an error below {half:g} %", "nothing")
    return kept if len(kept) < 2 else [kept[0], kept[-1]]


def _plain_loses_more(quantity: Quantity, remark: str) -> Rule:
    """In each pair of twins that have learnt; the whole error stands beside."""

    def rule(study: Study) -> Question:
        pairs = _learnt(study, all_twins(study))
        return Question(
            parts=tuple(greater(plain, residual, quantity) for plain, residual in pairs),
            beside=seen([n for pair in pairs for n in pair], WHOLE),
            remarks=(remark,),
        )

    return rule


plain_loses_more_without_a_block = _plain_loses_more(
    LESION, "over the blocks that keep the shape, in networks that have learnt"
)
plain_loses_more_under_noise = _plain_loses_more(NOISE, "in networks that have learnt")


def padding_and_projection_serve_alike(study: Study) -> Question:
    """Options A and B of ResNet-34, else of the deepest network of the CIFAR family that has both."""
    rows = [study.find("resnet-34"), *reversed(study.ladder("residual"))]
    both = (
        a for a in rows if a is not None and a.runs and (b := variant(study, a, shortcut="B")) is not None and b.runs
    )
    a = next(both, None) or named(study, "resnet-34")[0]
    (b,) = options(study, a, "B")
    return Question(parts=(equivalent(a, b, headline(study)),), beside=beside_headline(study, a, b))
