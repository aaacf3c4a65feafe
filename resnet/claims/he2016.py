"""The claims of He et al. 2016, "Identity Mappings in Deep Residual Networks", Tables 1 to 3, and their rules."""

from functools import partial
from typing import Any

from resnet.claims.hypotheses import Hypothesis, greater
from resnet.claims.measurements import TRAIN, available, headline
from resnet.claims.select_networks import named, present, variant
from resnet.claims.verdicts import Claim, Rule
from resnet.study import Study

BASE = "cifar-resnet-110"  # original units, option A
IDENTITY = "must shortcuts be the identity?"
ORDER = "does the order in a residual unit matter?"


def worse_than_original(*variants: dict[str, Any]) -> Rule:
    """Requires that ResNet-110 with each of these fields changed has the higher error."""

    def rule(study: Study) -> Hypothesis:
        (base,) = named(study, BASE)
        wanted = {
            f"{base.name} with {', '.join(f'{field} {value}' for field, value in fields.items())}": fields
            for fields in variants
        }
        rows = present({name: variant(study, base, **fields) for name, fields in wanted.items()})
        return Hypothesis(
            parts=tuple(greater(row, base, headline(study)) for row in rows),
            context=available([*rows, base], TRAIN),
            about=frozenset(field for fields in variants for field in fields),
        )

    return rule


def preactivation_is_better(depth: int) -> Rule:
    """Requires that the network of this depth has the lower error with full pre-activation."""

    def rule(study: Study) -> Hypothesis:
        original, preactivated = named(study, f"cifar-resnet-{depth}", f"cifar-preact-{depth}")
        return Hypothesis(
            parts=(greater(original, preactivated, headline(study)),),
            context=available([original, preactivated], TRAIN),
            about=frozenset({"unit"}),
        )

    return rule


_claim = partial(Claim, home="cifar10-preactivation")
_shortcut = partial(_claim, where="2016, §3.1, Table 1", question=IDENTITY)
_order = partial(_claim, where="2016, §4.1, Table 2", question=ORDER)
_preactivation = partial(_claim, where="2016, §4.1, Table 3", question=ORDER)
CLAIMS = (
    _shortcut(
        id="PA-1",
        sentence="Scaling the shortcut by 0.5 hurts ResNet-110, whether its residual branch is scaled by 0.5 or not",
        rule=worse_than_original({"shortcut_scale": 0.5}, {"shortcut_scale": 0.5, "residual_scale": 0.5}),
        paper="fail and 12.35 against 6.61 %",
    ),
    _shortcut(
        id="PA-2",
        sentence="Exclusive gating hurts ResNet-110, even from its best initial bias",
        rule=worse_than_original({"gate": "exclusive", "gate_bias": -6.0}),
        paper="8.70 against 6.61 %",
    ),
    _shortcut(
        id="PA-3",
        sentence="Shortcut-only gating from a bias of 0 hurts ResNet-110",
        rule=worse_than_original({"gate": "shortcut-only", "gate_bias": 0.0}),
        paper="12.86 against 6.61 %",
    ),
    _shortcut(
        id="PA-4",
        sentence="1×1 convolutions on all shortcuts (option C) hurt ResNet-110",
        rule=worse_than_original({"shortcut": "C"}),
        paper="12.22 against 6.61 %",
    ),
    _shortcut(
        id="PA-5",
        sentence="Dropout with a ratio of 0.5 on the shortcuts hurts ResNet-110",
        rule=worse_than_original({"shortcut_dropout": 0.5}),
        paper="fail against 6.61 %",
    ),
    _order(
        id="PA-6",
        sentence="Batch normalisation after the addition hurts ResNet-110",
        rule=worse_than_original({"unit": "bn-after-addition"}),
        paper="8.17 against 6.61 %",
    ),
    _order(
        id="PA-7",
        sentence="ReLU before the addition hurts ResNet-110",
        rule=worse_than_original({"unit": "relu-before-addition"}),
        paper="7.84 against 6.61 %",
    ),
    _preactivation(
        id="PA-8a",
        sentence="Full pre-activation improves ResNet-110",
        rule=preactivation_is_better(110),
        paper="6.37 against 6.61 %",
    ),
    _preactivation(
        id="PA-8b",
        sentence="Full pre-activation improves ResNet-164",
        rule=preactivation_is_better(164),
        paper="5.46 against 5.93 %",
    ),
    _preactivation(
        id="PA-8c",
        sentence="Full pre-activation improves ResNet-1001",
        rule=preactivation_is_better(1001),
        paper="4.92 against 7.61 %",
    ),
)
