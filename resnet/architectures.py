"""The networks of the paper as data: Table 1 and Sec. 4.2 of He et al. 2015. Imports no torch."""

from dataclasses import dataclass
from typing import Literal, get_args

Stem = Literal["imagenet", "cifar"]  # 7x7/2 convolution and 3x3/2 max pooling | one 3x3 convolution
Kind = Literal["basic", "bottleneck"]  # Fig. 5 left | right
Shortcut = Literal["none", "A", "B", "C"]  # Sec. 4.1; "none" is the plain network
StrideOn = Literal["1x1", "3x3"]  # which convolution of a bottleneck halves the feature map


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """One network without its classifier's size.

    Raises ValueError, naming the field, for values that no network of the paper has.
    """

    stem: Stem
    block: Kind
    blocks: tuple[int, ...]  # number of blocks in conv2_x, conv3_x, ...
    width: int  # channels of the 3x3 convolutions in conv2_x, doubled from stage to stage
    shortcut: Shortcut
    stride_on: StrideOn = "1x1"  # the paper's; torchvision's "V1.5" is 3x3

    def __post_init__(self) -> None:
        for field, allowed in (("stem", Stem), ("block", Kind), ("shortcut", Shortcut), ("stride_on", StrideOn)):
            value = getattr(self, field)
            if value not in get_args(allowed):
                raise ValueError(f"{field} must be one of {', '.join(get_args(allowed))}, got {value!r}")
        if not 1 <= len(self.blocks) <= 4 or any(not 1 <= n <= 1000 for n in self.blocks):
            raise ValueError(f"blocks must be 1 to 4 numbers from 1 to 1000, one a stage, got {list(self.blocks)}")
        if not 1 <= self.width <= 4096:
            raise ValueError(f"width must be from 1 to 4096 channels, got {self.width}")

    @property
    def depth(self) -> int:
        """Weighted layers on the main path, as the paper counts them: without projection shortcuts."""
        return 2 + sum(self.blocks) * (2 if self.block == "basic" else 3)

    @property
    def family(self) -> Literal["plain", "residual"]:
        return "plain" if self.shortcut == "none" else "residual"


def _imagenet(block: Kind, blocks: tuple[int, ...], shortcut: Shortcut) -> Architecture:
    return Architecture(stem="imagenet", block=block, blocks=blocks, width=64, shortcut=shortcut)


def _cifar(n: int, shortcut: Shortcut) -> Architecture:
    return Architecture(stem="cifar", block="basic", blocks=(n, n, n), width=16, shortcut=shortcut)


# fmt: off
ARCHITECTURES: dict[str, Architecture] = {
    "plain-18":   _imagenet("basic",      (2, 2, 2, 2),  "none"),
    "plain-34":   _imagenet("basic",      (3, 4, 6, 3),  "none"),
    "resnet-18":  _imagenet("basic",      (2, 2, 2, 2),  "A"),     # Table 2 compares option A; B and C of
    "resnet-34":  _imagenet("basic",      (3, 4, 6, 3),  "A"),     # Table 3 are the field `shortcut`
    "resnet-50":  _imagenet("bottleneck", (3, 4, 6, 3),  "B"),     # "We use option B for increasing dimensions"
    "resnet-101": _imagenet("bottleneck", (3, 4, 23, 3), "B"),
    "resnet-152": _imagenet("bottleneck", (3, 8, 36, 3), "B"),
    **{f"cifar-plain-{6 * n + 2}":  _cifar(n, "none") for n in (3, 5, 7, 9, 18)},
    **{f"cifar-resnet-{6 * n + 2}": _cifar(n, "A")    for n in (3, 5, 7, 9, 18, 200)},
}
# fmt: on


def architecture(name: str) -> Architecture:
    """The named network. Raises ValueError with what is known, and for the CIFAR family with the nearest depths."""
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    known = f"known networks: {', '.join(ARCHITECTURES)}"
    family, _, depth = name.rpartition("-")
    if family in ("cifar-plain", "cifar-resnet") and depth.isascii() and depth.isdigit() and len(depth) < 6:
        n, rest = divmod(int(depth) - 2, 6)
        if n < 1 or rest:
            low = max(n, 1) * 6 + 2
            raise ValueError(f"{name!r}: depth must be 6n+2 (Sec. 4.2), nearest are {low} and {low + 6}; {known}")
        raise ValueError(f"{name!r} is not listed; set `architecture: {family}-20` and `blocks: [{n}, {n}, {n}]`")
    raise ValueError(f"unknown network {name!r}; {known}")
