"""What a disk or an object store answers instead of doing what it is asked, as one line that says how to mend it."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import EnvironmentFault
from pipeline.storage.paths import is_remote, without_password

GOES_ON = "the same command goes on from the last checkpoints"
ADVICE = {  # what a disk answers instead of writing, and what is to be done
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "raise the quota, or free some of it",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
    errno.EROFS: "let it be written again (mount -o remount,rw)",
    errno.EACCES: "let this user write there",
    errno.EPERM: "let this user write there",
}
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
}
ENDPOINT = {"s3": "AWS_ENDPOINT_URL", "gs": "STORAGE_EMULATOR_HOST"}
_CLIENTS = ("aiobotocore", "aiohttp", "botocore", "fsspec", "gcsfs", "google", "requests", "s3fs", "urllib3")


@contextmanager
def told(store: Path) -> Iterator[None]:
    """Turns an error of the storage within the block into an EnvironmentFault; all others pass."""
    try:
        yield
    except Exception as error:
        if not is_fault(store, error):
            raise
        raise EnvironmentFault(f"storage {shown(store)}: {reason(error)}; {mend(store, error)}") from None


def is_fault(store: Path, error: Exception) -> bool:
    """Whether it comes from the disk, or from one of the libraries that speak with the object store."""
    theirs = is_remote(store) and type(error).__module__.partition(".")[0] in _CLIENTS
    return theirs or isinstance(error, OSError)


def reason(error: Exception) -> str:
    """On one line."""
    text = getattr(error, "strerror", None) or str(error).strip()
    if not text:
        text = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    elif isinstance(error, FileNotFoundError) and "://" in text:  # an address is all that some libraries say
        text = f"not found: {text}"
    return without_password(" ".join(text.split()))[:300].rstrip(".")


def mend(store: Path, error: Exception) -> str:
    if not is_remote(store):
        default = "see what is wrong with the disk, or set `storage` to a folder you can write"
        return f"{ADVICE.get(getattr(error, 'errno', None) or 0, default)}; {GOES_ON}"
    kind, name = shown(store).partition("://")[0], type(error).__name__
    if isinstance(error, FileNotFoundError):
        return "make the bucket, or set `storage` to another"
    if isinstance(error, PermissionError) or "Credential" in name or "Auth" in name or "Forbidden" in str(error):
        return f"set credentials that may list, read, write and delete there, on every node ({CREDENTIALS[kind]})"
    return f"see that every node reaches the object store ({ENDPOINT[kind]} names another endpoint); {GOES_ON}"


def shown(store: Path) -> str:
    """As it stands in params.yaml."""
    return str(store).rstrip("/")
