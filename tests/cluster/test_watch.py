"""Who gives no sign of life: found, looked at, killed; and nobody else."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.cluster import hung
from pipeline.cluster.beats import Beat, Beats, Nodes, Report
from pipeline.cluster.hung import end_if_hung, started
from pipeline.cluster.pulse import BEAT_S, Leave
from pipeline.cluster.room import STEP_S, Room
from pipeline.cluster.watch import BUSY_S, GAP_S, HUNG_S, POLL_S, Silence
from pipeline.errors import EnvironmentFault

TWO = Nodes(each=((1.0, 0.0), (1.0, 0.0)), free=(), draining={})
ONE = Nodes(each=((1.0, 0.0),), free=(), draining={"n2": "10.0.0.2"})
HEAD = Nodes(each=((0.0, 0.0),), free=(), draining={})


def report(of: str = "actor", **counts: int) -> Report:
    """Tasks by name and the count of their last beats; a name's rank is the number at its end."""
    ranks = {name: int(name[-1]) if name[-1].isdigit() else 0 for name in counts}
    beats = {
        f"token of {name}": Beat(name.rstrip("0123456789"), ranks[name], "n1", 100 + i, 7, count)
        for i, (name, count) in enumerate(counts.items())
    }
    return Report(of, beats, TWO)


class Driver:
    """Takes a report once a second, and remembers who was due to be looked at."""

    def __init__(self) -> None:
        self.silence, self.now, self.found = Silence(), 1000.0, []  # type: ignore[var-annotated]

    def hears(self, seconds: float, told: Report) -> "Driver":
        for _ in range(round(seconds / POLL_S)):
            self.now += POLL_S
            self.silence.take(told, self.now)
            self.found += [(beat.name, beat.rank, silent) for _, beat, silent in self.silence.due(self.now)]
        return self

    def names(self) -> list[str]:
        return [name for name, _, _ in self.found]


# Whose silence is noticed


def test_who_beats_is_left_alone() -> None:
    driver = Driver()
    for count in range(60):
        driver.hears(BEAT_S, report(a=count, b=2 * count))
    assert driver.found == []


def test_who_stops_beating_is_looked_at_after_a_while_and_again() -> None:
    driver = Driver()
    for count in range(5):
        driver.hears(BEAT_S, report(a=count, b=count))
    for count in range(5, 30):
        driver.hears(BEAT_S, report(a=4, b=count))
        if driver.found:
            break
    assert [(name, round(silent)) for name, _, silent in driver.found] == [("a", HUNG_S)]
    assert driver.now - 1010.0 <= HUNG_S + BEAT_S + POLL_S
    driver.hears(BUSY_S, report(a=4, b=30))
    silences = [silent for name, _, silent in driver.found if name == "a"]
    assert [round(silent / HUNG_S) for silent in silences] == list(range(1, len(silences) + 1))
    assert silences[-1] >= BUSY_S  # so that it is killed even if it runs


def test_ranks_are_told_apart() -> None:
    driver = Driver()
    for count in range(20):
        driver.hears(BEAT_S, report(run0=count, run1=3))
    assert {(name, rank) for name, rank, _ in driver.found} == {("run", 1)}


def test_an_event_is_a_sign_of_life() -> None:
    driver = Driver()
    for _ in range(20):
        driver.hears(BEAT_S, report(run0=3, run1=3))
        driver.silence.hear("run", 0, driver.now)
    assert {rank for _, rank, _ in driver.found} == {1}


@pytest.mark.parametrize("over", [0.0, 3600.0])
def test_after_a_pause_of_the_driver_or_the_actor_all_is_counted_anew(over: float) -> None:
    """A laptop that was closed, an actor that was stopped and has not read its letters yet."""
    driver = Driver().hears(4.0, report(a=2))
    driver.now += GAP_S + over
    driver.hears(HUNG_S - 2 * POLL_S, report(a=2))
    assert driver.found == []
    assert driver.hears(3 * POLL_S, report(a=2)).names() == ["a"]


def test_who_has_ended_is_not_missed() -> None:
    driver = Driver().hears(4.0, report(a=2, b=2))
    for count in range(40):
        driver.hears(BEAT_S, report(b=3 + count))
    assert driver.found == []
    driver.silence.forget("b")
    assert driver.silence.known == {}


def test_who_hung_while_the_actor_was_started_anew_is_found() -> None:
    driver = Driver().hears(4.0, report("first", a=2, b=2))
    for count in range(40):
        driver.hears(BEAT_S, report("second", b=3 + count))
    assert set(driver.names()) == {"a"}


# The look at a process


