"""What the tests that kill share: runs of some seconds, processes whose output is watched, the undisturbed result."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.workspace import PATIENCE_S, Workspace

# Two runs, in checkpoints a fraction of a second apart, and much longer than all that the tests let them train between
# the kills: so no run may be finished after them, unless somebody went on with it who should have ended.
CHANGES = {
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
TRAIN = (sys.executable, "-m", "pipeline.train", "tiny")
UNDER_WAY = (": begins", ": goes on")


def assert_same(workspace: Workspace, undisturbed: Workspace) -> None:
    assert len(undisturbed.weights()) == 2
    assert workspace.weights() == undisturbed.weights()
    assert workspace.histories() == undisturbed.histories()


def assert_nobody_went_on(workspace: Workspace) -> None:
    """Waits for whoever still holds a lock; an orphan would have trained its run to the end by then."""
    workspace.wait_until_idle()
    assert not [slot for slot in workspace.slots if (slot / "run.json").exists()]


class Watched:
    """A process whose output is read as it comes."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process, self.lines = process, []  # type: ignore[var-annotated]
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    def wait_for_training(self) -> None:
        """Until a run has begun or gone on."""
        deadline = time.monotonic() + PATIENCE_S
        while not any(mark in line for line in list(self.lines) for mark in UNDER_WAY):
            assert time.monotonic() < deadline, f"nothing began: {self.lines}"
            assert self.process.poll() is None, self.lines
            time.sleep(0.02)

    def end(self) -> int:
        code = self.process.wait(timeout=PATIENCE_S)
        self._reader.join(timeout=PATIENCE_S)
        return code


@dataclass(frozen=True, slots=True)
class Attempt:
    """One worker's try at one run. Ray gives several to one process."""

    slot: Path
    number: int  # from 1
    pid: int

    @property
    def checkpoint(self) -> str:
        """The run's last one, "" before the first."""
        return max((path.name for path in self.slot.glob("checkpoint-*")), default="")

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


def attempts(workspace: Workspace) -> list[Attempt]:
    """The last one of every run that is not finished."""
    found = {}
    for path in sorted((workspace.folder / ".runs").glob("*/attempt-*")):
        with contextlib.suppress(OSError):  # gone: just finished
            number, pid = int(path.name.partition("-")[2]), int(path.read_text().split()[0])
            found[path.parent] = Attempt(path.parent, number, pid)
    return list(found.values())
