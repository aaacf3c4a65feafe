"""One side at a time, its answers unharmed by what it prints, its memory with that of its processes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from benchmarks.memory import Memory, descendants, high_water_mib
from benchmarks.turns import SideProcess, Turn, alternate, environment, take
from tests.benchmark_maker import SELF_TIMED_S, benchmark, turns

CHILD_MIB = 200
PATIENCE_S = 60.0  # bound on waits that end by themselves


@dataclass
class Recorded:
    """A side that writes its name down and takes the seconds it is told."""

    name: str
    called: list[str]
    seconds: list[float] = field(default_factory=lambda: [9.0, 1.0, 3.0, 2.0])

    def go(self) -> Turn:
        self.called.append(self.name)
        return Turn(self.seconds[self.called.count(self.name) - 1], 10.0 * len(self.called))


def test_sides_take_turns_and_the_warm_up_is_left_out() -> None:
    called: list[str] = []
    ours, rival = alternate([Recorded("ours", called), Recorded("rival", called)], 3)
    assert " ".join(called) == "ours rival rival ours ours rival rival ours"
    assert ours.seconds == rival.seconds == [1.0, 3.0, 2.0]
    assert (ours.median, ours.spread) == (2.0, 3.0)
    assert (ours.peak_mib, rival.peak_mib) == (80.0, 70.0)  # that of the warm-up counts too


def test_one_side_alone() -> None:
    (ours,) = alternate([Recorded("ours", [])], 2)
    assert ours.seconds == [1.0, 3.0]


def test_answers_are_not_disturbed(capfd: pytest.CaptureFixture[str]) -> None:
    """`loud` prints, starts a process that does, and both read standard input."""
    ours, rival = take(benchmark(), repetitions=2, quick=True)
    assert ours.seconds == [SELF_TIMED_S, SELF_TIMED_S]
    assert rival is not None
    assert all(0 < seconds < PATIENCE_S for seconds in rival.seconds)
    assert min(ours.peak_mib, rival.peak_mib) > 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("noise") == 3


def test_without_a_rival() -> None:
    assert take(benchmark(rival=None), repetitions=1, quick=True)[1] is None


def test_a_mistake_in_a_side_is_a_bug(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match=r"benchmark_maker:failing ended with exit code 1"):
        take(benchmark(rival="tests.benchmark_maker:failing"), repetitions=1, quick=True)
    assert "ValueError: a mistake" in capfd.readouterr().err
    assert not [pid for pid in descendants(os.getpid()) if "benchmarks.side" in command(pid)]


def command(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline") as file:
        return file.read()


def test_a_side_ends_with_its_questions() -> None:
    with SideProcess("tests.benchmark_maker:quiet", 1, quick=True) as side:
        side.ready()
        process = side._process
        assert process.poll() is None
    assert process.returncode == 0


def test_the_environment_is_the_benchmarks_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI", "DVC_STAGE", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "the user's")
    monkeypatch.setenv("HOME", "/home/user")
    made = environment(3)
    assert made["OMP_NUM_THREADS"] == "3"
    assert "the user's" not in made.values()
    assert made["HOME"] == "/home/user"


@contextmanager
def large_child() -> Iterator[int]:
    """A process that holds CHILD_MIB, until the block ends."""
    code = f"import sys; block = b'x' * {CHILD_MIB << 20}; print(len(block), flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert int(child.stdout.readline()) == CHILD_MIB << 20
        yield child.pid
        child.stdin.close()


def test_memory_of_descendants() -> None:
    memory = Memory()
    own = high_water_mib(os.getpid())
    with large_child() as pid:
        assert pid in descendants(os.getpid())
        assert CHILD_MIB < high_water_mib(pid) < CHILD_MIB + 100
        assert memory.peak_mib() >= own + CHILD_MIB
    assert high_water_mib(pid) == 0.0
    assert memory.peak_mib() >= own + CHILD_MIB  # the largest so far


def test_memory_of_a_process_that_has_ended_is_seen_while_it_is_watched() -> None:
    memory = Memory()
    deadline = time.monotonic() + PATIENCE_S
    with memory.watched(), large_child():
        while memory._descendants_mib < CHILD_MIB:
            assert time.monotonic() < deadline, "it was not seen"
            time.sleep(0.01)
    assert memory.peak_mib() >= high_water_mib(os.getpid()) + CHILD_MIB


def test_turns_are_what_they_hold() -> None:
    assert turns(4.0, 1.0, 2.0).median == 2.0
    assert turns(4.0, 1.0, 2.0).spread == 4.0
