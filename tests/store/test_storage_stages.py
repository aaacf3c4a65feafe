"""The stages with a bucket for a run store: killed in the middle and gone on, to the same bits as in a folder."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import s3fs

from pipeline.store.records import RunRecord, read
from tests.buckets import BUCKET, CREDENTIALS, Server, s3
from tests.kills import TRAIN, Watched
from tests.workspace import PATIENCE_S, make

CHANGES = {
    "tiny.train.iterations": 3000,  # ten seconds: much longer than what is trained before the kill
    "tiny.train.lr_drops": [500],
    "tiny.train.record_every": 10,
    "tiny.train.validate_every": 100,
    "tiny.networks": {"plain-18": None},
    "tiny.seeds": [0],
    "tiny.resources.checkpoint_s": 0.05,
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with s3() as made:
        yield made


def wait_for_a_checkpoint(bucket: Any, watched: Watched) -> None:
    """By `find`: s3fs's `glob` raises when the last object of a folder goes between its two looks at it."""
    deadline = time.monotonic() + PATIENCE_S
    while not any("/checkpoint-" in name for name in bucket.find(f"{BUCKET}/runs")):
        assert time.monotonic() < deadline, watched.lines
        assert watched.process.poll() is None, watched.lines
        time.sleep(0.1)


def test_a_run_in_a_bucket_is_the_run_in_a_folder(server: Server, tmp_path: Path) -> None:
    """The driver is killed after a checkpoint; a lease of a process that is no more is free at once."""
    folder = make(tmp_path / "folder", CHANGES)
    folder.stage("train")
    workspace = make(tmp_path / "bucket", {**CHANGES, "storage": server.storage("runs")}, prepared=False)
    shutil.copytree(folder.folder / "data", workspace.folder / "data")
    workspace.variables.update(server.environment, MLFLOW_TRACKING_URI=f"sqlite:///{folder.folder}/mlflow.db")
    bucket = s3fs.S3FileSystem(
        key=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        secret=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=server.url,
        use_listings_cache=False,
    )
    watched = Watched(workspace.start(*TRAIN))
    wait_for_a_checkpoint(bucket, watched)
    os.killpg(watched.process.pid, signal.SIGKILL)
    watched.end()
    output = workspace.stage("train")
    assert ": goes on from iteration " in output
    assert workspace.weights() == folder.weights() != {}
    assert workspace.histories() == folder.histories()
    assert read(RunRecord, workspace.folder / "runs/tiny/plain-18-seed0/run.json", "").attempts == 2
    workspace.stage("evaluate")
    key = read(RunRecord, workspace.folder / "runs/tiny/plain-18-seed0/run.json", "").key
    names = {Path(name).name for name in bucket.ls(f"{BUCKET}/runs/{key}", detail=False)}
    kept = {name.partition("-")[0] for name in names - {"run.json", "history.csv", "gradients.csv"}}
    assert kept == {"weights.safetensors", "lease", "evaluation"}
    assert "1 evaluated before, 0 to evaluate" in workspace.stage("evaluate")
    assert not (workspace.folder / ".runs").exists()
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in output
    told = [path for path in workspace.folder.rglob("*") if path.is_file() and path.stat().st_size < 10**8]
    assert not [path for path in told if CREDENTIALS["AWS_SECRET_ACCESS_KEY"].encode() in path.read_bytes()]
