"""Converts Keras Applications' ResNets, ResNet50 to ResNet152 and their V2, from the files that Keras writes.

V1 wants images as Caffe's: channels BGR, less their means; V2 wants RGB from -1 to 1. Both return logits here, whatever
activation Keras puts after them.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet.architectures import ARCHITECTURES
from resnet.network import Network, build
from resnet.weights.keras_files import Content, opened, read
from resnet.weights.match import WrongWeights, compare, fill

PUBLISHED = {f"keras-resnet{n}{v}": f"ResNet{n}{v.upper()}" for v in ("", "v2") for n in (50, 101, 152)}
ENDS = {"conv1.conv": "conv1_conv", "conv1.bn": "conv1_bn", "activation.bn": "post_bn", "head.fc": "predictions"}
NORMALISATION = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
LINEAR = {"weight": "kernel", "bias": "bias"}
CREATED = ("preact", "1", "2", "0", "3")  # Keras's order of a block's layers: the projection comes before the last
CLASSIFIER = {"predictions/kernel", "predictions/bias"}

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of the six networks compared with a file: the shapes that it should hold, and the variables that it has."""

    network: str
    classes: int
    channels: int
    expected: dict[str, Shape]  # in Keras's layout
    found: Mapping[str, Any]  # h5py.Dataset by the same names

    @property
    def shapes(self) -> dict[str, Shape]:
        return {name: tuple(variable.shape or ()) for name, variable in self.found.items()}

    @property
    def differing(self) -> list[str]:
        return [name for name, _ in self.expected.items() ^ self.shapes.items()]


def from_keras(path: Path) -> Network:
    """Returns the network of a .keras, .weights.h5 or .h5 file of one of the six; its shapes give network and classes.

    Tensors keep their type of float. Raises WrongWeights, with the first differing names and shapes (in Keras's
    layout: kernels are (H, W, I, O) and (I, O)), for anything else; OSError for a missing file.
    """
    what = path.name
    with opened(path) as content:
        nearest = min((_candidate(network, content) for network in PUBLISHED), key=lambda c: len(c.differing))
        _check(nearest, what)
        tensors = {
            ours: _ours(read(nearest.found[theirs(ours)], theirs(ours), what)) for ours in _shapes(nearest.network)
        }
    for name in [name for name in tensors if name.endswith("running_var")]:
        tensors[f"{name.removesuffix('running_var')}num_batches_tracked"] = torch.tensor(0)  # Keras does not count
    return fill(ARCHITECTURES[nearest.network], nearest.classes, nearest.channels, tensors, what)


def theirs(name: str) -> str:
    """Returns Keras's "layer/variable" of our tensor: conv2_x.0.shortcut.bn.bias is conv2_block1_0_bn/beta."""
    module, _, tensor = name.rpartition(".")
    layer = ENDS.get(module)
    if layer is None:
        match = re.fullmatch(r"conv([2-5])_x\.(\d+)\.(before|residual|shortcut)\.(conv|bn)(\d?)", module)
        assert match is not None, name
        stage, block, branch, kind, i = match.groups()
        number = {"before": "preact", "shortcut": "0"}.get(branch, i)
        layer = f"conv{stage}_block{int(block) + 1}_{number}_{kind}"
    return f"{layer}/{(NORMALISATION if layer.endswith('_bn') else LINEAR)[tensor]}"


@cache
def _shapes(network: str) -> dict[str, Shape]:
    """Returns shapes of our tensors that Keras has too, for 1000 classes and 3 channels."""
    with torch.device("meta"):
        state = build(network, classes=1000, channels=3).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def _candidate(network: str, content: Content) -> Candidate:
    expected = {theirs(name): _theirs(shape) for name, shape in _shapes(network).items()}
    found = content.variables if content.named else _renamed(content.variables, expected)
    channels = _size(found, "conv1_conv/kernel", (7, 7, None, 64)) or 3
    classes = _size(found, "predictions/kernel", (2048, None)) or 1000
    expected["conv1_conv/kernel"] = (7, 7, channels, 64)
    expected["predictions/kernel"], expected["predictions/bias"] = (2048, classes), (classes,)
    return Candidate(network, classes, channels, expected, found)


def _size(found: Mapping[str, Any], name: str, pattern: tuple[int | None, ...]) -> int | None:
    """Returns a tensor's size along the axis that `pattern` leaves open, if the others are as in `pattern`."""
    axis = pattern.index(None)
    shape: Shape = found[name].shape if name in found else ()
    return shape[axis] if shape[:axis] + shape[axis + 1 :] == pattern[:axis] + pattern[axis + 1 :] else None


def _theirs(shape: Shape) -> Shape:
    """(O, I, H, W) is (H, W, I, O), and (O, I) is (I, O)."""
    return shape[2:] + shape[1::-1] if len(shape) > 1 else shape


def _ours(tensor: Tensor) -> Tensor:
    """(H, W, I, O) to (O, I, H, W), and (I, O) to (O, I)."""
    return tensor.permute({4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[tensor.dim()]).contiguous()


def _check(nearest: Candidate, what: str) -> None:
    """Raises WrongWeights where the file does not hold the network that is nearest to it."""
    name = PUBLISHED[nearest.network]
    if set(nearest.differing) == CLASSIFIER and not CLASSIFIER & nearest.found.keys():
        raise WrongWeights(f"{what}: {name} without its classifier, so without logits; save it with include_top=True")
    compare(nearest.expected, nearest.shapes, f"{what}: not one of Keras Applications' six ResNets, nearest is {name}")


def _renamed(variables: Mapping[str, Any], expected: Iterable[str]) -> dict[str, Any]:
    """Names the variables of files without layers' names, by order: the i-th conv2d is Keras's i-th convolution."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for layer in sorted(dict.fromkeys(name.partition("/")[0] for name in expected), key=_place):
        kinds[{"conv": "conv2d", "bn": "batch_normalization"}.get(layer.rpartition("_")[2], "dense")].append(layer)
    names: dict[str, str] = {}
    for kind, layers in kinds.items():
        numbers = {}
        for name in variables:
            if match := re.fullmatch(rf"({kind}(?:_(\d+))?)/\w+", name):
                numbers[match[1]] = int(match[2] or 0)
        names |= zip(sorted(numbers, key=lambda layer: numbers[layer]), layers, strict=False)
    split = {name: name.partition("/") for name in variables}
    return {names.get(layer, layer) + slash + rest: variables[name] for name, (layer, slash, rest) in split.items()}


def _place(layer: str) -> tuple[int, int, int]:
    """Returns the position at which Keras counts a layer: stage, block, and order within the block."""
    match = re.fullmatch(r"conv(\d)_block(\d+)_(\w+)_(?:conv|bn)", layer)
    if match is None:
        return (1 if layer.startswith("conv1") else 6, 0, 0)
    return int(match[1]), int(match[2]), CREATED.index(match[3])
