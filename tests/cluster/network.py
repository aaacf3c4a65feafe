"""A network namespace for each node of a cluster, with an address of its own on one bridge, and a link that can be cut.

Needs root and the commands `ip` and `unshare`.
"""

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass

FORCE = "CLUSTER_NETWORK"  # set to `loopback` to have no namespaces where they would be allowed


@dataclass(frozen=True)
class Network:
    tag: str
    ips: list[str]
    namespaces: list[str]

    def cut(self, node: int) -> None:
        """Cuts the node off: no packet passes, and none is refused."""
        _ip("link", "set", f"{self.tag}v{node}", "down")

    def restore(self, node: int) -> None:
        _ip("link", "set", f"{self.tag}v{node}", "up")


def network(stack: contextlib.ExitStack, nodes: int) -> Network | None:
    """A bridge that this machine is on, and a namespace a node; None where that is not allowed."""
    if os.environ.get(FORCE) == "loopback" or shutil.which("ip") is None or shutil.which("unshare") is None:
        return None
    tag, subnet = f"rc{os.getpid() % 10**7}", f"10.{64 + os.getpid() % 128}.{os.getpid() // 128 % 256}"
    names = [f"{tag}n{i}" for i in range(nodes)]
    undo = contextlib.ExitStack()
    try:
        undo.callback(_ip, "link", "del", tag, check=False)
        _ip("link", "add", tag, "type", "bridge")
        _ip("addr", "add", f"{subnet}.254/24", "dev", tag)
        _ip("link", "set", tag, "up")
        for i, name in enumerate(names):
            undo.callback(_ip, "netns", "del", name, check=False)
            _ip("netns", "add", name)
            _ip("link", "add", f"{tag}v{i}", "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", f"{tag}v{i}", "master", tag, "up")
            _ip("-n", name, "addr", "add", f"{subnet}.{i + 1}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "route", "add", "default", "dev", "eth0")  # a driver of Ray learns its own address by it
        subprocess.run(["unshare", "-m", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        undo.close()
        return None
    stack.enter_context(undo)
    return Network(tag, [f"{subnet}.{i + 1}" for i in range(nodes)], names)


def allowed() -> bool:
    """Whether this machine allows network namespaces."""
    with contextlib.ExitStack() as stack:
        return network(stack, 1) is not None


def members(namespace: str) -> list[int]:
    """The processes in the namespace."""
    return [int(pid) for pid in _ip("netns", "pids", namespace).split()]


def _ip(*words: str, check: bool = True) -> str:
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True).stdout
