"""Weights files of this project: safetensors with the architecture in the metadata. Nothing is unpickled."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet.architectures import Architecture
from resnet.network import Network
from resnet.weights.match import WrongWeights, fill

FORMAT = 1
ENTRY = "resnet"  # the one entry of the metadata: safetensors writes several in no fixed order


def encode(network: Network, notes: Mapping[str, str] | None = None) -> bytes:
    """Returns the content of a file: weights, running statistics, and what `decode` needs to build the network.

    `notes` say more about it, for `notes`. Equal networks and notes give equal bytes.
    """
    from safetensors.torch import save as to_bytes

    description = {
        "format": FORMAT,
        "architecture": dataclasses.asdict(network.architecture),
        "classes": network.classes,
        "channels": network.channels,
        "notes": dict(notes or {}),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    content: bytes = to_bytes(tensors, metadata={ENTRY: json.dumps(description, sort_keys=True)})
    return content


def decode(content: bytes, what: str = "weights") -> Network:
    """Returns the network of `encode`, on the CPU. Raises WrongWeights, whose text begins with `what`."""
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    try:
        tensors = from_bytes(content)
    except SafetensorError as error:
        raise WrongWeights(f"{what}: no safetensors file ({str(error).splitlines()[0]})") from None
    try:
        description = _description(content)
        if description["format"] != FORMAT:
            raise ValueError(f"format {description['format']!r}, this version reads {FORMAT}")
        classes, channels, table = description["classes"], description["channels"], description["architecture"]
        architecture = Architecture(**{**table, "blocks": tuple(table["blocks"])})
        if not all(type(n) is int and 1 <= n < 2**31 for n in (classes, channels)):
            raise ValueError(f"classes and channels must be positive integers, got {classes!r} and {channels!r}")
    except KeyError:
        raise WrongWeights(f"{what}: its metadata name no network; it was not written by this project") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise WrongWeights(f"{what}: its metadata describe no network ({error})") from None
    return fill(architecture, classes, channels, tensors, what)


def notes(content: bytes) -> dict[str, str]:
    """Returns the notes in a file that `decode` accepts; those of a run are `key` and `size`, in pixels."""
    found: dict[str, str] = _description(content).get("notes", {})
    return found


def _description(content: bytes) -> Any:
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return json.loads(header["__metadata__"][ENTRY])


def save(network: Network, path: Path) -> None:
    """Writes `encode(network)` to `path`."""
    path.write_bytes(encode(network))


def load(path: Path) -> Network:
    """Returns the network of a file of `save`, or of a run's weights.safetensors. Raises WrongWeights and OSError."""
    return decode(path.read_bytes(), path.name)
