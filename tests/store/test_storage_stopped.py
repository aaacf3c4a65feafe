"""A worker that is stopped in the middle of a run, and comes back when another has finished it: it changes nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.storage import locks
from pipeline.training.job import Ended
from pipeline.training.worker import execute
from tests.stores import as_a_worker, job, names, stores

ROOT = Path(__file__).parents[2]
STOPPED = """
import os, signal, sys
from pathlib import Path
from pipeline.storage import paths
from pipeline.training import worker
from tests.stores import as_a_worker, job

train = worker.train

def stopping(run, *arguments):
    for _ in train(run, *arguments):
        if run.iteration == 5:
            os.kill(os.getpid(), signal.SIGSTOP)
        yield run

worker.train = stopping
with as_a_worker():
    for event in worker.execute(job(paths.locate(sys.argv[1]), Path(sys.argv[2]))):
        print(type(event).__name__, flush=True)
"""


def test_a_worker_that_comes_back_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stores("s3", tmp_path) as new, as_a_worker():
        store = new()
        words = [sys.executable, "-c", STOPPED, str(store), str(tmp_path / "data")]
        with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
                mine = job(store, tmp_path / "data")
                assert "attempt-000001" in names(mine.slot.folder)
                monkeypatch.setattr(locks, "STALE_S", -1e9)  # as if it had been stopped for long
                assert isinstance(list(execute(mine))[-1], Ended)
                finished = {path.name: path.read_bytes() for path in mine.slot.folder.glob("*.*")}
                process.send_signal(signal.SIGCONT)
                output, errors = process.communicate()
            finally:
                process.kill()
        assert (process.returncode, output.split()[-1]) == (0, "Elsewhere"), errors
        assert "row-seed7: attempt 1 at this run was overtaken by another while it was stopped or cut off" in errors
        assert {path.name: path.read_bytes() for path in mine.slot.folder.glob("*.*")} == finished
        assert names(mine.slot.folder) == set(finished)
        assert mine.slot.record().attempts == 2
