"""A storage that fails: one line that says what, where and how to mend it, and nothing lost."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import EnvironmentFault
from pipeline.storage import paths
from pipeline.storage.storage_faults import told
from pipeline.store import slots
from pipeline.store.records import as_json
from pipeline.training.worker import execute
from tests.buckets import CREDENTIALS, Server, gs, s3
from tests.stores import as_a_worker, forget_clients, job, names
from tests.workspace import make

ROOT = Path(__file__).parents[2]
S3 = {**CREDENTIALS, "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}


def one_line(error: "pytest.ExceptionInfo[EnvironmentFault]") -> str:
    text = str(error.value)
    assert (len(text.splitlines()), error.value.exit_code) == (1, 3)
    assert not any(secret in text for secret in CREDENTIALS.values())
    return text


# A folder


@pytest.mark.parametrize(
    ("number", "call", "how"),  # call of fsync: of a checkpoint, of the folder after one, of the weights at the end
    [
        (errno.ENOSPC, 9, "No space left on device; free some space; the same command goes on"),
        (errno.ENOSPC, 14, "No space left on device; free some space; the same command goes on"),
        (errno.ENOSPC, 27, "No space left on device; free some space; the same command goes on"),
        (errno.EDQUOT, 9, "Disk quota exceeded; raise the quota, or free some of it; the same command goes on"),
        (errno.EROFS, 9, "Read-only file system; let it be written again"),
        (errno.EIO, 9, "Input/output error; see what is wrong with the disk, or set `storage` to a folder"),
    ],
)
def test_a_disk_that_fails_while_training_costs_nothing(
    number: int, call: int, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, calls, fsync = job(tmp_path / "store", tmp_path / "data"), 0, os.fsync

    def fail(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls >= call:
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    with as_a_worker():
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(EnvironmentFault) as error:
            list(execute(mine))
        monkeypatch.setattr(os, "fsync", fsync)
        assert one_line(error).startswith(f"storage {tmp_path}/store: {how}")
        left = names(mine.slot.folder)
        assert not mine.slot.finished
        assert not [name for name in left if name.endswith(".tmp")]
        assert len([name for name in left if name.startswith("checkpoint-")]) >= 2
        undisturbed = job(tmp_path / "other", tmp_path / "data", checkpoint_s=1e9)
        list(execute(undisturbed))
        events = list(execute(mine))
    assert events[0].iteration > 0  # type: ignore[union-attr]
    assert mine.slot.record().weights == undisturbed.slot.record().weights
    assert mine.slot.record().attempts == 2


def test_mistakes_of_ours_are_no_faults_of_the_storage(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ours"), told(tmp_path):
        raise ValueError("ours")
    with pytest.raises(ValueError, match="JSON"), told(tmp_path):
        paths.write_bytes(tmp_path / "a.json", as_json({"loss": float("nan")}))


# Buckets


@pytest.mark.parametrize(
    ("place", "changes", "what", "how"),
    [
        ("s3://no-such-bucket/runs", {}, "The specified bucket does not exist", "make the bucket, or set `storage`"),
        (
            "s3://bucket/runs",
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            "Unable to locate credentials",
            "set credentials that may list, read, write and delete there, on every node (AWS_ACCESS_KEY_ID and",
        ),
        ("s3://bucket/runs", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "Could not connect", "see that every node"),
        ("s3://bucket/runs", {"AWS_ENDPOINT_URL": "nonsense"}, "Invalid endpoint: nonsense", "see that every node"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_refused(
    place: str, changes: dict[str, str], what: str, how: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**S3, "AWS_ENDPOINT_URL": server.url, **changes}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, os.devnull)
    forget_clients()
    with pytest.raises(EnvironmentFault) as error:
        slots.open_store(place)
    forget_clients()
    text = one_line(error)
    assert text.startswith(f"storage {place}: {what}")
    assert f"; {how}" in text


@pytest.fixture(scope="module")
def server() -> object:
    with s3() as made:
        yield made


def test_a_store_that_creates_what_is_there_already_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the emulator does by itself."""
    with gs(conditions=False) as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        forget_clients()
        with pytest.raises(EnvironmentFault, match=r"two workers would train the same run; use another") as error:
            slots.open_store(emulator.storage("runs"))
        forget_clients()
        assert one_line(error).startswith("storage gs://bucket/runs: it writes an object that is to be created though")


@pytest.mark.parametrize(("kind", "library"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_a_library_that_is_not_installed_is_named(kind: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(EnvironmentFault) as error:
        paths.locate(f"{kind}://bucket/runs")
    assert f"{library} is not installed; install the extra `{kind}` on every node: pip install '.[{kind}]'" in one_line(
        error
    )


def test_a_folder_needs_none_of_the_libraries() -> None:
    code = (
        "from pipeline.storage import bucket, locks; from pipeline.store import slots; "
        "from pipeline.training import plan; slots.open_store('.'); import sys; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"fsspec", "upath", "s3fs", "gcsfs", "botocore"} & set(done.stdout.split())


def test_the_stages_refuse_in_one_line_before_anything_is_changed(tmp_path: Path) -> None:
    workspace = make(tmp_path / "w", {"storage": "s3://bucket/runs"})
    workspace.variables.update(S3, AWS_ENDPOINT_URL="http://127.0.0.1:1")
    output = workspace.stage("train", code=3)
    assert [line for line in output.splitlines() if line.startswith("error: ")] == output.splitlines()[-1:]
    assert "error: storage s3://bucket/runs: Could not connect to the endpoint URL" in output
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in output
    assert not (workspace.folder / "runs").exists()
