"""Faults on a cluster of several nodes: nodes and heads die, workers are suspended, nodes are cut off."""

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import LOST
from pipeline.run_store.lease import STALE_S, same_process
from tests.chaos.harness import Mutation, Play
from tests.cluster.nodes import PATIENCE_S, QUICK, Node, RayCluster, cluster
from tests.factories.processes import (
    TWO_RUNS,
    Attempt,
    Watched,
    attempts,
    kill_tree,
    results,
    trained_here,
)
from tests.factories.workspace import TRAIN, Workspace, make

CHANGES = TWO_RUNS | {"tiny.train.iterations": 1500, "tiny.train.lr_drops": [300], "tiny.resources.retries": 100}
WORKERS = 2
LOOK_S = 0.05
LONGEST_S = 1.0  # from a checkpoint to the next fault
GONE_S = 60.0  # after the end of a stage, within which its workers must have ended
DEAD_S = 8.0  # of silence, after which a node is dead (QUICK)
FOUND_S = 60.0  # within which a suspended process must have been killed
FENCED_S = 15.0  # in which an attempt that was overtaken ends, or writes more than once
HEAD_S = 90.0  # within which a stage must have ended after the loss of its head
ALIVE = """
import sys, ray
ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
print(sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes()))
"""  # the number of worker nodes
# Added to a checkout's storage module: a write is noted before it is made, and a lease when it has been created.
LEDGER = """

def _noted(function: Any, before: bool) -> Any:
    def noted(path: Path, content: bytes) -> Any:
        done = before or function(path, content)
        if done and len(path.parent.name) == 64 and before != path.name.startswith("lease-") and path.name[0] != ".":
            with (path.parent.parent / "ledger").open("a") as ledger:
                ledger.write(f"{os.getpid()} {path.parent.name} {path.name}\\n")
        return function(path, content) if before else done

    return noted


write_bytes, create = _noted(write_bytes, True), _noted(create, False)
"""


