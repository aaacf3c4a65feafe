"""The rules of Sec. 4.2: which networks, which number, which comparison. `he2015_cifar` has the sentences."""

from collections.abc import Sequence

from resnet.architectures import same_but
from resnet.claims.judges import MARGIN, Beyond, Question, Settled, Verdict, equivalent, falling, greater
from resnet.claims.needs import Lacking, Pair, ladder_twins, named, present
from resnet.claims.quantities import ERROR, TRAIN, epochs_until_it_stays, headline, sample, seen
from resnet.claims.quantities_inside import RESPONSE
from resnet.claims.rules_imagenet import beside_headline
from resnet.study import Network, Study, recipe_differences

DEEPEST = 110  # of 1202 layers the paper says the opposite (CF-9)
SEVERAL = 2  # epochs; "after several epochs" is more than these
FIG_7_PLAIN, FIG_7_RESIDUAL = (20, 56), (20, 56, 110)


def deeper_plain_trains_worse(study: Study) -> Question:
    return Question(parts=falling(_two_depths(study.ladder("plain"), "cifar-plain-N")[::-1], TRAIN))


def deeper_residual_trains_as_well(study: Study) -> Question:
    return Question(parts=falling(_two_depths(study.ladder("residual"), "cifar-resnet-N"), TRAIN, -MARGIN))


def deeper_residual_is_better(study: Study) -> Question:
    rows = _two_depths(study.ladder("residual"), "cifar-resnet-N")
    return Question(parts=falling(rows, headline(study)), beside=beside_headline(study, *rows))


def _two_depths(rows: Sequence[Network], name: str) -> list[Network]:
    """Up to 110 layers, shallow first."""
    kept = [n for n in rows if n.architecture.depth <= DEEPEST]
    if len(kept) < 2:
        raise Lacking(f"needs two depths of {name}, here {len(kept)}", "add")
    return kept


def plain_110_fails(study: Study) -> Question:
    (row,) = named(study, "cifar-plain-110")
    other = f"60 % is the paper's number for 10 classes, here are {study.classes}"
    return Question(
        parts=(Beyond(sample(row, headline(study)), "above", 60.0),),
        beside=seen([row], TRAIN),
        remarks=() if study.classes == 10 else (other,),
    )


def warm_up_ends(study: Study) -> Settled:
    """Within a factor of two of 400 in every run; the number is one of CIFAR-10 with batches of 128."""
    rows = [n for n in study.rows("cifar-resnet-110") if n.recipe.warm_up is not None]
    (network,) = present({"cifar-resnet-110 with warm_up": rows[0] if rows else None})
    ends = [run.warm_up_ended_at for run in network.runs]
    text = f"switched at iterations {', '.join('never' if end is None else str(end) for end in ends)}"
    text += f", looked at every {network.recipe.record_every}"
    statistic = {"iterations": ends}
    close = [end is not None and 200 <= end <= 800 for end in ends]
    if study.dataset != "cifar10" or network.recipe.batch_size != 128:
        text += "; other data or batches than the paper's, so its number of iterations need not hold"
        return Settled(verdict="indicative", evidence=text, statistic=statistic)
    if len(ends) < 2:
        side = "points the claim's way" if all(close) else "points the other way"
        return Settled(verdict="indicative", evidence=f"{text}; {side}, one seed decides nothing", statistic=statistic)
    verdict: Verdict = "reproduced" if all(close) else "undecided" if any(close) else "contradicted"
    return Settled(verdict=verdict, evidence=text, statistic=statistic)


def cold_start_converges(study: Study) -> Question:
    """Late, but it does, and to the same training error as with the warm-up."""
    cold, warm = _cold_and_warm(study)
    if study.train_images is None:
        raise Lacking("the number of training images, and so the length of an epoch, is not known", "nothing")
    guessing = 100.0 * (1 - 1 / study.classes)
    return Question(
        parts=(
            Beyond(sample(cold, TRAIN), "below", guessing),
            Beyond(sample(cold, epochs_until_it_stays(guessing, study.train_images)), "above", SEVERAL),
            equivalent(cold, warm, TRAIN),
        ),
        beside=seen([cold, warm], headline(study)),
    )


