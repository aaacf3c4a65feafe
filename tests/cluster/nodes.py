"""A Ray cluster of one head and some workers on this machine, with a token.

Where the machine allows it every node is in a network namespace with an address of its own, on one bridge, and has a
private session folder; else all are on 127.0.0.1 and differ by their ports.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE_S = 120.0
OBJECT_STORE_BYTES = 80 * 2**20
FORCE = "CLUSTER_NETWORK"  # set to `loopback` to have the second form where the first would do
MARK = "CLUSTER_NODE"  # in the environment of all processes of a node
RAY = str(Path(sys.executable).with_name("ray"))
SMALL = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # other tests' memory is not this cluster's
    "OMP_NUM_THREADS": "1",
}


@dataclass
class Node:
    """One node: its address, and the process group of `ray start --block`."""

    name: str
    ip: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def pids(self) -> list[int]:
        """All its processes, by a variable that they inherit: Ray detaches some, and their parents may be gone."""
        mark = f"{MARK}={self.log}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found

    def kill(self) -> None:
        """Until none of its processes is left: Ray starts some in sessions of their own."""
        deadline = time.monotonic() + 30
        while (pids := [pid for pid in self.pids() if _alive(pid)]) and time.monotonic() < deadline:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=0.2)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=10)


def _alive(pid: int) -> bool:
    """Zombies, which only their parent can take away, do not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass
class RayCluster:
    """Addresses, and what a client needs in its environment."""

    network: str  # "namespaces" or "loopback"
    gcs: str  # HOST:PORT
    dashboard: str  # URL
    token_file: Path
    nodes: list[Node] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_file)}


@contextmanager
def cluster(folder: Path, workers: int = 2) -> Iterator[RayCluster]:
    """Head without CPUs, workers with one each."""
    folder.mkdir(parents=True, exist_ok=True)
    token_file = folder / "token"
    token_file.touch(mode=0o600)
    token_file.write_text(secrets.token_hex(32))
    with contextlib.ExitStack() as stack:
        network = _network(stack, workers + 1)
        ips = network.ips if network else ["127.0.0.1"] * (workers + 1)
        port, dashboard_port = (6379, 8265) if network else (_free_port(), _free_port())
        made = RayCluster(
            network="namespaces" if network else "loopback",
            gcs=f"{ips[0]}:{port}",
            dashboard=f"http://{ips[0]}:{dashboard_port}",
            token_file=token_file,
        )
        head = ["--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=true", "--dashboard-host=0.0.0.0"]
        head += [f"--dashboard-port={dashboard_port}"]
        stack.callback(_end, made)
        for i in range(workers + 1):
            words = head if i == 0 else [f"--address={made.gcs}", "--num-cpus=1"]
            _start_until_up(folder, made, f"node{i}", ips[i], words, network.namespaces[i] if network else None)
        yield made


def _end(made: RayCluster) -> None:
    for node in reversed(made.nodes):
        node.kill()
    shutil.rmtree(_session(), ignore_errors=True)


def _session() -> Path:
    """Short, for the paths of sockets in it may have 107 bytes."""
    return Path("/tmp") / f"rc{os.getpid()}"


def _start_until_up(folder: Path, made: RayCluster, *where: Any) -> None:
    """Ray gives a node 30 s, which may be too few beside other tests: three attempts."""
    for _ in range(3):
        node = _start(folder, made, *where)
        made.nodes.append(node)
        if _is_up(made):
            return
        made.nodes.remove(node)
        node.kill()
    raise AssertionError(f"{node.name} did not come up: {node.log.read_text()[-3000:]}")


def _start(folder: Path, made: RayCluster, name: str, ip: str, words: list[str], namespace: str | None) -> Node:
    home = folder / name
    home.mkdir(exist_ok=True)
    start = [RAY, "start", *words, f"--object-store-memory={OBJECT_STORE_BYTES}", "--num-gpus=0", "--block"]
    if "--head" in words:
        start += [f"--temp-dir={_session()}"]
    if namespace is not None:  # with a private session folder: nodes that share one take each other's sockets
        private = f'mkdir -p {_session()} && mount -t tmpfs none {_session()} && exec "$@"'
        enter = ["ip", "netns", "exec", namespace, "unshare", "-m", "bash", "-c", private, "bash"]
        start = [*enter, *start, f"--node-ip-address={ip}"]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_", "DVC_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    environment = {**kept, **SMALL, **made.environment, "PATH": path, "HOME": str(home)}
    environment.pop("PYTHONPATH", None)
    log = folder / f"{name}.log"
    environment[MARK] = str(log)
    with log.open("wb") as out:
        process = subprocess.Popen(
            start, env=environment, stdout=out, stderr=subprocess.STDOUT, cwd=home, start_new_session=True
        )
    return Node(name, ip, process, log)


def _is_up(made: RayCluster) -> bool:
    """Waits until the dashboard knows all nodes; False where the last one has given up."""
    import requests

    headers = {"Authorization": f"Bearer {made.token_file.read_text()}"}
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and made.nodes[-1].process.poll() is None:
        with contextlib.suppress(requests.RequestException, KeyError, ValueError):
            answer = requests.get(f"{made.dashboard}/api/v0/nodes", headers=headers, timeout=10)
            found = answer.json()["data"]["result"]["result"]
            if sum(node["state"] == "ALIVE" for node in found) == len(made.nodes):
                return True
        time.sleep(0.2)
    return False


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@dataclass(frozen=True)
class Network:
    ips: list[str]
    namespaces: list[str]


def _network(stack: contextlib.ExitStack, nodes: int) -> Network | None:
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
        subprocess.run(["unshare", "-m", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        undo.close()
        return None
    stack.enter_context(undo)
    return Network([f"{subnet}.{i + 1}" for i in range(nodes)], names)


def _ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=True)