@dataclass(slots=True)
class Stage:
    """The train stage on a cluster while things go wrong there."""

    ground: "Ground"
    workspace: Workspace
    watched: Watched
    earlier: list[str] = field(default_factory=list)  # lines of earlier drivers of the same checkout
    first_checkpoint: dict[tuple[Path, int], str] = field(default_factory=dict)  # when the attempt was first seen
    holders: dict[int, float] = field(default_factory=dict)  # pid -> start of the processes that trained
    struck: set[tuple[Path, int]] = field(default_factory=set)
    fatal: Counter[str] = field(default_factory=Counter)  # faults that no attempt can have survived, by run key

    @property
    def ended(self) -> bool:
        return self.watched.process.poll() is not None

    def look(self) -> list[Attempt]:
        """The attempts under way. To be called often: it also starts nodes again."""
        self.ground.tend()
        found = [attempt for attempt in attempts(self.workspace) if not attempt.holder.has_died]
        for attempt in found:
            self.first_checkpoint.setdefault((attempt.folder, attempt.number), attempt.checkpoint)
            self.holders[attempt.holder.pid] = attempt.holder.started
        return found

    def victims(self, draw: random.Random) -> list[tuple[Attempt, Node]]:
        """Waits for attempts that no fault has met yet, and then for a drawn time; in a drawn order, with their nodes.

        One of four faults comes at once, the others after a checkpoint of the attempt. Empty where the stage has ended.
        """
        at_once, moment = draw.random() < 0.25, draw.uniform(0.0, LONGEST_S)
        deadline = time.monotonic() + 4 * PATIENCE_S
        while not self.ended and time.monotonic() < deadline:
            new = self._new()
            if any(at_once or a.checkpoint != self.first_checkpoint[a.folder, a.number] for a in new):
                time.sleep(moment)
                up = self.ground.up()
                still = [(a, node) for a in self._new() for node in up if a.holder.pid in node.pids()]
                if still:
                    draw.shuffle(still)
                    return still
            time.sleep(LOOK_S)
        return []

    def _new(self) -> list[Attempt]:
        return [attempt for attempt in self.look() if (attempt.folder, attempt.number) not in self.struck]

    def strike(self, attempt: Attempt) -> None:
        """Notes a fault that the attempt cannot survive, unless it had just finished."""
        self.struck.add((attempt.folder, attempt.number))
        self.fatal[attempt.folder.name] += not (attempt.folder / "run.json").exists()

    def overtaken(self, attempt: Attempt) -> bool:
        """Whether a later attempt at the run was seen, or the run has ended."""
        later = any(folder == attempt.folder and n > attempt.number for folder, n in self.first_checkpoint)
        return later or (attempt.folder / "run.json").exists()

    def wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.look()
            time.sleep(LOOK_S)

    def resume(self, watched: Watched) -> None:
        """The same command again."""
        self.earlier += self.watched.lines
        self.watched = watched

    def judge(self, play: Play) -> None:
        """Checks what must hold when the stage has ended."""
        deadline = time.monotonic() + 4 * PATIENCE_S
        while not self.ended and time.monotonic() < deadline:
            self.wait(LOOK_S)
        code = self.watched.end() if self.ended else None
        log, lines = play.log, self.watched.lines[-40:] if code else []
        log.check(code == 0, "the stage ends well", code=code, lines=lines)
        same = results(self.workspace) == self.ground.expected
        log.check(same, "weights and histories are those of the undisturbed runs")
        paths = (self.workspace.folder / "runs" / "tiny").glob("*/run.json")
        counted = {record["key"]: record["attempts"] for record in (json.loads(path.read_text()) for path in paths)}
        enough = all(counted.get(key, 0) >= 1 + number for key, number in self.fatal.items())
        log.check(enough, "attempts are counted", counted=counted, at_least=dict(self.fatal))
        late = late_writes(self.workspace)
        log.check(late == 0, "no attempt that was overtaken writes", late=late)
        until = time.monotonic() + GONE_S
        while (left := [p for p, s in self.holders.items() if same_process(p, s)]) and time.monotonic() < until:
            time.sleep(LOOK_S)
        log.check(not left, "no worker is left", left=left)
        self.clear()

    def clear(self) -> None:
        """Ends what a failure may have left of it."""
        kill_tree(self.watched.process.pid)
        for pid, started in self.holders.items():
            if same_process(pid, started):
                os.kill(pid, signal.SIGKILL)
        self.ground.stages.remove(self)
        shutil.rmtree(self.workspace.folder, ignore_errors=True)


