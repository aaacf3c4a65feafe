"""Files of the run store: whole or not at all, created once; a storage that fails is one line, with nothing lost."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import storage
from pipeline.errors import EnvironmentFault
from pipeline.messages import redact_userinfo
from pipeline.run_store.run_folder import RunFolder
from pipeline.storage import (
    create,
    is_place,
    local_copy,
    make_folder,
    open_store,
    write_bytes,
)
from tests.factories.buckets import CREDENTIALS, Server, gs, s3
from tests.factories.stores import (
    KINDS,
    SPEC,
    New,
    forget_clients,
    frequent_checkpoints,
    names,
    setting,
    stores,
    train_here,
    weights,
)
from tests.factories.workspace import ROOT

S3 = {**CREDENTIALS, "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="module", params=KINDS)
def new(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[New]:
    with stores(request.param, tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture
def folder(new: New) -> Path:
    folder = new() / "key"
    make_folder(folder)
    return folder


def one_line(error: "pytest.ExceptionInfo[EnvironmentFault]") -> str:
    text = str(error.value)
    assert (len(text.splitlines()), error.value.exit_code) == (1, 3)
    assert not any(secret in text for secret in CREDENTIALS.values())
    return text


# Files


def test_a_file_is_whole_and_created_once(folder: Path) -> None:
    path = folder / "a.bin"
    for content in (b"", b"first", b"second" * 100_000):
        write_bytes(path, content)
        assert path.read_bytes() == content
    assert not create(path, b"other")
    assert path.read_bytes() == b"second" * 100_000
    assert create(folder / "b.bin", b"new")
    assert {path.name for path in folder.glob("*")} == {"a.bin", "b.bin"}
    assert (local_copy(folder, "b.bin") / "b.bin").read_bytes() == b"new"


def test_a_file_system_without_hard_links_creates_exclusively_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    assert create(tmp_path / "a", b"first")
    assert not create(tmp_path / "a", b"second")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"first")]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_in_the_middle_leaves_the_old_file(
    step: str, fault: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise fault

    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(type(fault)):
            write_bytes(path, b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.bin", b"old")]


# Places


@pytest.mark.parametrize(
    ("place", "valid"),
    [
        (".runs", True), ("/shared/runs", True), ("s3://bucket/runs", True), ("gs://bucket-1", True), ("", False),
        (" ", False), (3, False), ("a\nb", False), ("http://x/y", False), ("s3://user:word@bucket/x", False),
        ("s3://bucket/x?y", False), ("s3://bucket/../x", False), ("s3://", False),
    ],
)  # fmt: skip
def test_a_store_is_a_folder_or_a_bucket(place: object, valid: bool) -> None:
    assert is_place(place) == valid


def test_passwords_are_removed_from_addresses() -> None:
    assert redact_userinfo("no answer of https://me:word@host/x, s3://a@b") == "no answer of https://host/x, s3://b"


def test_a_folder_is_made_unless_it_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_store(str(tmp_path / "a" / "b"))
    assert (list(folder.iterdir()), folder.stat().st_mode & 0o077) == ([], 0)
    (tmp_path / "file").touch()
    for place, reason in ((tmp_path / "file", "File exists"), (tmp_path / "file" / "x", "Not a directory")):
        with pytest.raises(EnvironmentFault) as error:
            open_store(str(place))
        expected = f"storage {place}: {reason}; check the disk, or set `storage` to a folder that you can write; "
        assert one_line(error).startswith(expected)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(EnvironmentFault, match="Read-only file system"):
        open_store(str(tmp_path / "store"))


def test_a_folder_needs_no_library_of_buckets() -> None:
    code = "from pipeline import storage, worker; storage.open_store('.'); import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"fsspec", "upath", "s3fs", "gcsfs", "botocore"} & set(done.stdout.split())


# A storage that fails


@pytest.mark.parametrize(
    ("number", "call", "how"),  # call of fsync, of which a file in a folder has two
    [
        (errno.ENOSPC, 15, "No space left on device; free some space; the same command resumes"),
        (errno.ENOSPC, 30, "No space left on device; free some space; the same command resumes"),
        (errno.EDQUOT, 15, "Disk quota exceeded; raise the quota, or free some of it; the same command resumes"),
        (errno.EIO, 15, "Input/output error; check the disk"),
    ],
)
def test_a_disk_that_fails_while_training_costs_nothing(
    number: int, call: int, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, fsync, data = 0, os.fsync, tmp_path / "data"
    setting(data)

    def fail(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls >= call:
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    with frequent_checkpoints():
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(EnvironmentFault) as error:
                train_here(tmp_path / "store", setting(data, checkpoint_s=1e-9))
        assert one_line(error).startswith(f"storage {tmp_path}/store: {how}")
        run = RunFolder(tmp_path / "store" / SPEC.key)
        left = names(run.path)
        assert not run.finished
        assert not [name for name in left if name.endswith(".tmp")]
        assert len([name for name in left if name.startswith("checkpoint-")]) == 2
        train_here(tmp_path / "store", setting(data, checkpoint_s=1e-9))
        undisturbed = train_here(tmp_path / "other", setting(data))
    assert (weights(run), run.record().attempts) == (weights(undisturbed), 2)


# Buckets


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with s3() as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "changes", "what"),
    [
        ("s3://no-such-bucket/runs", {}, "The specified bucket does not exist"),
        (
            "s3://bucket/runs",
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            "Unable to locate credentials",
        ),
        ("s3://bucket/runs", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "Could not connect"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_refused(
    place: str, changes: dict[str, str], what: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**S3, "AWS_ENDPOINT_URL": server.url, **changes}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, os.devnull)
    forget_clients()
    with pytest.raises(EnvironmentFault) as error:
        open_store(place)
    forget_clients()
    text = one_line(error)
    assert text.startswith(f"storage {place}: {what}")
    assert "; check that the bucket exists, and that every node reaches it" in text
    assert "AWS_ACCESS_KEY_ID" in text


@pytest.mark.slow
def test_an_object_store_that_overwrites_what_must_only_be_created_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the emulator does by itself."""
    with gs(conditions=False) as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        forget_clients()
        with pytest.raises(EnvironmentFault) as error:
            open_store(emulator.storage("runs"))
        forget_clients()
    assert one_line(error) == f"storage gs://bucket/runs: {storage.CONDITIONS}"
