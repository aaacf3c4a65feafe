"""What a network is in the words of the command line: the nearest name of ARCHITECTURES and the fields that differ."""

from dataclasses import fields
from typing import Any

import torch

from resnet.architectures import ARCHITECTURES, Architecture, architecture, changed
from resnet.counting import count
from resnet.network import Network, build
from resnet.weights.match import WrongWeights, compare

PIXELS = {"imagenet": 224, "cifar": 32}  # the paper's images, by stem


def named(name: str, settings: list[str]) -> Architecture:
    """The named network with `settings`, each FIELD=VALUE. Raises ValueError."""
    base = architecture(name)
    return changed(base, dict(_setting(base, setting) for setting in settings))


def _setting(base: Architecture, text: str) -> tuple[str, Any]:
    field, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set takes FIELD=VALUE, got {text!r}")
    kind = type(getattr(base, field, None))
    try:
        if kind is tuple:
            return field, tuple(int(number) for number in value.strip("[]()").split(","))
        return field, kind(value) if kind in (int, float) else value
    except ValueError:
        wanted = {int: "an integer", float: "a number"}.get(kind, "integers with commas between them")
        raise ValueError(f"{field} must be {wanted}, got {value!r}") from None


def differing(network: Architecture, other: Architecture) -> dict[str, Any]:
    """The fields of `network` that `other` has otherwise; a basic block has no 1x1 convolution to place a stride on."""
    ignored = {"stride_on"} if network.block == other.block == "basic" else set()
    names = [field.name for field in fields(Architecture) if field.name not in ignored]
    return {name: getattr(network, name) for name in names if getattr(network, name) != getattr(other, name)}


def nearest(network: Architecture) -> str:
    """For example "resnet-18 with shortcut=B": the listed network with the fewest other fields, of its family first."""
    fewest = {
        name: (len(differing(network, listed)), network.family != listed.family)
        for name, listed in ARCHITECTURES.items()
    }
    name = min(fewest, key=lambda name: fewest[name])
    changes = differing(network, ARCHITECTURES[name])
    return f"{name} with {', '.join(f'{k}={_text(v)}' for k, v in changes.items())}" if changes else name


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def describe(network: Network) -> str:
    """One line: name, classes, parameters and multiply-adds."""
    size = PIXELS[network.architecture.stem]
    counted = count(network.architecture, classes=network.classes, channels=network.channels, size=size)
    inputs = "" if network.channels == 3 else f"{network.channels}-channel images, "
    return (
        f"{nearest(network.architecture)}, {inputs}{network.classes} classes, {counted.parameters:,} parameters, "
        f"{counted.multiply_adds:,} multiply-adds at {size} pixels"
    )


def refuse_other(network: Network, wanted: Architecture, what: str) -> None:
    """Raises WrongWeights where `network` is no `wanted`, with the first tensors that differ, or else the fields."""
    with torch.device("meta"):
        expected = build(wanted, network.classes, network.channels)
    compare(_shapes(expected), _shapes(network), what)
    fields_of = differing(network.architecture, wanted)
    if fields_of:
        words = [f"{name} is {_text(v)}, not {_text(getattr(wanted, name))}" for name, v in fields_of.items()]
        raise WrongWeights(f"{what}: the same tensors, but {'; '.join(words)}")


def _shapes(network: Network) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
