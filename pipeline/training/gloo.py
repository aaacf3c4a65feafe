"""Torch's process group on the network that Ray's nodes use.

Gloo would take the address that the machine's own name stands for, which on many machines is 127.0.0.1, where no other
node finds it. Imports Ray Train.
"""

import os
from typing import Any

from ray.train.torch import TorchConfig

VARIABLE = "GLOO_SOCKET_IFNAME"


class OnRaysNetwork(TorchConfig):  # type: ignore[misc]
    @property
    def backend_cls(self) -> type:
        return _Backend


class _Backend(TorchConfig().backend_cls):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(use_rays_network)
        super().on_start(worker_group, backend_config)


def use_rays_network() -> None:
    """In a worker, before it joins the group. What a user has set stays."""
    import ray

    name = interface_of(ray.util.get_node_ip_address())
    if name is not None:
        os.environ.setdefault(VARIABLE, name)


def interface_of(address: str) -> str | None:
    """The network interface of this machine that has the address; None where none has, as behind a translation."""
    import psutil

    held = psutil.net_if_addrs().items()
    return next((name for name, has in held if address in (entry.address for entry in has)), None)
