"""Describes networks in the words of the command line: the nearest name of ARCHITECTURES and the fields that differ."""

from dataclasses import fields, replace
from typing import Any

from resnet.architectures import ARCHITECTURES, Architecture, architecture, changed
from resnet.counting import count
from resnet.network import Network

PIXELS = {"imagenet": 224, "cifar": 32}  # height and width of the paper's images, by stem


def named(name: str, settings: list[str]) -> Architecture:
    """Returns the named network with `settings`, each FIELD=VALUE. Raises ValueError."""
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


def is_called(network: Architecture, name: str) -> bool:
    """Whether the network has this name of ARCHITECTURES. Raises ValueError for an unknown name.

    The name of a residual network leaves the shortcut's option open, and the convolution that halves: torchvision's
    resnet50 is a resnet-50 as the paper's is. Keras's names mean all fields of Keras's networks.
    """
    named = architecture(name)
    if not name.startswith("keras-") and network.family == named.family:
        network = replace(network, shortcut=named.shortcut, stride_on=named.stride_on)
    return network == named


def differing(network: Architecture, other: Architecture) -> dict[str, Any]:
    """Returns the fields of `network` in which `other` differs."""
    values = {field.name: getattr(network, field.name) for field in fields(Architecture)}
    return {name: value for name, value in values.items() if value != getattr(other, name)}


def text_of_difference(network: Architecture, wanted: Architecture) -> str:
    """Returns for example "shortcut is B, not A", or nothing for equal networks."""
    found = differing(network, wanted).items()
    return "; ".join(f"{field} is {_text(value)}, not {_text(getattr(wanted, field))}" for field, value in found)


def nearest(network: Architecture) -> str:
    """Returns for example "resnet-18 with shortcut=B": the listed network that differs least, of its family first."""
    name = min(
        ARCHITECTURES,
        key=lambda name: (len(differing(network, known := ARCHITECTURES[name])), network.family != known.family),
    )
    changes = ", ".join(f"{field}={_text(value)}" for field, value in differing(network, ARCHITECTURES[name]).items())
    return f"{name} with {changes}" if changes else name


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def describe(network: Network, size: int | None) -> str:
    """Returns one line: name, classes, parameters, and multiply-adds for images of `size` or the paper's pixels."""
    size = size or PIXELS[network.architecture.stem]
    counted = count(network.architecture, classes=network.classes, channels=network.channels, size=size)
    inputs = "" if network.channels == 3 else f"{network.channels}-channel images, "
    return (
        f"{nearest(network.architecture)}, {inputs}{network.classes} classes, {counted.parameters:,} parameters, "
        f"{counted.multiply_adds:,} multiply-adds at {size} pixels"
    )