@dataclass(slots=True)
class Ground:
    """A cluster, and the results that every stage on it must come to."""

    cluster: RayCluster
    folder: Path
    checkout: Workspace
    expected: dict[str, Any]
    number: int = 0
    away: dict[int, float] = field(default_factory=dict)  # node -> when it may be started again
    stages: list[Stage] = field(default_factory=list)

    def begin(self, mutation: Mutation | None = None, node: int = 0) -> Stage:
        """The stage, from a node's machine, in a checkout in which nothing has been trained."""
        self._wait_for_a_worker()
        self.number += 1
        workspace = self.checkout.untrained(self.folder / f"stage{self.number}")
        if mutation is not None:
            mutation(workspace)
        self.stages.append(Stage(self, workspace, self.drive(workspace, node)))
        return self.stages[-1]

    def drive(self, workspace: Workspace, node: int = 0) -> Watched:
        there = self._connected(workspace.folder)
        return Watched(there.start(*self.cluster.inside(node, workspace.folder, *TRAIN)))

    def _connected(self, folder: Path) -> Workspace:
        return Workspace(folder, {**self.cluster.environment, "RAY_ADDRESS": self.cluster.gcs})

    def _wait_for_a_worker(self) -> None:
        """Otherwise the stage would be refused: both nodes may be coming back from the last fault."""
        words = self.cluster.inside(0, self.folder, sys.executable, "-c", ALIVE, self.cluster.gcs)
        environment, deadline = self._connected(self.folder).environment, time.monotonic() + 4 * PATIENCE_S
        while True:
            self.tend()
            asked = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
            if asked.stdout.strip() not in ("", "0"):
                return
            assert time.monotonic() < deadline, f"no worker has come back: {asked.stdout}{asked.stderr}"
            time.sleep(1.0)

    def up(self) -> list[Node]:
        return [node for node in self.cluster.nodes[1:] if node.up]

    def tend(self) -> None:
        """Starts workers that have ended again, when they may be; does not wait for them."""
        now = time.monotonic()
        for index, node in enumerate(self.cluster.nodes):
            if index > 0 and node.process.poll() is not None and now >= self.away.get(index, 0.0):
                self._link(index, up=True)
                self.cluster.start(index)

    def lose(self, node: Node, silent_s: float) -> None:
        """Kills a node. For `silent_s` no closed connection says so; then it may be started again."""
        index = self.cluster.nodes.index(node)
        if silent_s > 0:
            self._link(index, up=False)
        node.kill()
        self.away[index] = time.monotonic() + silent_s

    def cut(self, node: Node, *, off: bool) -> None:
        index = self.cluster.nodes.index(node)
        self.away[index] = math.inf if off else 0.0
        self._link(index, up=not off)

    def _link(self, index: int, *, up: bool) -> None:
        if self.cluster.links is not None:
            (self.cluster.links.restore if up else self.cluster.links.cut)(index)

    def renew(self) -> None:
        """Replaces all nodes by a new cluster."""
        for node in self.cluster.nodes:
            node.kill()
        self.away.clear()
        self.cluster.start_until_up(0)
        self.cluster.start_until_up(*range(1, WORKERS + 1))


@contextmanager
def ground() -> Iterator[Ground]:
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        folder = Path(temporary)
        checkout = make(folder / "checkout", CHANGES)
        expected = trained_here(checkout, folder / "here")
        with (checkout.folder / "pipeline" / "storage.py").open("a") as file:
            file.write(LEDGER)
        with cluster(folder / "cluster", WORKERS, dashboard=False, settings=QUICK) as made:
            place = Ground(made, folder, checkout, expected)
            try:
                yield place
            finally:
                for stage in list(place.stages):  # of a scenario that was interrupted
                    stage.clear()


def late_writes(workspace: Workspace) -> int:
    """How many files attempts wrote after a later one had begun, without the first of each.

    That one may have been allowed just before; at the next look the attempt must see that it is not the last.
    """
    path = workspace.folder / ".runs" / "ledger"
    last: dict[str, str] = {}
    late: Counter[tuple[str, str]] = Counter()
    for line in path.read_text().splitlines() if path.exists() else []:
        pid, run, name = line.split()
        if name.startswith("lease-"):
            last[run] = pid
        elif last.get(run, pid) != pid:
            late[run, pid] += 1
    return sum(count - 1 for count in late.values())


def node_deaths(play: Play) -> None:
    """A node that has died is started again at once, and the others train on meanwhile."""
    with ground() as place:
        while not play.over:
            stage = place.begin(play.mutation)
            while not play.over and (found := stage.victims(play.draw)):
                node = found[0][1]
                silent = play.draw.random() < 0.5 and place.cluster.links is not None
                place.lose(node, play.draw.uniform(2.0, 12.0) if silent else 0.0)
                for attempt, its_node in found:
                    if its_node is node:
                        stage.strike(attempt)
                play.log.fault("node fell silent" if silent else "node killed", node=node.name)
            stage.judge(play)


def head_deaths(play: Play) -> None:
    """The stage runs on the head's machine or, by a draw, on a worker's; then all nodes are replaced."""
    with ground() as place:
        while not play.over:
            stage = place.begin(play.mutation, driver := play.draw.randint(0, 1))
            while not play.over and stage.victims(play.draw):
                place.cluster.nodes[0].kill()
                if _ends_by_itself(play, stage):
                    play.log.fault(f"head killed, stage on {'a worker' if driver else 'the head'}")
                place.renew()
                stage.resume(place.drive(stage.workspace, driver := play.draw.randint(0, 1)))
            stage.judge(play)


