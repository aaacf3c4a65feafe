"""Published errors on ImageNet's validation set, by network: paper/reference_imagenet_results.csv.

A row is compared with a network only where both architectures are equal. Variants that are no network of this project
(batch normalisation after the addition, blurred pooling, fb.resnet.torch's pre-activation) are compared with none.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from resnet.architectures import ARCHITECTURES, Architecture, changed
from resnet.paper.published import table

CLASSES = 1000
IMAGES = 50_000  # in the validation set of ILSVRC2012

KERAS = ("V1 + conv biases", "pre-act")  # variants of Keras Applications, whose models are named in full
VARIANTS: dict[str, dict[str, Any]] = {  # what a variant changes in the paper's network with projections (option B)
    "V1": {},
    "V1.5": {"stride_on": "3x3"},
    "pytorch style (V1.5)": {"stride_on": "3x3"},
    "basic": {},
}


@dataclass(frozen=True, slots=True)
class Reference:
    """A row of the table; errors in percent."""

    system: str  # whose numbers they are
    model: str
    variant: str
    protocol: str
    top1: float
    top5: float | None  # None where it was not published


def references(network: Architecture) -> list[Reference]:
    """Returns what others published for this network, in the order of the table."""
    return [row for row, denoted in _rows() if denoted == network]


@cache
def _rows() -> tuple[tuple[Reference, Architecture | None], ...]:
    found = []
    for row in table("reference_imagenet_results"):
        top5 = float(row["top5_err"]) if row["top5_err"] else None
        reference = Reference(
            row["system"], row["model"], row["variant"], row["protocol"], float(row["top1_err"]), top5
        )
        found.append((reference, _denoted(reference)))
    return tuple(found)


def _denoted(row: Reference) -> Architecture | None:
    if row.system == "Keras Applications" and row.variant in KERAS:
        return ARCHITECTURES.get(f"keras-{row.model.lower()}")
    named = ARCHITECTURES.get(row.model.lower())
    if named is None or row.variant not in VARIANTS:
        return None
    return changed(named, {"shortcut": "B", **VARIANTS[row.variant]})
