"""The networks as data: Table 1 and Sec. 4.2 of He et al. 2015, and their successors of He et al. 2016.

"2015" below is arXiv:1512.03385, "2016" is arXiv:1603.05027. What others changed are fields too: torchvision's stride
in the 3x3 convolution ("V1.5"), and the biases, epsilon, pooling and strides of Keras Applications.
"""

from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Literal, get_args

Stem = Literal["imagenet", "cifar"]  # 7x7/2 convolution and 3x3/2 max pooling | one 3x3 convolution
Kind = Literal["basic", "bottleneck"]  # 2015, Fig. 5 left | right
Shortcut = Literal["none", "A", "B", "C"]  # 2015, Sec. 4.1; "none" is the plain network
StrideOn = Literal["1x1", "3x3"]  # which convolution of a bottleneck halves the feature map
StrideIn = Literal["first", "last"]  # which block of a stage does; the paper's is the first of the next stage
Unit = Literal[  # 2016, Fig. 4 a to e: where batch normalisation and ReLU are
    "original", "bn-after-addition", "relu-before-addition", "relu-only-preactivation", "preactivation"
]
Gate = Literal["none", "exclusive", "shortcut-only"]  # 2016, Fig. 2 c and d
FirstActivation = Literal["conv1", "pool"]  # the layer that a pre-activation network's first BN and ReLU follow
Initialisation = Literal["he", "identity"]  # 2015, Sec. 3.4 | Dirac kernels (Zagoruyko and Komodakis 2017)
Bias = Literal["none", "ends", "all"]  # which convolutions have one: "ends" are the stem's, a block's last, projections