def _ends_by_itself(play: Play, stage: Stage) -> bool:
    """Whether the stage has noticed the loss: nodes train on meanwhile, and it may end well before."""
    since, process = time.monotonic(), stage.watched.process
    try:
        code: int | None = process.wait(timeout=2 * HEAD_S)
    except subprocess.TimeoutExpired:
        process.kill()
        code = None
    seconds = round(time.monotonic() - since, 1)
    play.log.check(code is not None and seconds <= HEAD_S, "the stage ends in time", seconds=seconds)
    lines = [] if code in (0, LOST) else stage.watched.lines[-40:]
    play.log.check(code in (0, LOST), "the exit code says that the cluster is lost", code=code, lines=lines)
    return code != 0


def suspensions(play: Play) -> None:
    """As many processes at once as train."""
    with ground() as place:
        while not play.over:
            stage = place.begin(play.mutation)
            while not play.over and (found := stage.victims(play.draw)):
                hit = {attempt.holder.pid: attempt for attempt, _ in found if _suspend(play, stage, attempt)}
                since = time.monotonic()
                while hit and time.monotonic() - since < 2 * FOUND_S and not stage.ended:
                    for pid in [pid for pid, attempt in hit.items() if attempt.holder.has_died]:
                        del hit[pid]
                    stage.wait(LOOK_S)
                seconds = round(time.monotonic() - since, 1)
                what = "a suspended process is found and killed in time"
                play.log.check(not hit and seconds <= FOUND_S, what, seconds=seconds, ended=stage.ended)
            stage.judge(play)


def _suspend(play: Play, stage: Stage, attempt: Attempt) -> bool:
    """Suspends the attempt, unless it has just ended."""
    time.sleep(play.draw.uniform(0.0, 0.3))
    attempt.signal(signal.SIGSTOP)
    if (attempt.folder / "run.json").exists() or attempt.holder.has_died:
        attempt.signal(signal.SIGCONT)
        return False
    stage.strike(attempt)
    play.log.fault("training process suspended", attempt=attempt.number)
    return True


def partitions(play: Play) -> None:
    """The first cut is long and the attempts are suspended meanwhile, as on a suspended machine; others by a draw."""
    with ground() as place:
        assert place.cluster.links is not None, "partitions need root and network namespaces"
        while not play.over:
            stage = place.begin(play.mutation)
            while not play.over and (found := stage.victims(play.draw)):
                _cut(play, place, stage, found)
            stage.judge(play)


def _cut(play: Play, place: Ground, stage: Stage, found: list[tuple[Attempt, Node]]) -> None:
    node, first = found[0][1], not play.log.done
    there = [attempt for attempt, its_node in found if its_node is node]
    long = first or play.draw.random() < 0.5
    place.cut(node, off=True)
    if long:
        for attempt in there:
            attempt.signal(signal.SIGSTOP)  # it renews its lease no more, as where the storage is cut off too
        deadline = time.monotonic() + STALE_S + 4 * PATIENCE_S  # the other node may be busy with another run
        while not stage.ended and not all(map(stage.overtaken, there)) and time.monotonic() < deadline:
            stage.wait(LOOK_S)
        taken = stage.ended or all(map(stage.overtaken, there))
        play.log.check(taken, "others take over the runs of a node that is cut off")
        for attempt in there:
            attempt.signal(signal.SIGCONT)
        deadline = time.monotonic() + FENCED_S
        while not stage.ended and not all(a.holder.has_died for a in there) and time.monotonic() < deadline:
            stage.wait(LOOK_S)
    else:
        stage.wait(play.draw.uniform(0.5, 0.6 * DEAD_S))
    place.cut(node, off=False)
    stage.struck.update((attempt.folder, attempt.number) for attempt in there)
    play.log.fault("long, and taken over" if long else "short", node=node.name)
