"""What the scenarios on a cluster share: its nodes, an experiment on them, and what that comes to undisturbed."""

import contextlib
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests import kills
from tests.chaos import ledger
from tests.chaos.log import Log
from tests.chaos.stage import Stage
from tests.cluster.nodes import PATIENCE_S, Node, RayCluster, cluster
from tests.kills import TRAIN, Watched
from tests.workspace import Workspace, make

CHANGES = kills.CHANGES | {"tiny.train.iterations": 1500, "tiny.train.lr_drops": [300], "tiny.resources.retries": 100}
WORKERS = 2
# Ray asks every node every 3 s, waits 10 s for its answer, and takes it for dead after 5 times: a node that is silent
# would stop the tests for a minute. These are settings of Ray's that users have too.
HEALTH = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1500",
    "RAY_health_check_failure_threshold": "4",
}
ALIVE = """
import sys
from ray._private.state import GlobalState
from ray._raylet import GcsClientOptions
state = GlobalState()
gcs = GcsClientOptions.create(sys.argv[1], None, allow_cluster_id_nil=True, fetch_cluster_id_if_nil=False)
state._initialize_global_state(gcs)
print(sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in state.node_table()))
"""  # the worker nodes that the head at an address knows
AGAIN_S = 1.0  # before it is asked again
DEAD_S = 4 * (0.5 + 1.5)  # of silence, after which a node is dead

Mutation = Callable[[Workspace], None]


@dataclass(slots=True)
class Ground:
    cluster: RayCluster
    folder: Path
    undisturbed: Workspace
    stages: int = 0
    away: dict[int, float] = field(default_factory=dict)  # node -> when it may come back
    under_way: list[Stage] = field(default_factory=list)

    @property
    def names(self) -> dict[str, str]:
        """Key of every run -> its name."""
        records = [json.loads(path.read_text()) for path in (self.undisturbed.folder / "runs").glob("*/*/run.json")]
        return {record["key"]: record["run"] for record in records}

    def begin(self, mutate: Mutation | None = None, node: int = 0) -> Stage:
        """The stage, on the machine of a node, in a checkout of its own where nothing has been trained."""
        self._until_there_is_a_worker()
        self.stages += 1
        workspace = self.undisturbed.untrained(self.folder / f"stage{self.stages}")
        if mutate is not None:
            mutate(workspace)
        self.under_way.append(Stage(workspace, self.names, self.drive(workspace, node), self.tended))
        return self.under_way[-1]

    def _until_there_is_a_worker(self) -> None:
        """Else the stage would be refused: both nodes may just be coming back from the last fault."""
        deadline = time.monotonic() + PATIENCE_S
        words, environment = [sys.executable, "-c", ALIVE, self.cluster.gcs], self._on_cluster(self.folder).environment
        while True:
            self.tended()
            asked = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
            if asked.stdout.strip() not in ("", "0"):
                return
            assert time.monotonic() < deadline, f"no worker has come back: {asked.stdout}{asked.stderr}"
            time.sleep(AGAIN_S)

    def _on_cluster(self, folder: Path) -> Workspace:
        return Workspace(folder, {**self.cluster.environment, "RAY_ADDRESS": self.cluster.gcs})

    def train_undisturbed(self) -> None:
        """What all stages are compared with."""
        trained = self.drive(self.undisturbed)
        assert trained.end() == 0, trained.lines

    def drive(self, workspace: Workspace, node: int = 0) -> Watched:
        """Gives the command on the machine of a node."""
        there = self._on_cluster(workspace.folder)
        return Watched(there.start(*self.cluster.inside(node, workspace.folder, *TRAIN)))

    def tended(self) -> list[Node]:
        """The workers that are up. Those that have ended are started again, when they may; does not wait for them."""
        now = time.monotonic()
        for index, node in enumerate(self.cluster.nodes):
            if index > 0 and node.process.poll() is not None and now >= self.away.get(index, 0.0):
                if self.cluster.links is not None:
                    self.cluster.links.mend(index)
                self.cluster.start(index)
        return [node for node in self.cluster.nodes[1:] if node.up]

    def lose(self, node: Node, silent_s: float) -> None:
        """The node dies. For `silent_s` nobody is told, not even by a closed connection; then it may come again."""
        if silent_s > 0:
            self.cut(node)
        node.kill()
        self.away[self.cluster.nodes.index(node)] = time.monotonic() + silent_s

    def cut(self, node: Node) -> None:
        """Until `mend`."""
        index = self.cluster.nodes.index(node)
        self.away[index] = math.inf
        if self.cluster.links is not None:
            self.cluster.links.cut(index)

    def mend(self, node: Node) -> None:
        index = self.cluster.nodes.index(node)
        del self.away[index]
        if self.cluster.links is not None:
            self.cluster.links.mend(index)

    def anew(self) -> None:
        """All nodes end, and a new cluster is there in their place."""
        for node in self.cluster.nodes:
            node.kill()
        self.cluster.start_until_up(0)
        self.cluster.start_until_up(*range(1, WORKERS + 1))

    def judge(self, stage: Stage, log: Log, **facts: int) -> None:
        """What must hold when the stage has ended, whatever happened on the way."""
        code = stage.end()
        said = [] if code == 0 else stage.watched.lines[-40:]
        log.check(code == 0, "the stage ends well", code=code, said=said, **facts)
        for what, holds in (stage.compared(self.undisturbed) | stage.attempts()).items():
            log.check(holds, what, **facts)
        log.check(stage.left_alive() == [], "no worker is left", **facts)
        self.clear(stage)

    def clear(self, stage: Stage) -> None:
        """Ends what a failure may have left of it."""
        self.under_way.remove(stage)
        with contextlib.suppress(ProcessLookupError):
            stage.watched.process.kill()
        stage.kill_the_rest()
        shutil.rmtree(stage.workspace.folder, ignore_errors=True)


@contextmanager
def ground() -> Iterator[Ground]:
    """A cluster, and the result that every stage must come to."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        folder = Path(temporary)
        with cluster(folder / "cluster", WORKERS, dashboard=False, settings=HEALTH) as made:
            place = Ground(made, folder, make(folder / "undisturbed", CHANGES))
            ledger.keep(place.undisturbed)
            place.train_undisturbed()
            try:
                yield place
            finally:
                for stage in list(place.under_way):  # of a scenario that was interrupted
                    place.clear(stage)