EXPANSION = 4  # output channels of a bottleneck over the channels of its 3x3 convolution (2015, Table 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """One network without its classifier's size.

    Equal architectures are the same network: `stride_on` is 1x1 for basic blocks, which have no such choice. Raises
    ValueError, naming the field, for values that make no network.
    """

    stem: Stem
    block: Kind
    blocks: tuple[int, ...]  # number of blocks in conv2_x, conv3_x, ...
    width: int  # channels of the 3x3 convolutions in conv2_x, doubled from stage to stage
    shortcut: Shortcut
    stride_on: StrideOn = "1x1"  # the paper's; torchvision's "V1.5" is 3x3
    unit: Unit = "original"  # 2016, Fig. 4; "preactivation" is "V2"
    shortcut_scale: float = 1.0  # 2016, Sec. 3.1: a constant on the shortcut
    residual_scale: float = 1.0  # and on F
    gate: Gate = "none"  # 2016, Sec. 3.1: a 1x1 convolution and a sigmoid weigh the shortcut, and F too
    gate_bias: float = -6.0  # b_g, with which the gate's bias starts
    shortcut_dropout: float = 0.0  # 2016, Sec. 3.1: fraction of the shortcut's values that are dropped
    stride_in: StrideIn = "first"  # Keras V2: last
    first_activation: FirstActivation = "conv1"  # Keras V2: pool, which then sees raw values and pads them with zeros
    bias: Bias = "none"  # Keras V1: all, V2: ends
    bn_epsilon: float = 1e-5  # Keras: 1.001e-5
    initialisation: Initialisation = "he"  # see resnet.network.initialise

    def __post_init__(self) -> None:
        for field, allowed in _CHOICES.items():
            value = getattr(self, field)
            if value not in get_args(allowed):
                raise ValueError(f"{field} must be one of {', '.join(get_args(allowed))}, got {value!r}")
        if self.block == "basic":
            object.__setattr__(self, "stride_on", "1x1")
        if not 1 <= len(self.blocks) <= 4 or any(not 1 <= n <= 1000 for n in self.blocks):
            raise ValueError(f"blocks must be 1 to 4 numbers from 1 to 1000, one a stage, got {list(self.blocks)}")
        if not 1 <= self.width <= 4096:
            raise ValueError(f"width must be from 1 to 4096 channels, got {self.width}")
        for field, low, high in _RANGES:
            if not low <= getattr(self, field) <= high:  # also refuses NaN
                raise ValueError(f"{field} must be from {low:g} to {high:g}, got {getattr(self, field)}")
        weighed = [f for f in _OF_SHORTCUTS if getattr(self, f) != _DEFAULTS[f]]
        if self.shortcut == "none" and weighed:
            raise ValueError(f"{weighed[0]} belongs to a shortcut, but shortcut is none")
        if self.first_activation == "pool" and self.unit != "preactivation":
            raise ValueError(f"first_activation pool belongs to unit preactivation, but unit is {self.unit}")
        if self.gate != "none" and (self.shortcut_scale, self.residual_scale) != (1.0, 1.0):
            raise ValueError(f"gate {self.gate} and constant scaling exclude each other (2016, Table 1)")

    @property
    def depth(self) -> int:
        """The number of weighted layers on the main path, as the paper counts: without projections and gates."""
        return 2 + sum(self.blocks) * (2 if self.block == "basic" else 3)

    @property
    def family(self) -> Literal["plain", "residual"]:
        return "plain" if self.shortcut == "none" else "residual"

    @property
    def preactivated(self) -> bool:
        """Whether an activation precedes the convolutions (2016, Fig. 4 d and e)."""
        return self.unit in ("relu-only-preactivation", "preactivation")


_CHOICES: dict[str, Any] = {
    "stem": Stem,
    "block": Kind,
    "shortcut": Shortcut,
    "stride_on": StrideOn,
    "unit": Unit,
    "gate": Gate,
    "stride_in": StrideIn,
    "first_activation": FirstActivation,
    "bias": Bias,
    "initialisation": Initialisation,
}
_RANGES = (
    ("shortcut_scale", 0.0, 10.0),
    ("residual_scale", 0.0, 10.0),
    ("gate_bias", -100.0, 100.0),
    ("shortcut_dropout", 0.0, 0.99),
    ("bn_epsilon", 1e-12, 1.0),
)
_OF_SHORTCUTS = ("shortcut_scale", "residual_scale", "gate", "shortcut_dropout")
_DEFAULTS = {field.name: field.default for field in fields(Architecture)}


def _imagenet(block: Kind, blocks: tuple[int, ...], shortcut: Shortcut) -> Architecture:
    return Architecture(stem="imagenet", block=block, blocks=blocks, width=64, shortcut=shortcut)


def _cifar(n: int, shortcut: Shortcut, block: Kind = "basic") -> Architecture:
    return Architecture(stem="cifar", block=block, blocks=(n, n, n), width=16, shortcut=shortcut)


def _preactivated(named: Architecture) -> Architecture:
    """2016, Fig. 4 e: "full pre-activation"."""
    return replace(named, unit="preactivation")


def _keras(blocks: tuple[int, ...]) -> Architecture:
    return replace(_imagenet("bottleneck", blocks, "B"), bias="all", bn_epsilon=1.001e-5)


def _keras_v2(blocks: tuple[int, ...]) -> Architecture:
    halving: dict[str, Any] = {"stride_on": "3x3", "stride_in": "last", "first_activation": "pool"}
    return replace(_preactivated(_keras(blocks)), bias="ends", **halving)


# fmt: off
ARCHITECTURES: dict[str, Architecture] = {
    "plain-18":   _imagenet("basic",      (2, 2, 2, 2),  "none"),
    "plain-34":   _imagenet("basic",      (3, 4, 6, 3),  "none"),
    "plain-50":   _imagenet("bottleneck", (3, 4, 6, 3),  "none"),  # 2015, footnote 4: the degradation "is also
    "plain-101":  _imagenet("bottleneck", (3, 4, 23, 3), "none"),  # witnessed for the bottleneck designs"
    "plain-152":  _imagenet("bottleneck", (3, 8, 36, 3), "none"),
    "resnet-18":  _imagenet("basic",      (2, 2, 2, 2),  "A"),     # Table 2 compares option A; B and C of
    "resnet-34":  _imagenet("basic",      (3, 4, 6, 3),  "A"),     # Table 3 are the field `shortcut`
    "resnet-50":  _imagenet("bottleneck", (3, 4, 6, 3),  "B"),     # "We use option B for increasing dimensions"
    "resnet-101": _imagenet("bottleneck", (3, 4, 23, 3), "B"),
    "resnet-152": _imagenet("bottleneck", (3, 8, 36, 3), "B"),
    "resnet-200": _imagenet("bottleneck", (3, 24, 36, 3), "B"),    # 2016, Table 5
    "preact-resnet-152": _preactivated(_imagenet("bottleneck", (3, 8, 36, 3), "B")),
    "preact-resnet-200": _preactivated(_imagenet("bottleneck", (3, 24, 36, 3), "B")),
    **{f"cifar-plain-{6 * n + 2}":  _cifar(n, "none") for n in (3, 5, 7, 9, 18, 200)},
    **{f"cifar-resnet-{6 * n + 2}": _cifar(n, "A")    for n in (3, 5, 7, 9, 18, 200)},
    **{f"cifar-resnet-{9 * n + 2}": _cifar(n, "B", "bottleneck") for n in (18, 111)},  # 2016, Sec. 4
    "cifar-preact-110": _preactivated(_cifar(18, "A")),
    **{f"cifar-preact-{9 * n + 2}": _preactivated(_cifar(n, "B", "bottleneck")) for n in (18, 111)},
    "keras-resnet50":    _keras((3, 4, 6, 3)),
    "keras-resnet101":   _keras((3, 4, 23, 3)),
    "keras-resnet152":   _keras((3, 8, 36, 3)),
    "keras-resnet50v2":  _keras_v2((3, 4, 6, 3)),
    "keras-resnet101v2": _keras_v2((3, 4, 23, 3)),
    "keras-resnet152v2": _keras_v2((3, 8, 36, 3)),
}
# fmt: on

CIFAR_FAMILIES = ("cifar-plain", "cifar-resnet", "cifar-preact")


def architecture(name: str) -> Architecture:
    """Returns the named network. Raises ValueError with the known names, or the nearest depths."""
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    known = f"known networks: {', '.join(ARCHITECTURES)}"
    family, _, depth = name.rpartition("-")
    if family in CIFAR_FAMILIES and depth.isascii() and depth.isdigit() and len(depth) < 6:
        n, rest = divmod(int(depth) - 2, 6)
        if n < 1 or rest:
            low = max(n, 1) * 6 + 2
            raise ValueError(f"{name!r}: depth must be 6n+2 (Sec. 4.2), nearest are {low} and {low + 6}; {known}")
        listed = f"{family}-110"
        raise ValueError(f"{name!r} is not listed; set `architecture: {listed}` and `blocks: [{n}, {n}, {n}]`")
    near = get_close_matches(name, ARCHITECTURES, 1)
    raise ValueError(f"unknown network {name!r}{f', did you mean {near[0]}?' if near else ''}; {known}")


def changed(base: Architecture, changes: dict[str, Any]) -> Architecture:
    """Returns `base` with some fields replaced. Raises ValueError for an unknown field."""
    names = [field.name for field in fields(Architecture)]
    for name in changes:
        if name not in names:
            near = get_close_matches(name, names, 1)
            hint = f", did you mean {near[0]}?" if near else ""
            raise ValueError(f"an architecture has no field {name!r}{hint}; it has {', '.join(names)}")
    return replace(base, **changes)


def same_but(a: Architecture, b: Architecture, *free: str) -> bool:
    """Whether two architectures agree in every field that is not `free`."""
    return all(
        getattr(a, field.name) == getattr(b, field.name) for field in fields(Architecture) if field.name not in free
    )
