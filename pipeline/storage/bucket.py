"""A bucket, before it is used: that it is there and ours to write, and that it creates conditionally.

All locks of the runs in it rest upon the last.
"""

import secrets
from pathlib import Path
from typing import Any

from pipeline.errors import EnvironmentFault
from pipeline.storage.paths import create
from pipeline.storage.storage_faults import mend, reason, shown, told

PATIENCE_S = 30.0  # for a first answer, over all tries; the libraries would try for minutes
CONDITIONS = (
    "it writes an object that is to be created though there is one of that name (If-None-Match, ifGenerationMatch), "
    "so two workers would train the same run; use another object store, or a folder that all nodes share"
)


def probe(store: Path) -> None:
    """Raises EnvironmentFault, in a bounded time."""
    path: Any = store / f".probe-{secrets.token_hex(8)}"
    word = secrets.token_bytes(16)
    with told(store):
        try:
            path.fs.pipe_file(path.path, word, timeout=PATIENCE_S)
        except ValueError as error:  # of an address that is none
            raise EnvironmentFault(f"storage {shown(store)}: {reason(error)}; {mend(store, error)}") from None
        try:
            conditional = not create(path, b"")
            whole = path.read_bytes() == word
        finally:
            path.unlink(missing_ok=True)
    if not (conditional and whole):
        raise EnvironmentFault(f"storage {shown(store)}: {CONDITIONS}")
