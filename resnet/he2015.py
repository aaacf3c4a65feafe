"""The claims of He et al. 2015, Sec. 4.1 and 4.2.

A claim whose rule is not written is listed too, as `not run`, with what it would take.
"""

from resnet import published, rules
from resnet.claims import Claim

# The questions of Sec. 4.1 and 4.2, each a family of claims.
PLAIN = "does depth hurt plain networks?"
RESIDUAL = "does it hurt residual ones?"
SHORTCUTS = "do shortcuts help deep networks?"
SHALLOW = "what do they do to shallow ones?"
IMAGENET, CIFAR = "imagenet", "cifar10"  # experiments of params.yaml that have the networks

UNWRITTEN: dict[str, tuple[tuple[str, ...], str]] = {  # networks, and what there is not yet
    "IN-6": (("plain-34", "resnet-34"), "rows of ResNet-34 with options B and C"),
    "IN-7": (("plain-34",), "a plain-34 trained three times as long"),
    "IN-8": (("plain-18", "plain-34"), "gradient norms by layer"),
    "IN-9": ((), "plain bottleneck networks"),
    "CF-2": (("cifar-plain-110",), "a rule for a threshold"),
    "CF-5": (("cifar-resnet-110",), "a ResNet-110 without warm-up"),
    "CF-6": (("cifar-plain-20", "cifar-resnet-20"), "layer responses"),
    "CF-7": (("cifar-resnet-20", "cifar-resnet-56", "cifar-resnet-110"), "layer responses"),
    "CF-8": (("cifar-resnet-1202",), "a rule for a threshold"),
    "CF-9": (("cifar-resnet-110", "cifar-resnet-1202"), "a test of overfitting"),
}

WITH_A_RULE = (
    Claim(
        id="IN-1",
        home=IMAGENET,
        where="§4.1, Table 2",
        sentence="The deeper plain network has the higher error: plain-34 against plain-18",
        family=PLAIN,
        needs=("plain-34", "plain-18"),
        judge=rules.worse("plain-34", "plain-18"),
        paper="28.54 against 27.94 %",
    ),
    Claim(
        id="IN-2",
        home=IMAGENET,
        where="§4.1, Fig. 4 left",
        sentence="The deeper plain network has the higher training error, so it is not overfitting",
        family=PLAIN,
        needs=("plain-34", "plain-18"),
        judge=rules.deeper_plain_trains_worse,
    ),
    Claim(
        id="IN-3a",
        home=IMAGENET,
        where="§4.1, Fig. 4 right",
        sentence="The deeper residual network is not worse in training error: ResNet-34 against ResNet-18",
        family=RESIDUAL,
        needs=("resnet-18", "resnet-34"),
        judge=rules.deeper_residual_trains_as_well,
    ),
    Claim(
        id="IN-3b",
        home=IMAGENET,
        where="§4.1, Table 2",
        sentence="The deeper residual network has the lower error: ResNet-18 against ResNet-34",
        family=RESIDUAL,
        needs=("resnet-18", "resnet-34"),
        judge=rules.worse("resnet-18", "resnet-34"),
        paper="27.88 against 25.03 %",
    ),
    Claim(
        id="IN-4",
        home=IMAGENET,
        where="§4.1, Table 2",
        sentence="With shortcuts the 34-layer network has the lower error: plain-34 against ResNet-34",
        family=SHORTCUTS,
        needs=("plain-34", "resnet-34"),
        judge=rules.worse("plain-34", "resnet-34"),
        paper="28.54 against 25.03 %",
    ),
    Claim(
        id="IN-5a",
        home=IMAGENET,
        where="§4.1, Table 2",
        sentence="At 18 layers plain and residual networks are about equally accurate",
        family=SHALLOW,
        needs=("plain-18", "resnet-18"),
        judge=rules.comparable,
        paper="27.94 against 27.88 %",
    ),
    Claim(
        id="IN-5b",
        home=IMAGENET,
        where="§4.1, Fig. 4",
        sentence="At 18 layers the residual network converges faster",
        family=SHALLOW,
        needs=("plain-18", "resnet-18"),
        judge=rules.converges_faster,
    ),
    Claim(
        id="IN-10",
        home=IMAGENET,
        where="§4.1, Table 3",
        sentence="Bottleneck networks of 50, 101 and 152 layers do not degrade in training error",
        family=RESIDUAL,
        needs=("resnet-50",),
        judge=rules.bottlenecks_do_not_degrade,
    ),
    Claim(
        id="CF-1",
        where="§4.2, Fig. 6 left",
        sentence="Each deeper plain network of the CIFAR family has the higher training error",
        family=PLAIN,
        home=CIFAR,
        judge=rules.ladder("plain"),
    ),
    Claim(
        id="CF-3",
        where="§4.2, Fig. 6 middle, Table 6",
        sentence="Each deeper residual network of the CIFAR family, up to 110 layers, has the lower error",
        family=RESIDUAL,
        home=CIFAR,
        judge=rules.ladder("residual"),
        paper="8.75, 7.51, 7.17, 6.97, 6.61 % for 20, 32, 44, 56, 110 layers",
    ),
    Claim(
        id="CF-4",
        where="§4.2",
        sentence="ResNet-110 leaves the warm-up, at 80 % training error, after about 400 iterations",
        needs=("cifar-resnet-110",),
        home=CIFAR,
        judge=rules.warm_up_ends,
    ),
    Claim(
        id="CF-10",
        where="§3.2, §4.2",
        sentence="A residual network with option A has exactly as many parameters as its plain twin",
        home=CIFAR,
        judge=rules.equal_parameters,
    ),
)


def _of_the_paper() -> tuple[Claim, ...]:
    """Those with a rule, then the other rows of he2015_claims.csv: none is left out."""
    listed = {row.id: row for row in published.claims()}
    unwritten = tuple(
        Claim(
            id=name,
            where=_where(listed[name].where),
            sentence=listed[name].claim,
            needs=needs,
            home=IMAGENET if name.startswith("IN") else CIFAR,
            missing=what,
        )
        for name, (needs, what) in UNWRITTEN.items()
    )
    order = {name: i for i, name in enumerate(listed)}
    everything = (*WITH_A_RULE, *unwritten)
    return tuple(sorted(everything, key=lambda c: (c.id[:2] != "IN", order.get(c.id.rstrip("ab"), len(order)), c.id)))


def _where(text: str) -> str:
    """4.1/Fig4 as §4.1, Fig. 4."""
    return "§" + text.replace("/", ", ").replace("Fig", "Fig. ").replace("Table", "Table ").replace("  ", " ")


CLAIMS = _of_the_paper()