@contextmanager
def process(code: str) -> Iterator["subprocess.Popen[str]"]:
    """One that has begun to run the code."""
    words = [sys.executable, "-c", f"print('up', flush=True)\n{code}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            yield child
        finally:
            child.kill()


AWAKE = "import time\nwhile True: time.sleep(0.01)"  # as threads of Ray's are in every worker


def test_a_stopped_process_is_killed_and_a_running_one_only_by_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hung, "LOOK_S", 0.3)
    with process(AWAKE) as child:
        since = started(child.pid)
        assert since is not None
        assert end_if_hung(child.pid, since, False) == "runs"
        assert end_if_hung(child.pid, since + 1, True) == "gone"  # another's id, given anew
        assert child.poll() is None
        child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)  # until it has
        assert end_if_hung(child.pid, since, False) == "killed"
        assert child.wait() == -signal.SIGKILL
        assert end_if_hung(child.pid, since, True) == "gone"
    with process(AWAKE) as child:
        assert end_if_hung(child.pid, started(child.pid) or 0, True) == "killed"
        assert child.wait() == -signal.SIGKILL


def test_where_nothing_is_known_of_processes_nobody_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hung, "PROC", tmp_path)
    with process(AWAKE) as child:
        assert started(child.pid) is None
        assert end_if_hung(child.pid, 0, True) == "gone"
        assert child.poll() is None


def test_events_are_handed_over_once_in_order_to_the_attempt_they_are_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Beats, "_look_at_nodes", lambda _: None)
    beats = Beats()
    for event in (b"1", b"2"):
        beats.post("first", event)
    beats.post("second", b"3")
    assert beats.collect("first") == [b"1", b"2"]
    beats.post("first", b"4")
    assert beats.collect("first") == [b"4"]
    assert beats.collect("first") == []
    assert beats.collect("second") == [b"3"]


def test_the_first_reason_to_leave_stays() -> None:
    leave = Leave()
    assert not leave.is_set()
    leave.ask("node 10.0.0.2, which is being drained")
    leave.ask("its worker, which is asked to end")
    assert leave.is_set()
    assert leave.why == "node 10.0.0.2, which is being drained"


# A cluster that shrinks


def test_a_cluster_that_shrinks_is_said_once_and_again_when_there_is_room() -> None:
    room, waiting = Room(cpus=1, gpus=0, wait_s=600), ["a", "b"]
    assert room.look(None, waiting, 0.0) == ""  # not known yet
    assert room.look(TWO, waiting, 1.0) == ""
    assert room.look(ONE, waiting, 2.0) == ""  # the drained one is no room, the other is
    said = room.look(HEAD, waiting, 3.0)
    assert said == (
        "the cluster has shrunk (cluster of 1 nodes, 0 CPUs, 0 GPUs): a run asks for 1 CPUs and 0 GPUs on one node; "
        "waits 600 s for nodes"
    )
    assert [room.look(HEAD, waiting, 4.0 + i) for i in range(100)] == [""] * 100
    assert room.look(ONE, waiting, 105.0) == "there is room again (cluster of 1 nodes, 1 CPUs, 0 GPUs)"
    assert room.look(ONE, waiting, 106.0) == ""
    assert room.look(HEAD, waiting, 107.0) == said
    assert room.look(Nodes(each=(), free=(), draining={}), waiting, 108.0) == ""


def test_nothing_is_said_while_nobody_waits() -> None:
    assert Room(cpus=1, gpus=0, wait_s=0).look(HEAD, [], 1.0) == ""


@pytest.mark.parametrize(("workers", "cpus", "gpus"), [(3, 1, 0), (1, 2, 0), (1, 1, 0.5)])
def test_room_is_for_all_workers_of_a_run_each_on_one_node(workers: int, cpus: float, gpus: float) -> None:
    said = Room(cpus, gpus, wait_s=60, workers=workers).look(TWO, ["a"], 1.0)
    assert said.startswith("the cluster has shrunk (cluster of 2 nodes, 2 CPUs, 0 GPUs): a run asks for ")
    assert (f"{workers} workers of " in said) == (workers > 1)
    assert f"{cpus:g} CPUs and {gpus:g} GPUs" in said


def test_waiting_is_bounded() -> None:
    with pytest.raises(EnvironmentFault, match=r"shrunk .* raise resources\.wait_s"):
        Room(cpus=1, gpus=0, wait_s=0).look(HEAD, ["a"], 1.0)
    room = Room(cpus=1, gpus=0, wait_s=10)
    assert room.look(HEAD, ["a"], 0.0) != ""
    for now in range(1, 10):
        assert room.look(HEAD, ["a", "b"], float(now)) == ""
    with pytest.raises(EnvironmentFault) as fault:
        room.look(HEAD, ["a", "b"], 10.0)
    assert fault.value.exit_code == 3
    assert len(str(fault.value).splitlines()) == 1


def test_a_pause_of_the_driver_is_no_waiting() -> None:
    room = Room(cpus=1, gpus=0, wait_s=600)
    room.look(HEAD, ["a"], 1.0)
    assert room.look(HEAD, ["a"], 1.0 + 3600.0) == ""
    assert room._waited_s == STEP_S
