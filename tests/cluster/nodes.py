"""A Ray cluster of one head and some workers on this machine, with a token.

Where the machine allows it every node is in a network namespace with an address of its own, on one bridge, and has a
private session folder; else all are on 127.0.0.1 and differ by their ports.
"""

import contextlib
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.cluster.network import Network, members, network

PATIENCE_S = 120.0
OBJECT_STORE_BYTES = 80 * 2**20
MARK = "CLUSTER_NODE"  # in the environment of all processes of a node
RAY = str(Path(sys.executable).with_name("ray"))
SMALL = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # other tests' memory is not this cluster's
    "OMP_NUM_THREADS": "1",
}
# Ray asks every node every 3 s, waits 10 s for its answer, and takes it for dead after 5 times: a node that is silent
# would stop the tests for a minute. These are settings of Ray that users have too.
QUICK = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1500",
    "RAY_health_check_failure_threshold": "4",
}


@dataclass
class Node:
    """One node: its address, and the process group of `ray start --block`."""

    name: str
    ip: str
    process: "subprocess.Popen[bytes]"
    log: Path
    namespace: str | None  # of its own, which no other process uses

    @property
    def up(self) -> bool:
        """Whether Ray has reported it: the node is then one of the cluster."""
        return self.process.poll() is None and b"Ray runtime started" in self.log.read_bytes()

    def pids(self) -> set[int]:
        """All its processes that are alive: by a variable that they inherit, and all that descend from those.

        Ray's workers and agents write their titles over their environment, and some have lost their parents: in the
        namespace of a worker node they are found as well.
        """
        mark, marked, children = f"{MARK}={self.log}".encode(), set[int](), defaultdict[int, set[int]](set)
        for pid in (int(path.name) for path in Path("/proc").glob("[0-9]*")):
            with contextlib.suppress(OSError):
                state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
                if state == "Z":  # which only its parent can take away
                    continue
                children[int(parent)].add(pid)
                if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") or pid == self.process.pid:
                    marked.add(pid)
        marked |= set(members(self.namespace)) if self.namespace else set()
        found, more = set[int](), marked
        while more:
            found |= more
            more = {child for pid in more for child in children[pid]} - found
        return found

    def kill(self) -> None:
        """Kills until none of its processes is left: Ray starts some in sessions of their own."""
        deadline = time.monotonic() + 30
        while (pids := self.pids()) and time.monotonic() < deadline:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=0.2)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=10)


