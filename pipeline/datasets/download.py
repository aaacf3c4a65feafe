"""Fetches one published file, pinned to the byte, by https and nothing else."""

import hashlib
import http.client
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

from pipeline.errors import EnvironmentFault
from pipeline.store.records import sha256

ATTEMPTS = 3
TIMEOUT_S = 30.0  # without a byte
CHUNK = 1 << 20  # bytes
AGAIN = (408, 425, 429, 500, 502, 503, 504)  # answers that may be different next time

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pinned:
    """What is published, and where."""

    name: str
    address: str
    bytes: int
    sha256: str


class Opener(Protocol):
    def open(self, fullurl: str, data: None = None, timeout: float | None = None) -> Any: ...


class _WrongError(Exception):
    """The answer is not the published file. `again`: whether another attempt may help."""

    def __init__(self, text: str, *, again: bool = True) -> None:
        super().__init__(text)
        self.again = again


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https addresses of the same domain only."""

    max_redirections = 5

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        to, home = urlsplit(newurl), _domain(req.full_url)
        if to.scheme != "https" or _domain(newurl) != home:
            raise _WrongError(f"redirected to {to.scheme}://{to.hostname}, allowed is https within {home}", again=False)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _domain(address: str) -> str:
    return ".".join((urlsplit(address).hostname or "").split(".")[-2:])


def secure_opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """An opener that knows https and no other scheme (urllib's own also opens file: and ftp:)."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        *(handlers or (urllib.request.HTTPSHandler(),)),
        urllib.request.ProxyHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
        _SecureRedirects(),
    ):
        opener.add_handler(handler)
    return opener


def fetch(
    pinned: Pinned, cache: Path, mend: str, opener: Opener | None = None, sleep: Callable[[float], None] = time.sleep
) -> Path:
    """The file in `cache`, from there or from its address; whole and right, or not there at all.

    Raises EnvironmentFault, which ends with `mend` (what to do without a network), after a bounded number of attempts.
    """
    target = cache / pinned.name
    if target.is_file() and target.stat().st_size == pinned.bytes and sha256(target) == pinned.sha256:
        return target
    if urlsplit(pinned.address).scheme != "https":
        raise EnvironmentFault(f"{pinned.address}: only https addresses are fetched; {mend}")
    made = [folder for folder in (cache.parent, cache) if not folder.exists()]
    cache.mkdir(parents=True, exist_ok=True)
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            sleep(2.0**attempt)
        try:
            _attempt(pinned, target, opener or secure_opener())
            return target
        except (_WrongError, OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            log.info("%s: attempt %d of %d: %s", pinned.address, attempt + 1, ATTEMPTS, reason)
            if isinstance(error, urllib.error.HTTPError) and error.code not in AGAIN:
                break
            if isinstance(error, _WrongError) and not error.again:
                break
    for folder in reversed(made):  # a refusal leaves the disk as it was
        folder.rmdir()
    raise EnvironmentFault(f"{pinned.name} could not be fetched from {pinned.address} ({reason}); {mend}")


def _attempt(pinned: Pinned, target: Path, opener: Opener) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    digest, size = hashlib.sha256(), 0
    try:
        with opener.open(pinned.address, timeout=TIMEOUT_S) as answer, temporary.open("wb") as file:
            told = answer.headers.get("Content-Length")
            if told is not None and told.strip() != str(pinned.bytes):
                raise _WrongError(f"the server offers {told} bytes, the published file has {pinned.bytes}")
            while chunk := answer.read(CHUNK):
                size += len(chunk)
                if size > pinned.bytes:
                    raise _WrongError(f"more than the published {pinned.bytes} bytes")
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if size != pinned.bytes:
            raise _WrongError(f"{size} of {pinned.bytes} bytes came")
        if digest.hexdigest() != pinned.sha256:
            raise _WrongError(f"SHA-256 {digest.hexdigest()}, published is {pinned.sha256}")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
