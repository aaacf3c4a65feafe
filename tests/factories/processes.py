"""Commands whose output is read as it comes, and the attempts that they start."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pipeline.config import load
from pipeline.records import Manifest, read
from pipeline.run_store.lease import PREFIX, Holder
from pipeline.run_store.run_folder import WEIGHTS
from pipeline.run_store.run_key import plan
from pipeline.run_store.tables import HISTORY
from pipeline.worker import Setting
from tests.factories.stores import train_here
from tests.factories.workspace import PATIENCE_S, TRAIN, Workspace, untimed, wait_for

# Two runs with checkpoints a fraction of a second apart, and much longer than what the tests let them train between
# two kills: so no run may be finished afterwards, unless a worker trained on that should have ended.
TWO_RUNS: dict[str, Any] = {
    "tiny.train.iterations": 2400,
    "tiny.train.lr_drops": [500],
    "tiny.train.record_every": 10,
    "tiny.train.validate_every": 50,
    "tiny.architecture.blocks": [2, 2],
    "tiny.networks": {"plain-18": None, "resnet-18": None},
    "tiny.seeds": [0],
    "tiny.resources.checkpoint_s": 0.2,
    "tiny.resources.retries": 20,
}


class Watched:
    """A process whose output is read as it comes."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def wait_until(self, condition: Callable[[], Any]) -> Any:
        """The first true value of the condition, while the process runs."""

        def looked() -> Any:
            value = condition()
            assert value or self.process.poll() is None, self.text
            return value

        return wait_for(looked, lambda: self.text)

    def wait_for_line(self, words: str) -> str:
        """The first line with the words."""
        line: str = self.wait_until(lambda: next((line for line in list(self.lines) if words in line), ""))
        return line

    def end(self) -> int:
        code = self.process.wait(timeout=PATIENCE_S)
        self._reader.join(timeout=PATIENCE_S)
        return code


@contextmanager
def training(workspace: Workspace, *words: str) -> Iterator[Watched]:
    """The train stage, or another command, while the block lasts; it and its children are killed at the end."""
    watched = Watched(workspace.start(*(words or TRAIN)))
    try:
        yield watched
    finally:
        kill_tree(watched.process.pid)
        watched.end()


def kill_tree(pid: int) -> None:
    """Kills a process and all that descend from it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


def servers(pid: int, name: str) -> list[psutil.Process]:
    """The processes below `pid` whose name or command contains `name`: gcs_server, raylet, agent."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if name in child.name() or name in " ".join(child.cmdline()[:6]):
                found.append(child)
    return found


@dataclass(frozen=True, slots=True)
class Attempt:
    """One worker's try at one run. Ray gives several to one process."""

    folder: Path
    number: int  # from 1
    holder: Holder

    @property
    def checkpoint(self) -> str:
        """The name of the run's last checkpoint, "" before the first."""
        return max((path.name for path in self.folder.glob("checkpoint-*")), default="")

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.holder.pid, number)


def attempts(workspace: Workspace) -> list[Attempt]:
    """The attempts at runs that are not finished."""
    found = []
    for folder, holder in workspace.holders().items():
        numbers = [int(path.name.removeprefix(PREFIX)) for path in folder.glob(f"{PREFIX}*")]
        if numbers and not (folder / "run.json").exists():
            found.append(Attempt(folder, max(numbers), holder))
    return found


def under_way(workspace: Workspace, watched: Watched, number: int = 1) -> Attempt:
    """An attempt of that number or a later one, once the run has a checkpoint."""

    def found() -> Attempt | None:
        own = [attempt for attempt in attempts(workspace) if attempt.number >= number and attempt.checkpoint]
        return own[0] if own else None

    attempt: Attempt = watched.wait_until(found)
    return attempt


def assert_same(workspace: Workspace, undisturbed: Workspace) -> None:
    """Asserts that all results are bit-identical."""
    assert undisturbed.weights()
    assert workspace.weights() == undisturbed.weights()
    assert workspace.histories() == undisturbed.histories()


def assert_no_process_trained_on(workspace: Workspace) -> None:
    """Waits for the holders of leases; an orphan would have trained its run to the end by then."""
    workspace.wait_until_idle()
    assert workspace.finished() == []


def trained_here(workspace: Workspace, store: Path) -> dict[str, tuple[str, list[str]]]:
    """What the runs of the workspace must come to: weights and history of each, trained in this process without Ray."""
    name = "tiny"
    experiment = load(name, workspace.folder / "params.yaml")
    data = workspace.folder / "data" / name
    how = Setting(data=data, cpus=1, gpus=0.0, checkpoint_s=1e9, commit=None, code_digest="")
    results = {}
    for spec in plan(experiment, read(Manifest, data / "manifest.json", "")):
        run = train_here(store, how, spec)
        results[spec.name] = (run.record().file(WEIGHTS).sha256, untimed(run.path / HISTORY))
    return results


def results(workspace: Workspace) -> dict[str, tuple[str, list[str]]]:
    """Weights and history of each published run."""
    histories = workspace.histories()
    return {name: (digest, histories[name]) for name, digest in workspace.weights().items()}
