"""What a command prints: streams whose loss ends no work, and texts without the passwords of addresses.

Needs the standard library only, because `--help` and a Python without packages print too.
"""

import errno
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MAX_CHARACTERS, MAX_WORD = 2000, 300  # of a message, and of a word in it
DISK = 3  # pipeline.errors.ENVIRONMENT, whose module needs a package
# A password may contain @, and after a colon a slash too. Without `//`, an address has user and password. In a path
# `//` has become `/`.
USERINFO = re.compile(r"(//|(?<=\w:)/)(?:[^\s/@:]*:\S*|[^\s/]*)@|(?<![\w.%+-])[\w.%+-]+:[^\s/]\S*@")
IN_QUERY = re.compile(r"([?&](?:password|passwd|pwd|token|secret|api_?key|signature)=)[^&\s'\"]+", re.IGNORECASE)


def redact_userinfo(text: str) -> str:
    """Removes `user:password@` from the addresses in a text, and passwords from their queries."""
    if "@" in text:
        text = USERINFO.sub(lambda found: found[1] or "", text)
    return IN_QUERY.sub(r"\1***", text)


def one_line(message: object) -> str:
    """Returns a message as one printable line without passwords: of very long texts in it, the begin and the end."""
    printable = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(message))
    words = redact_userinfo(printable).split(" ")
    return _cut(" ".join(_cut(word, MAX_WORD) for word in words), MAX_CHARACTERS)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} ... ({len(text):,} characters) ... {text[-most // 4 :]}"


class _Stream(io.TextIOWrapper):
    """Standard output or standard error. Writing raises no OSError, and shows no password."""

    failure: OSError | None = None  # the first one; what is written later goes to /dev/null

    def __init__(self, descriptor: int, before: Any) -> None:
        encoding, through = getattr(before, "encoding", "utf-8"), getattr(before, "write_through", False)
        lines = descriptor == 2 or getattr(before, "line_buffering", False)
        file = open(descriptor, "wb", closefd=False)  # noqa: SIM115 - until the process ends
        super().__init__(file, encoding, "backslashreplace", None, lines, through)

    def write(self, text: str) -> int:
        try:
            super().write(redact_userinfo(text))
        except OSError as error:
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        self.failure = error
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)
        super().flush()  # of what could not be written


@contextmanager
def standard_streams() -> Iterator[None]:
    """Lets a command finish its work where standard output or error is closed, full, or read by no process any more.

    The streams stay replaced until the process ends. Raises SystemExit with code 3 at the end of the block where a full
    disk lost some of the output; a closed pipe, as of `head`, is no error.
    """
    if sys.stdout is not sys.__stdout__:  # replaced already
        yield
        return
    _open_closed()
    output, sys.stderr = _Stream(1, sys.stdout), _Stream(2, sys.stderr)
    sys.stdout = output
    try:
        yield
    except SystemExit as end:
        if end.code:
            raise
    output.flush()
    if (failure := output.failure) and failure.errno != errno.EPIPE:
        how = "free some space and run the same command again"
        print(f"error: standard output: {failure.strerror}; {how}", file=sys.stderr)
        sys.exit(DISK)


def _open_closed() -> None:
    """Opens closed standard descriptors: otherwise the next file that is opened gets their number and their output."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - until the process ends