@dataclass
class RayCluster:
    """A head and workers, of which any may be killed and started again."""

    folder: Path
    links: Network | None  # None: all nodes are on 127.0.0.1
    gcs: str  # HOST:PORT
    dashboard: str  # URL; "" where there is none
    token_file: Path
    settings: dict[str, str]  # more environment of all nodes
    nodes: list[Node] = field(default_factory=list)
    lives: int = 0  # how many nodes have been started, with those that were killed

    @property
    def network(self) -> Literal["namespaces", "loopback"]:
        return "namespaces" if self.links else "loopback"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that a client needs."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_file)}

    def start(self, index: int) -> Node:
        """Starts node `index`, the head where that is 0. Does not wait until it is up."""
        self.lives += 1
        name = f"node{index}"
        home = self.folder / name
        home.mkdir(exist_ok=True)
        log = self.folder / f"{name}.{self.lives}.log"
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_", "DVC_"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
        own = {"PATH": path, "HOME": str(home), MARK: str(log)}
        if self.links:
            own["GLOO_SOCKET_IFNAME"] = "eth0"  # the host name may be that of the loopback device
        environment = {**kept, **SMALL, **self.settings, **self.environment, **own}
        environment.pop("PYTHONPATH", None)
        with log.open("wb") as out:
            process = subprocess.Popen(
                self._words(index),
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=home,
                start_new_session=True,
            )
        ip = self.links.ips[index] if self.links else "127.0.0.1"
        alone = self.links.namespaces[index] if self.links and index > 0 else None  # stages run where the head is
        node = Node(name, ip, process, log, alone)
        self.nodes[index : index + 1] = [node]
        return node

    def start_until_up(self, *indices: int) -> None:
        """Starts several at once. Ray gives a node 30 s, which may be too few next to other tests: three attempts."""
        left = list(indices)
        for _ in range(3):
            for index in left:
                self.start(index)
            left = [index for index in left if not self._is_up(self.nodes[index])]
            for index in left:
                self.nodes[index].kill()
        for index in left:
            log = self.nodes[index].log.read_text()[-3000:]
            raise AssertionError(f"{self.nodes[index].name} did not come up: {log}")

    def inside(self, index: int, folder: Path, *words: str) -> list[str]:
        """The command in the namespaces of a node that is up: what a user types on that machine.

        It does not see the processes of other nodes: a driver of Ray would take their raylets for its own node's.
        """
        if self.links is None:
            return list(words)
        others = sorted(pid for node in self.nodes if node is not self.nodes[index] for pid in node.pids())
        hide = f"for pid in {' '.join(map(str, others))}; do mount -t tmpfs none /proc/$pid 2>/dev/null; done"
        there = ["nsenter", "-t", str(self.nodes[index].process.pid), "-n", "-m", "unshare", "-m"]
        return [*there, "bash", "-c", f'{hide}; cd {shlex.quote(str(folder))} && exec "$@"', "bash", *words]

    def _words(self, index: int) -> list[str]:
        start = [RAY, "start", f"--object-store-memory={OBJECT_STORE_BYTES}", "--num-gpus=0", "--block"]
        if index > 0:
            start += [f"--address={self.gcs}", "--num-cpus=1"]
        else:
            start += ["--head", f"--port={self.gcs.rpartition(':')[2]}", "--num-cpus=0", f"--temp-dir={_session()}"]
            start += [f"--include-dashboard={'true' if self.dashboard else 'false'}"]
            if self.dashboard:
                start += ["--dashboard-host=0.0.0.0", f"--dashboard-port={self.dashboard.rpartition(':')[2]}"]
            else:
                start += ["--no-monitor"]
        if not self.dashboard:
            start += ["--include-log-monitor=false"]
        if self.links is None:
            return start
        # with a private session folder: nodes that share one take each other's sockets
        private = f'mkdir -p {_session()} && mount -t tmpfs none {_session()} && exec "$@"'
        enter = ["ip", "netns", "exec", self.links.namespaces[index]]
        enter += ["unshare", "-m", "bash", "-c", private, "bash"]
        return [*enter, *start, f"--node-ip-address={self.links.ips[index]}"]

    def _is_up(self, node: Node) -> bool:
        """Waits until Ray reports it, and the dashboard, if any, knows all nodes; False where the node gave up."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and node.process.poll() is None:
            if node.up and (not self.dashboard or self._known() == len(self.nodes)):
                return True
            time.sleep(0.2)
        return False

    def _known(self) -> int:
        """The number of nodes that are alive, by the dashboard."""
        import requests

        headers = {"Authorization": f"Bearer {self.token_file.read_text()}"}
        with contextlib.suppress(requests.RequestException, KeyError, ValueError):
            answer = requests.get(f"{self.dashboard}/api/v0/nodes", headers=headers, timeout=10)
            return sum(node["state"] == "ALIVE" for node in answer.json()["data"]["result"]["result"])
        return 0


@contextmanager
def cluster(
    folder: Path, workers: int = 2, *, dashboard: bool = True, settings: dict[str, str] | None = None
) -> Iterator[RayCluster]:
    """Head without CPUs, workers with one each. Without a dashboard there are few processes: nodes are up sooner."""
    folder.mkdir(parents=True, exist_ok=True)
    token_file = folder / "token"
    token_file.touch(mode=0o600)
    token_file.write_text(secrets.token_hex(32))
    with contextlib.ExitStack() as stack:
        net = network(stack, workers + 1)
        ip = net.ips[0] if net else "127.0.0.1"
        port, dashboard_port = (6379, 8265) if net else (_free_port(), _free_port())
        shown = f"http://{ip}:{dashboard_port}" if dashboard else ""
        made = RayCluster(folder, net, f"{ip}:{port}", shown, token_file, settings or {})
        stack.callback(_end, made)
        made.start_until_up(0)
        made.start_until_up(*range(1, workers + 1))
        yield made


def _end(made: RayCluster) -> None:
    for node in reversed(made.nodes):
        node.kill()
    shutil.rmtree(_session(), ignore_errors=True)


def _session() -> Path:
    """The session folder: a short path, because those of sockets in it may have 107 bytes."""
    return Path("/tmp") / f"rc{os.getpid()}"


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
