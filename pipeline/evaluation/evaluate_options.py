"""The command line of `python -m pipeline.evaluate`: a stage's experiment, or weights and the images to try them on."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError

BATCH = 64  # images; decides no count


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What was asked of weights; None stands for what follows from the weights, or from the machine."""

    weights: Path
    data: Path
    network: str | None = None
    preprocessing: str | None = None
    mean: Path | None = None
    resize: int | None = None
    crop: int | None = None
    batch_size: int = BATCH
    workers: int | None = None
    device: str | None = None
    precision: str = "fp32"
    json: Path | None = None


def add(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("weights on a tree of images, in place of an experiment")
    add = group.add_argument
    add("--weights", type=Path, metavar="FILE", help="of this project, of torchvision (.pth) or of Keras Applications")
    add("--data", type=Path, metavar="FOLDER", help="images as FOLDER/CLASS/IMAGE, JPEG or PNG; for ImageNet val")
    add("--network", metavar="NAME", help="refuse weights of another network: resnet-50, keras-resnet50v2, resnet50")
    add("--preprocessing", metavar="NAME", help="torchvision, torchvision-v2, keras-caffe, keras-tf or paper; usually "
        "keras-caffe and keras-tf for Keras's networks, torchvision for others")  # fmt: skip
    add("--mean", type=Path, metavar="FILE.npy", help="per-pixel mean for --preprocessing paper: data/NAME/mean.npy")
    add("--resize", type=int, metavar="N", help="pixels of the shorter side (232 or 256 by the preprocessing)")
    add("--crop", type=int, metavar="N", help="pixels a side of the centre crop (224)")
    add("--batch-size", type=int, metavar="N", help=f"images at a time ({BATCH}); decides no count")
    add("--workers", type=int, metavar="N", help="processes that decode images; 0 decodes in this one")
    add("--device", metavar="cpu|cuda", help="cuda where there is one")
    add("--precision", metavar="fp32|tf32|bf16", help="of the arithmetic (fp32); with another, batch norm is folded, "
        "and what that changes in the top-1 error is measured on the first images")  # fmt: skip
    add("--json", type=Path, metavar="OUT", help="also write the figures to this file")


def read(parsed: argparse.Namespace) -> Options | None:
    """None where an experiment was named. Raises UserError for what does not go together."""
    values = {name: value for name, value in vars(parsed).items() if name != "experiment" and value is not None}
    if parsed.experiment is not None:
        if values:
            raise UserError(f"{_option(values)} and the experiment {parsed.experiment!r} exclude each other; drop one")
        return None
    if "weights" not in values:
        if values:
            raise UserError(f"{_option(values)} belongs to --weights FILE --data FOLDER; add them")
        raise UserError("name an experiment of params.yaml, or weights with --weights FILE --data FOLDER")
    if "data" not in values:
        raise UserError("--weights needs images: add --data FOLDER, with FOLDER/CLASS/IMAGE")
    for name, least in (("batch_size", 1), ("workers", 0)):
        if values.get(name, least) < least:
            raise UserError(f"--{name.replace('_', '-')} must be at least {least}, got {values[name]}")
    return Options(**values)


def _option(values: dict[str, object]) -> str:
    return f"--{next(iter(values)).replace('_', '-')}"