def _cold_and_warm(study: Study) -> Pair:
    """ResNet-110 without warm-up and with it, otherwise of one recipe."""
    rows = study.rows("cifar-resnet-110")
    warm = [n for n in rows if n.recipe.warm_up is not None]
    cold = [n for n in rows if n.recipe.warm_up is None]
    pairs = [(c, w) for c in cold for w in warm if recipe_differences(c, w) == ["warm_up"]]
    found = pairs[0] if pairs else (None, warm[0] if warm else None)
    one, other = present(dict(zip(("cifar-resnet-110 without warm_up", "cifar-resnet-110"), found, strict=True)))
    return one, other


def residual_responds_less(study: Study) -> Question:
    pairs = ladder_twins(study)
    if not pairs:
        named(study, "cifar-plain-20", "cifar-resnet-20")
    measured = [pair for pair in pairs if all(len(seen([n], RESPONSE)) == 1 for n in pair)] or pairs
    figure = [pair for pair in measured if pair[0].architecture.depth in FIG_7_PLAIN]
    used = figure or measured
    return Question(
        parts=tuple(greater(plain, residual, RESPONSE) for plain, residual in used),
        remarks=(_figure_7([a.architecture.depth for a, _ in used], FIG_7_PLAIN),),
    )


def deeper_responds_less(study: Study) -> Question:
    rows = _two_depths(study.ladder("residual"), "cifar-resnet-N")
    measured = [n for n in rows if seen([n], RESPONSE)]
    rows = measured if len(measured) > 1 else rows
    figure = [n for n in rows if n.architecture.depth in FIG_7_RESIDUAL]
    used = figure if len(figure) > 1 else rows
    return Question(
        parts=falling(used, RESPONSE),
        remarks=(_figure_7([n.architecture.depth for n in used], FIG_7_RESIDUAL),),
    )


def _figure_7(depths: Sequence[int], paper: Sequence[int]) -> str:
    """Which depths were compared, and which the paper's Fig. 7 does."""
    here, there = (", ".join(map(str, values)) for values in (depths, paper))
    return f"at {here} layers" + (f", the paper at {there}" if tuple(depths) != tuple(paper) else ", as in Fig. 7")


def extreme_depth_trains(study: Study) -> Question:
    (row,) = named(study, "cifar-resnet-1202")
    return Question(parts=(Beyond(sample(row, TRAIN), "below", 0.1),), beside=seen([row], ERROR["clean"]))


def extreme_depth_overfits(study: Study) -> Question:
    deepest, deep = named(study, "cifar-resnet-1202", "cifar-resnet-110")
    return Question(
        parts=(greater(deepest, deep, headline(study)), equivalent(deepest, deep, TRAIN)),
        beside=beside_headline(study, deepest, deep),
    )


def equal_parameters(study: Study) -> Settled:
    """Exact: no seed is needed, one network of each kind is."""
    twins = [
        (a, b)
        for a in study.networks
        for b in study.networks
        if a.runs and b.runs and a.architecture.shortcut == "none" and b.architecture.shortcut == "A"
        if same_but(a.architecture, b.architecture, "shortcut")
    ]
    if not twins:
        raise Lacking("needs a plain network and its option-A twin of the same width", "add")
    unequal = [(a, b) for a, b in twins if a.runs[0].parameters != b.runs[0].parameters]
    shown = unequal or twins
    text = ", ".join(f"{a.name} {a.runs[0].parameters:,} and {b.name} {b.runs[0].parameters:,}" for a, b in shown)
    verdict: Verdict = "contradicted" if unequal else "reproduced"
    return Settled(verdict=verdict, evidence=text, statistic={"pairs": len(twins)})
