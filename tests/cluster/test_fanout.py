"""Tasks on one real Ray: events arrive, what is lost is sent again and told, mistakes are not repeated."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cluster import connection
from pipeline.cluster.capacity import Capacity
from pipeline.cluster.fanout import Fanout, Lost, Moved, Task
from pipeline.cluster.watch import Hung
from pipeline.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ray_here() -> Iterator[Capacity]:
    kept, handlers = dict(os.environ), {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    for name in [n for n in os.environ if n.startswith("RAY_") and not n.startswith("RAY_AUTH_")]:
        del os.environ[name]
    os.environ["PYTHONPATH"] = str(ROOT)  # workers find this module there
    with connection.connected() as capacity:
        yield capacity
    os.environ.clear()
    os.environ.update(kept)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def fanout(function: object, cpus: float = 0.5, retries: int = 3) -> "Fanout[Path, str]":
    return Fanout(function, cpus=cpus, gpus=0.0, retries=retries, again=lambda event: event == "later")  # type: ignore[arg-type]


def tasks(folder: Path, *names: str) -> list[Task[Path]]:
    return [Task(name, folder / name) for name in names]


def attempt(path: Path) -> int:
    """How often the task has begun, this time included."""
    with path.open("a") as file:
        file.write("x")
    return path.stat().st_size


# What the workers run


def three(path: Path) -> Iterator[str]:
    for i in range(3):
        yield f"{path.name}{i}"


def slow(path: Path) -> Iterator[str]:
    yield "first"
    deadline = time.monotonic() + 30
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    yield "second" if path.exists() else "too late"


def note_start(path: Path) -> Iterator[str]:
    with (path.parent / "order").open("a") as file:
        file.write(f"{path.name}\n")
    yield path.name


def dies_twice(path: Path) -> Iterator[str]:
    number = attempt(path)
    yield f"attempt {number}"
    if path.name == "mortal" and number <= 2:
        os.kill(os.getpid(), signal.SIGKILL)
    yield "end"


def always_dies(path: Path) -> Iterator[str]:
    yield f"attempt {attempt(path)}"
    os.kill(os.getpid(), signal.SIGKILL)


def fails(path: Path) -> Iterator[str]:
    attempt(path)
    yield "begun"
    if path.name == "bad":
        raise ZeroDivisionError("no such luck")
    yield "end"


def refuses(path: Path) -> Iterator[str]:
    yield "begun"
    raise UserError(f"{path.name}: damaged; make it again")


def locked_twice(path: Path) -> Iterator[str]:
    yield "later" if attempt(path) <= 2 else "done"


# What the driver sees


def test_all_events_come_each_task_in_its_order(ray_here: Capacity, tmp_path: Path) -> None:
    run = fanout(three)
    came = list(run.run(tasks(tmp_path, *"abcd")))
    assert run.failed == {}
    for name in "abcd":
        assert [event for task, event in came if task.name == name] == [f"{name}{i}" for i in range(3)]
    assert len(came) == 12
    assert list(run.run([])) == []


def test_events_come_while_the_task_goes_on(ray_here: Capacity, tmp_path: Path) -> None:
    came = []
    for _, event in fanout(slow).run(tasks(tmp_path, "gate")):
        came.append(event)
        (tmp_path / "gate").touch()
    assert came == ["first", "second"]


def test_tasks_start_in_the_order_given(ray_here: Capacity, tmp_path: Path) -> None:
    names = ["c", "a", "e", "b", "d"]
    list(fanout(note_start, cpus=ray_here.cpus).run(tasks(tmp_path, *names)))
    assert (tmp_path / "order").read_text().split() == names


def test_a_lost_task_goes_out_again_and_its_loss_is_told(ray_here: Capacity, tmp_path: Path) -> None:
    run = fanout(dies_twice, retries=2)
    came = list(run.run(tasks(tmp_path, "mortal", "other")))
    assert run.failed == {}
    assert [event for task, event in came if task.name == "other"] == ["attempt 1", "end"]
    of_mortal = [(task, event) for task, event in came if task.name == "mortal"]
    assert [event for _, event in of_mortal if not isinstance(event, Lost)][-2:] == ["attempt 3", "end"]
    losses = [event for _, event in of_mortal if isinstance(event, Lost)]
    assert [(loss.name, loss.left) for loss in losses] == [("mortal", 1), ("mortal", 0)]
    assert all(loss.reason and len(loss.reason.splitlines()) == 1 for loss in losses)
    assert of_mortal[0][0].losses == 2


@pytest.mark.parametrize("retries", [0, 2])
def test_losses_are_bounded(retries: int, ray_here: Capacity, tmp_path: Path) -> None:
    run = fanout(always_dies, retries=retries)
    came = list(run.run(tasks(tmp_path, "mortal")))
    assert (tmp_path / "mortal").stat().st_size == retries + 1
    assert sum(isinstance(event, Lost) for _, event in came) == retries
    assert set(run.failed) == {"mortal"}
    assert run.failed["mortal"].startswith(f"lost {retries + 1} times, last by ")
    assert len(run.failed["mortal"].splitlines()) == 1


def test_an_exception_is_not_tried_again(ray_here: Capacity, tmp_path: Path) -> None:
    run = fanout(fails)
    came = list(run.run(tasks(tmp_path, "bad", "good")))
    assert run.failed == {"bad": "ZeroDivisionError: no such luck"}
    assert (tmp_path / "bad").stat().st_size == 1
    assert not any(isinstance(event, Lost) for _, event in came)
    assert [event for task, event in came if task.name == "good"] == ["begun", "end"]


def test_what_a_user_can_mend_ends_the_stage(ray_here: Capacity, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        list(fanout(refuses).run(tasks(tmp_path, "weights")))
    assert str(error.value) == "weights: damaged; make it again"


def test_what_is_elsewhere_is_asked_for_again_later(
    ray_here: Capacity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.cluster.fanout.AGAIN_S", 0.3)
    run = fanout(locked_twice, retries=0)
    began = time.monotonic()
    assert [event for _, event in run.run(tasks(tmp_path, "key"))] == ["later", "later", "done"]
    assert time.monotonic() - began >= 0.6
    assert run.failed == {}


@pytest.mark.parametrize(
    ("node", "left", "expected", "losses"),
    [
        (None, False, Lost("run", "Hung: process 7 gave no sign of life for 15 s", 2), 1),
        ("10.0.0.2", False, Moved("run", "10.0.0.2"), 0),
        (None, True, None, 0),  # it had said that it leaves
    ],
)
def test_a_loss_that_was_announced_is_not_counted(
    node: str | None, left: bool, expected: Lost | Moved | None, losses: int
) -> None:
    import ray

    class Known:
        def drained(self, name: str) -> str | None:
            return node

        def lost(self, name: str, error: Exception) -> Exception:
            return Hung("process 7 gave no sign of life for 15 s")

    task, run = Task("run", Path("run")), fanout(three)
    assert run._ended(task, ray.exceptions.WorkerCrashedError(), Known(), left) == expected  # type: ignore[arg-type]
    assert (task.losses, run.failed) == (losses, {})


# The token

CLIENT = """
import ray, sys
ray.init(address=sys.argv[1], log_to_driver=False)
print("has joined", flush=True)
"""


@pytest.mark.parametrize(("token", "joins"), [("same", True), ("other", False), ("none", False)])
def test_who_has_not_the_token_is_refused(token: str, joins: bool, ray_here: Capacity) -> None:
    import ray

    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    environment = dict(os.environ)
    if token == "other":
        environment["RAY_AUTH_TOKEN"] = "0" * 64
    if token == "none":
        environment = {name: value for name, value in environment.items() if not name.startswith("RAY_AUTH")}
    words = [sys.executable, "-c", CLIENT, ray.get_runtime_context().gcs_address]
    answer = ""
    out = subprocess.PIPE
    with subprocess.Popen(words, env=environment, text=True, stdout=out, stderr=subprocess.STDOUT) as client:
        assert client.stdout is not None
        for line in client.stdout:  # one who is refused goes on asking
            answer += line
            if "InvalidAuthToken" in line or "has joined" in line:
                break
        client.kill()
    assert ("has joined" in answer, "InvalidAuthToken" in answer) == (joins, not joins), answer
