"""Deep residual learning (He et al. 2015): networks, training, evaluation, statistics and the paper's claims."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnet.architectures import ARCHITECTURES, Architecture, architecture
    from resnet.counting import Count, count
    from resnet.network import Network, build

__all__ = ["ARCHITECTURES", "Architecture", "Count", "Network", "architecture", "build", "count"]

# Imported at first use: reading a recipe does not import torch.
_HOMES = {
    "architectures": ("ARCHITECTURES", "Architecture", "architecture"),
    "counting": ("Count", "count"),
    "network": ("Network", "build"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"resnet.{module}"), name)
    raise AttributeError(f"module 'resnet' has no attribute {name!r}")
