"""Our own files: safetensors with the architecture in the metadata. Nothing is unpickled."""

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
    """The content of a file: weights and running statistics, and what `decode` needs to build the network.

    Equal networks and notes give equal bytes.
    """
    from safetensors.torch import save as to_bytes

    described = {
        "format": FORMAT,
        "architecture": dataclasses.asdict(network.architecture),
        "classes": network.classes,
        "channels": network.channels,
        "notes": dict(notes or {}),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    content: bytes = to_bytes(tensors, metadata={ENTRY: json.dumps(described, sort_keys=True)})
    return content


def decode(content: bytes, what: str = "weights") -> Network:
    """The network of `encode`, on the CPU. Raises WrongWeights, beginning with `what`."""
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    try:
        tensors = from_bytes(content)
    except SafetensorError as error:
        raise WrongWeights(f"{what}: no safetensors file ({str(error).splitlines()[0]})") from None
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    try:
        described = json.loads(header["__metadata__"][ENTRY])
        if described["format"] != FORMAT:
            raise WrongWeights(f"{what}: format {described['format']!r}, this version reads {FORMAT}")
        architecture = _architecture(described["architecture"])
        classes, channels = described["classes"], described["channels"]
        sizes = (classes, channels, architecture.width, *architecture.blocks)
        if not all(type(n) is int and 1 <= n < 2**31 for n in sizes):
            raise ValueError(f"sizes must be positive integers, got {list(sizes)}")
    except KeyError:
        raise WrongWeights(f"{what}: its metadata name no network; it was not written by this project") from None
    except (TypeError, ValueError, AttributeError) as error:
        if isinstance(error, WrongWeights):
            raise
        raise WrongWeights(f"{what}: its metadata describe no network ({error})") from None
    return fill(architecture, classes, channels, tensors, what)


def _architecture(table: dict[str, Any]) -> Architecture:
    return Architecture(**{**table, "blocks": tuple(table["blocks"])})


def save(network: Network, path: Path) -> None:
    """Writes `encode(network)` to `path`."""
    path.write_bytes(encode(network))


def load(path: Path) -> Network:
    """The network of a file of `save`, or of a run's weights.safetensors. Raises WrongWeights and OSError."""
    return decode(path.read_bytes(), path.name)
