"""The page docs/networks.md: every network with its parameters and multiply-adds next to the published ones."""

import re
from dataclasses import fields
from typing import Any

from pipeline.reporting.markdown import render
from resnet.architectures import ARCHITECTURES, Architecture, changed
from resnet.counting import Count, count, count_of
from resnet.paper import published
from resnet.vgg import vgg_19

LAYOUT = re.compile(r"(?P<base>\S+?-\d+)(?:-(?P<option>[ABC]))?(?:-v(?P<version>1|1\.5))?")
VARIANTS: dict[str, dict[str, Any]] = {  # He et al. 2016: where, and the fields it changes in ResNet-110
    "Table 1, original": {},
    "Table 1, constant scaling": {"shortcut_scale": 0.5},
    "Table 1, constant scaling, frozen gating": {"shortcut_scale": 0.5, "residual_scale": 0.5},
    "Table 1, exclusive gating": {"gate": "exclusive", "gate_bias": -6.0},
    "Table 1, shortcut-only gating": {"gate": "shortcut-only", "gate_bias": -6.0},
    "Table 1, 1×1 convolution": {"shortcut": "C"},
    "Table 1, dropout": {"shortcut_dropout": 0.5},
    "Table 2, BN after addition": {"unit": "bn-after-addition"},
    "Table 2, ReLU before addition": {"unit": "relu-before-addition"},
    "Table 2, ReLU-only pre-activation": {"unit": "relu-only-preactivation"},
    "Table 2, full pre-activation": {"unit": "preactivation"},
}


def page() -> str:
    """Returns the page as markdown."""
    rows = [(*of_row(row["model"]), row["reference"]) for row in published.table("derived_params_macs")]
    listed = {name for name, *_ in rows}
    rows += [(name, {}, "") for name in ARCHITECTURES if name not in listed]
    pair = [ARCHITECTURES[name] for name in ("cifar-resnet-20", "keras-resnet50v2")]
    base = ARCHITECTURES["cifar-resnet-110"]
    values = {
        "networks": [(name, own, changed(ARCHITECTURES[name], own), reference) for name, own, reference in rows],
        "variants": [(place, own, changed(base, own)) for place, own in VARIANTS.items()],
        "fields": [(field.name, *(getattr(network, field.name) for network in pair)) for field in fields(Architecture)],
        "counted": counted,
        "vgg": count_of(vgg_19, channels=3, size=224),
    }
    return render("networks.md.j2", values)


def of_row(model: str) -> tuple[str, dict[str, Any]]:
    """Returns the network's name and changed fields for a name in derived_params_macs.csv, such as resnet-50-B-v1.5.

    Raises ValueError for a name that follows no known pattern.
    """
    name = model.removesuffix(" (post-act)")
    match = LAYOUT.fullmatch(name)
    if name in ARCHITECTURES:
        return name, {}
    if match is None or match["base"] not in ARCHITECTURES:
        raise ValueError(f"no network {model!r}")
    options = {"shortcut": match["option"], "stride_on": "3x3" if match["version"] == "1.5" else None}
    named = ARCHITECTURES[match["base"]]
    return match["base"], {k: v for k, v in options.items() if v is not None and v != getattr(named, k)}


def counted(network: Architecture) -> Count:
    """Counts at the image size that the network is made for."""
    if network.stem == "cifar":
        return count(network, classes=10, size=32)
    return count(network, classes=1000, size=224)
