"""Where the run store is kept: a folder, or objects of a bucket. All differences between the two are in this file.

Everything else works on paths: pathlib's in a folder, universal_pathlib's in a bucket. The libraries of a bucket are
imported only where `storage` names one, and take credentials and endpoint from the environment.
"""

import contextlib
import errno
import functools
import importlib
import logging
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard

from pipeline.errors import EnvironmentFault
from pipeline.messages import redact_userinfo
from pipeline.paths import checkout

LIBRARIES = {"s3": "s3fs", "gs": "gcsfs"}  # each is an extra of that name
BUCKET = r"(s3|gs)://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/[A-Za-z0-9_=+-][A-Za-z0-9._=+-]*)*/?"
PLACES = "a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"
FIRST_ANSWER_S = 30.0  # over all tries of the first request
TIMEOUT_S = 20.0  # of one request to an object store
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # of file systems without hard links
RESUMES = "the same command resumes from the last checkpoints"
ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "raise the quota, or free some of it",
    errno.EROFS: "make it writable (mount -o remount,rw)",
    errno.EACCES: "give this user permission to write there",
    errno.EIO: "check the disk",
}
SETTINGS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, and AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, and STORAGE_EMULATOR_HOST",
}
CLIENTS = ("aiobotocore", "aiohttp", "botocore", "fsspec", "gcsfs", "google", "requests", "s3fs", "urllib3")
CONDITIONS = (
    "it overwrites an object that must only be created (If-None-Match, ifGenerationMatch), so two workers would train "
    "the same run; use another object store, or a folder that all nodes share"
)
# gcsfs reads this when it is imported. Without it gcsfs asks another service for the kind of the bucket.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it raises the errors that it logs


def is_place(storage: object) -> TypeGuard[str]:
    """Whether `storage` can name a folder, or is a bucket and a prefix without password, query or pattern."""
    if not isinstance(storage, str):
        return False
    if "://" in storage:
        return re.fullmatch(BUCKET, storage) is not None
    return bool(storage.strip()) and storage.isprintable()


def locate(storage: str) -> Path:
    """The absolute path of the store; nothing is looked up yet. Raises EnvironmentFault where a library is missing."""
    kind, remote, _ = storage.partition("://")
    if not remote:
        return checkout() / storage
    try:
        importlib.import_module(LIBRARIES[kind])
        from upath import UPath
    except ImportError as error:
        raise EnvironmentFault(
            f"storage {storage}: {error.name} is not installed; install the extra `{kind}` on every node: "
            f"pip install '.[{kind}]'"
        ) from None
    path: Any = UPath(storage, use_listings_cache=False, **_client_options(kind))  # others write there too
    return path  # type: ignore[no-any-return]


def _client_options(kind: str) -> dict[str, Any]:
    if kind == "gs":
        emulated = {"token": "anon"} if "STORAGE_EMULATOR_HOST" in os.environ else {}  # otherwise it looks for some
        return {"requests_timeout": TIMEOUT_S, **emulated}
    retries = {"total_max_attempts": 3, "mode": "standard"}
    return {"config_kwargs": {"connect_timeout": 5.0, "read_timeout": TIMEOUT_S, "retries": retries}}


def is_remote(path: Path) -> bool:
    """Whether the path is an object of a bucket, or a prefix."""
    return not isinstance(path, Path)


def open_store(storage: str) -> Path:
    """The store's path. Makes a folder. Raises EnvironmentFault where writing or exclusive creation fails."""
    store = locate(storage)
    probe = store / f".probe-{secrets.token_hex(8)}"
    with storage_errors(store):
        try:
            if is_remote(store):
                remote: Any = probe
                remote.fs.pipe_file(remote.path, probe.name.encode(), timeout=FIRST_ANSWER_S)
            else:
                store.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_bytes(probe, probe.name.encode())
            exclusive = not create(probe, b"") and probe.read_bytes() == probe.name.encode()
            probe.unlink(missing_ok=True)
        except ValueError as error:  # of an invalid address
            raise EnvironmentFault(f"storage {_shown(store)}: {reason(error)}; {fix(store, error)}") from None
    if not exclusive:
        raise EnvironmentFault(f"storage {_shown(store)}: {CONDITIONS}")
    return store


