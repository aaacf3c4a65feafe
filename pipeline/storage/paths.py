"""Where the run store lies: in a folder, or as objects of a bucket. Here is all in which the two differ for a file.

Everything else works on paths: pathlib's in a folder; in a bucket universal_pathlib's, which behave like them. Its
libraries are imported only where `storage` names a bucket, and take credentials and endpoint from the environment.
"""

import contextlib
import errno
import functools
import importlib
import logging
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, TypeGuard

from pipeline.errors import EnvironmentFault

LIBRARIES = {"s3": "s3fs", "gs": "gcsfs"}  # each an extra of that name
BUCKET = r"(s3|gs)://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/[A-Za-z0-9_=+-][A-Za-z0-9._=+-]*)*/?"
PLACES = "a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # of file systems without hard links
# Read when gcsfs is imported, which a worker does without `locate`. It would ask another service what kind of bucket it
# is, and for minutes where that is not to be had.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # what it logs of an error is raised as well
TIMEOUT_S = 20.0  # of one request; a store that does not answer is a fault, not a reason to wait for ever


def is_place(storage: object) -> TypeGuard[str]:
    """Whether it can name a folder, or is a bucket and a prefix, without password, query or pattern."""
    if not isinstance(storage, str):
        return False
    if "://" in storage:
        return re.fullmatch(BUCKET, storage) is not None
    return bool(storage.strip()) and storage.isprintable()


def without_password(text: str) -> str:
    """Without what an address may hold before its host."""
    return re.sub(r"//[^/@\s]+@", "//", text)


def locate(storage: str) -> Path:
    """The store's path, absolute; nothing is looked up yet. Raises EnvironmentFault where a library is missing."""
    kind, remote, _ = storage.partition("://")
    if not remote:
        return Path(storage).absolute()
    try:
        importlib.import_module(LIBRARIES[kind])
        from upath import UPath
    except ImportError as error:
        raise EnvironmentFault(
            f"storage {storage}: {error.name} is not installed; install the extra `{kind}` on every node: "
            f"pip install '.[{kind}]'"
        ) from None
    # Listings are not kept: others write there too.
    path: Any = UPath(storage, use_listings_cache=False, **_patience(kind))
    return path  # type: ignore[no-any-return]


def _patience(kind: str) -> dict[str, Any]:
    """How long the library tries."""
    if kind == "gs":
        emulated = {"token": "anon"} if "STORAGE_EMULATOR_HOST" in os.environ else {}  # else it looks for credentials
        return {"requests_timeout": TIMEOUT_S, **emulated}
    retries = {"total_max_attempts": 3, "mode": "standard"}
    return {"config_kwargs": {"connect_timeout": 5.0, "read_timeout": TIMEOUT_S, "retries": retries}}


def is_remote(path: Path) -> bool:
    """Whether it is an object of a bucket, or a prefix."""
    return not isinstance(path, Path)


def make_folder(folder: Path) -> None:
    """A bucket has no folders to be made."""
    if not is_remote(folder):
        folder.mkdir(parents=True, exist_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Whole or not at all, and on the disk when it returns: temporary file, fsync, rename, fsync of the folder.

    An object is so by nature: nobody sees it before all of it is there.
    """
    if is_remote(path):
        remote: Any = path
        remote.fs.pipe_file(remote.path, content)
        return
    temporary = _temporary(path)
    try:
        _write_out(temporary, content)
        os.replace(temporary, path)
    except BaseException:
        _drop(temporary)
        raise
    _sync_folder(path.parent)


def create(path: Path, content: bytes) -> bool:
    """Writes a file of a new name, whole or not at all. False where there is one: of several at once, one succeeds."""
    if is_remote(path):
        return _create_object(path, content)
    temporary = _temporary(path)
    try:
        _write_out(temporary, content)
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            with path.open("xb") as file:  # exclusive as well, though a kill may leave it short
                file.write(content)
    except FileExistsError:
        return False
    finally:
        _drop(temporary)
    _sync_folder(path.parent)
    return True


def _create_object(path: Any, content: bytes) -> bool:
    try:
        path.fs.pipe_file(path.path, content, mode="create")
    except OSError as error:
        if not isinstance(error, FileExistsError) and _status(error) not in (409, 412):
            raise
        # A request whose answer was lost is sent again, and then meets what it wrote itself.
        with contextlib.suppress(FileNotFoundError):
            return bool(path.read_bytes() == content)
        return False
    return True


def _status(error: OSError) -> int | None:
    """HTTP status of an answer that the library has no exception of its own for."""
    answer = getattr(error.__cause__, "response", None)
    return answer.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(answer, dict) else None


def fetch(source: Path, target: Path) -> None:
    """`target`, a file in a folder, becomes what `source` is: by a link, a copy, or a download."""
    if is_remote(source):
        remote: Any = source
        remote.fs.get_file(remote.path, str(target))
        return
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system
        shutil.copy2(source, target)


def at_hand(folder: Path, *names: str) -> Path:
    """A folder with these files of `folder`: itself, or downloads that are there until this process ends."""
    if not is_remote(folder):
        return folder
    local = Path(tempfile.mkdtemp(dir=_downloads().name))
    for name in names:
        fetch(folder / name, local / name)
    return local


@functools.cache
def _downloads() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="runs-")


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _write_out(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _drop(temporary: Path) -> None:
    with contextlib.suppress(OSError):  # on a disk that has become read-only; the error before it is the one to tell
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
