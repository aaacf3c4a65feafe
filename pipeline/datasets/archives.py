"""Reads a .tar.gz that nobody vouches for: expected regular files, straight into memory and never to disk."""

import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import UserError

BLOCK = 512  # bytes; headers and contents are padded to it
MAX_MEMBERS = 64
MAX_PADDING = 1 << 20  # bytes of zeros after the end mark
MAX_PAX = 1 << 16  # bytes of an extended header, which is skipped unread
REGULAR, FOLDER, PAX = (b"0", b"\0"), b"5", (b"x", b"g")
KINDS = {b"1": "hard link", b"2": "symbolic link", b"3": "device", b"4": "device", b"6": "pipe", b"S": "sparse file"}


def read(archive: Path, wanted: Mapping[str, int]) -> dict[str, bytes]:
    """The members named in `wanted`, each at most so many bytes long; folders that lead to them are passed over.

    Raises UserError for whatever else is in the archive: other names, links, devices, a name twice, a member that is
    too long, a damaged or truncated file, bytes after the end.
    """
    try:
        with gzip.open(archive, "rb") as stream:
            return _members(stream, wanted)  # type: ignore[arg-type,unused-ignore]
    except _RefusedError as error:
        raise UserError(f"{archive}: {error}; fetch the archive again from where it is published") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{archive}: truncated or damaged gzip ({error}); fetch the archive again") from None
    except OSError as error:
        raise UserError(f"{archive}: {error.strerror or error}; make it readable or fetch it again") from None


class _RefusedError(Exception):
    """What is wrong with the archive."""


def _members(stream: BinaryIO, wanted: Mapping[str, int]) -> dict[str, bytes]:
    folders = {str(parent) for name in wanted for parent in Path(name).parents}
    found: dict[str, bytes] = {}
    for name, kind, size in _headers(stream):
        if kind in PAX:
            _content(stream, name, size, MAX_PAX)  # what it says of the next member is not needed, and not believed
        elif kind == FOLDER and name.rstrip("/") in folders and size == 0:
            continue
        elif kind not in REGULAR:
            raise _RefusedError(f"holds {name!r}, a {KINDS.get(kind, 'member of an unknown kind')}")
        elif name not in wanted:
            raise _RefusedError(f"holds {name!r}, which does not belong there")
        elif name in found:
            raise _RefusedError(f"holds {name!r} twice")
        else:
            found[name] = _content(stream, name, size, wanted[name])
    _only_zeros(stream)
    return found


def _headers(stream: BinaryIO) -> Iterator[tuple[str, bytes, int]]:
    """Name, kind and size of each member. The caller reads the content before it asks for the next."""
    for _ in range(MAX_MEMBERS + 1):
        block = _exactly(stream, BLOCK)
        if not any(block):
            return
        checksum = sum(block[:148]) + 8 * ord(" ") + sum(block[156:])
        if _octal(block[148:156]) != checksum:
            raise _RefusedError("a header's checksum is wrong")
        name = _text(block[:100])
        if block[257:263] == b"ustar\0" and block[345]:  # POSIX: the first part of a long name
            name = f"{_text(block[345:500])}/{name}"
        yield name.removeprefix("./"), block[156:157], _octal(block[124:136])
    raise _RefusedError(f"holds more than {MAX_MEMBERS} members")


def _content(stream: BinaryIO, name: str, size: int, limit: int) -> bytes:
    if size > limit:
        raise _RefusedError(f"{name!r} has {size} bytes, at most {limit} are read")
    content = _exactly(stream, size)
    _exactly(stream, -size % BLOCK)
    return content


def _exactly(stream: BinaryIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise _RefusedError("ends too early")
    return content


def _only_zeros(stream: BinaryIO) -> None:
    """To the end, so that gzip's own checksum is looked at."""
    total = 0
    while chunk := stream.read(1 << 16):
        total += len(chunk)
        if any(chunk) or total > MAX_PADDING:
            raise _RefusedError("has bytes after its end")


def _octal(digits: bytes) -> int:
    """A number in octal digits. The binary form (for 8 GiB and more) is refused: no member here is so long."""
    text = digits.strip(b" \0")
    if not text or any(digit not in b"01234567" for digit in text):
        raise _RefusedError("a header has a number that is not octal")
    return int(text, 8)


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