def make_folder(folder: Path) -> None:
    """Makes a folder and its parents; a bucket needs none."""
    if not is_remote(folder):
        folder.mkdir(parents=True, exist_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file as a whole or not at all, durably: temporary file, fsync, rename, fsync of the folder.

    An object of a bucket is atomic by nature.
    """
    if is_remote(path):
        remote: Any = path
        remote.fs.pipe_file(remote.path, content)
        return
    with _written(path, content) as temporary:
        os.replace(temporary, path)


def create(path: Path, content: bytes) -> bool:
    """Creates a file, as a whole or not at all. False where it exists: of several at once, one succeeds."""
    if is_remote(path):
        return _create_object(path, content)
    try:
        with _written(path, content) as temporary:
            try:
                os.link(temporary, path)
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                with path.open("xb") as file:  # exclusive too, but a kill may leave it short
                    file.write(content)
    except FileExistsError:
        return False
    return True


def _create_object(path: Any, content: bytes) -> bool:
    try:
        path.fs.pipe_file(path.path, content, mode="create")
    except OSError as error:
        if not isinstance(error, FileExistsError) and _http_status(error) not in (409, 412):
            raise
        # A request whose answer was lost is sent again, and then finds its own object.
        with contextlib.suppress(FileNotFoundError):
            return bool(path.read_bytes() == content)
        return False
    return True


def _http_status(error: OSError) -> int | None:
    answer = getattr(error.__cause__, "response", None)
    return answer.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(answer, dict) else None


def age_s(path: Path) -> float:
    """Seconds since the file was written, by the clock of the store. Raises FileNotFoundError."""
    now = path.with_name(f".now-{secrets.token_hex(8)}")
    write_bytes(now, b"")
    try:
        return _modified_s(now) - _modified_s(path)
    finally:
        now.unlink(missing_ok=True)


def _modified_s(path: Any) -> float:
    return float(path.fs.modified(path.path).timestamp() if is_remote(path) else path.stat().st_mtime)


def fetch(source: Path, target: Path) -> None:
    """Makes `target`, in a folder, a copy of the file `source`. No change of it reaches the run store."""
    if is_remote(source):
        remote: Any = source
        remote.fs.get_file(remote.path, str(target))
    else:
        shutil.copyfile(source, target)


def local_copy(folder: Path, *names: str) -> Path:
    """A local folder with these files of `folder`: itself, or downloads that exist until this process ends."""
    if not is_remote(folder):
        return folder
    local = Path(tempfile.mkdtemp(dir=_downloads().name))
    for name in names:
        fetch(folder / name, local / name)
    return local


@functools.cache
def _downloads() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="runs-")


@contextmanager
def storage_errors(store: Path) -> Iterator[None]:
    """Turns an error of the storage within the block into an EnvironmentFault; all others pass."""
    try:
        yield
    except Exception as error:
        if not is_storage_error(store, error):
            raise
        raise EnvironmentFault(f"storage {_shown(store)}: {reason(error)}; {fix(store, error)}") from None


def is_storage_error(store: Path, error: Exception) -> bool:
    """Whether the error comes from the disk, or from a library that talks to the object store."""
    of_client = is_remote(store) and type(error).__module__.partition(".")[0] in CLIENTS
    return of_client or isinstance(error, OSError)


def reason(error: Exception) -> str:
    """The error on one line, without passwords."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return redact_userinfo(" ".join(text.split()))[:300].rstrip(".")


def fix(store: Path, error: Exception) -> str:
    """What the user can do about an error of the storage."""
    if is_remote(store):
        settings = SETTINGS[_shown(store).partition("://")[0]]
        return (
            "check that the bucket exists, and that every node reaches it and may list, read, write and delete there "
            f"({settings}); {RESUMES}"
        )
    default = "check the disk, or set `storage` to a folder that you can write"
    return f"{ADVICE.get(getattr(error, 'errno', None) or 0, default)}; {RESUMES}"


def _shown(store: Path) -> str:
    return str(store).rstrip("/")


@contextmanager
def _written(path: Path, content: bytes) -> Iterator[Path]:
    """A temporary file next to `path` with the content on the disk, for the block to move; then syncs the folder."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        with contextlib.suppress(OSError):  # of a disk that became read-only; the error before it is reported
            temporary.unlink(missing_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
