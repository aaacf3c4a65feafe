"""docs/networks.md: every network with its parameters and multiply-adds beside the published ones, from the code."""

import argparse
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from pipeline.errors import run_stage
from resnet.architectures import ARCHITECTURES, Architecture, changed
from resnet.counting import Count, count, count_of
from resnet.paper import published
from resnet.vgg import vgg_19

PAGE = Path("docs/networks.md")
HEAD = """# Networks

Every network of He et al. 2015 ([arXiv:1512.03385](https://arxiv.org/abs/1512.03385)) and 2016
([arXiv:1603.05027](https://arxiv.org/abs/1603.05027)), of torchvision and of Keras Applications, as one table of
architectures and its fields (`resnet/architectures.py`). This page is made by `python -m pipeline.catalogue`; a test
holds it to the code.

    from resnet import build, count
    build("resnet-101", classes=1000)                      # the paper's
    build("resnet-50", classes=1000, stride_on="3x3")      # any field by name: torchvision's "V1.5"
    count("resnet-50", classes=1000, size=224).layers      # layer by layer, without allocating weights

Multiply-adds are those of one forward pass of one image, of convolutions and the classifier: 224×224 pixels and 1,000
classes, or 32×32 pixels and 10 classes for the CIFAR family. Parameters are trained ones, without running statistics;
published totals of Keras contain those.
"""
LAYOUT = re.compile(r"(?P<base>\S+?-\d+)(?:-(?P<option>[ABC]))?(?:-v(?P<version>1|1\.5))?")
VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (  # of He et al. 2016: place, and what it changes in ResNet-110
    ("Table 1, original", {}),
    ("Table 1, constant scaling", {"shortcut_scale": 0.5}),
    ("Table 1, constant scaling, frozen gating", {"shortcut_scale": 0.5, "residual_scale": 0.5}),
    ("Table 1, exclusive gating", {"gate": "exclusive", "gate_bias": -6.0}),
    ("Table 1, shortcut-only gating", {"gate": "shortcut-only", "gate_bias": -6.0}),
    ("Table 1, 1×1 convolution", {"shortcut": "C"}),
    ("Table 1, dropout", {"shortcut_dropout": 0.5}),
    ("Table 2, BN after addition", {"unit": "bn-after-addition"}),
    ("Table 2, ReLU before addition", {"unit": "relu-before-addition"}),
    ("Table 2, ReLU-only pre-activation", {"unit": "relu-only-preactivation"}),
    ("Table 2, full pre-activation", {"unit": "preactivation"}),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipeline.catalogue", description=__doc__)
    parser.add_argument("--out", type=Path, default=PAGE, help="where the page goes (default: %(default)s)")
    path = parser.parse_args().out
    path.write_text(page(), encoding="utf-8")
    print(f"{path}: {len(ARCHITECTURES)} named networks")


def page() -> str:
    return "\n".join([HEAD, *_networks(), *_variants(), *_table_of_fields()])


def of_row(model: str) -> tuple[str, dict[str, Any]]:
    """A name of derived_params_macs.csv as name and fields: resnet-50-B-v1.5 halves in the 3x3 convolution.

    Raises ValueError for a name of another make.
    """
    name = model.removesuffix(" (post-act)")
    match = LAYOUT.fullmatch(name)
    if name in ARCHITECTURES:
        return name, {}
    if match is None or match["base"] not in ARCHITECTURES:
        raise ValueError(f"no network {model!r}")
    asked = {"shortcut": match["option"], "stride_on": "3x3" if match["version"] == "1.5" else None}
    named = ARCHITECTURES[match["base"]]
    return match["base"], {k: v for k, v in asked.items() if v is not None and v != getattr(named, k)}


def counted(network: Architecture) -> Count:
    """At the size that the network is made for."""
    if network.stem == "cifar":
        return count(network, classes=10, size=32)
    return count(network, classes=1000, size=224)


def _networks() -> Iterator[str]:
    yield "## Parameters and multiply-adds\n"
    yield "| network | fields | layers | parameters | multiply-adds, 10⁹ | published |\n|---|---|--:|--:|--:|---|"
    listed = set()
    for row in published.table("derived_params_macs"):
        name, changes = of_row(row["model"])
        listed.add(name)
        yield _line(name, changes, _published(row["reference"]))
    for name in ARCHITECTURES:
        if name not in listed:
            yield _line(name, {}, "")
    vgg = count_of(vgg_19, channels=3, size=224)
    numbers = f"{vgg.parameters:,} | {vgg.multiply_adds / 1e9:.4f}"
    yield f"| VGG-19 (`resnet.vgg.vgg_19`) |  | 19 | {numbers} | 2015, Fig. 3: 19.6 × 10⁹ |\n"


def _line(name: str, changes: dict[str, Any], reference: str) -> str:
    network = changed(ARCHITECTURES[name], changes)
    number = counted(network)
    shown = f"{network.depth} | {number.parameters:,} | {number.multiply_adds / 1e9:.4f}"
    return f"| {name} | {_fields(changes)} | {shown} | {reference} |"


def _published(reference: str) -> str:
    """The reference of a row, in full words."""
    for short, long in (
        ("paper Table1 FLOPs ", "2015, Table 1: "),
        ("paper FLOPs ", "2015, Table 1: "),
        ("paper Table6 ", "2015, Table 6: "),
        ("paper2 ", "2016, Table 4: "),
        ("keras total ", "Keras, in all: "),
        ("torchvision ", "torchvision: "),
    ):
        reference = reference.replace(short, long)
    return re.sub(r"(\d)e9$", r"\1 × 10⁹", reference)


def _fields(changes: dict[str, Any]) -> str:
    return ", ".join(f"`{name}: {value}`" for name, value in changes.items())


def _variants() -> Iterator[str]:
    yield "## The shortcuts and orders of He et al. 2016\n"
    yield "As fields, here of `cifar-resnet-110`. Published errors: `resnet/paper/he2016_table1.csv`, `_table2.csv`.\n"
    yield "| 2016 | fields | parameters | multiply-adds, 10⁹ |\n|---|---|--:|--:|"
    for place, changes in VARIANTS:
        number = counted(changed(ARCHITECTURES["cifar-resnet-110"], changes))
        yield f"| {place} | {_fields(changes)} | {number.parameters:,} | {number.multiply_adds / 1e9:.4f} |"
    yield ""


def _table_of_fields() -> Iterator[str]:
    yield "## Fields\n"
    yield "What they mean and may be stands beside them in `resnet/architectures.py`. Two networks in full:\n"
    yield "| field | cifar-resnet-20 | keras-resnet50v2 |\n|---|---|---|"
    for field in fields(Architecture):
        values = (getattr(ARCHITECTURES[name], field.name) for name in ("cifar-resnet-20", "keras-resnet50v2"))
        yield f"| `{field.name}` | {' | '.join(str(value) for value in values)} |"
    yield ""


if __name__ == "__main__":
    run_stage(main)
