"""Fencing: every attempt at a run has a number, and only the highest of them may write what counts.

A worker that was stopped, or cut off from the others, may have lost its lock without knowing. Its number tells: the
next attempt has taken a higher one, of a file that is created where there is none of that name. Each checkpoint and
each file of the result is written only after a look at the numbers.

Between that look and the write an attempt may still be overtaken. That is harmless. Whichever attempt writes a state
after iteration N, or a result, writes the same weights and errors, for a run is deterministic. A checkpoint bears its
iteration as its name, so an older one replaces no newer one, and none is read once the run is finished. run.json, which
makes it finished, comes last and is created, never replaced. Only the columns of time, and the number of attempts, may
then be those of the other. Where a recipe lets the number of workers change, and with it the last bits, the weights'
digest in run.json tells of a mixture, which is refused.
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from pipeline.storage.paths import create
from pipeline.storage.storage_faults import told
from resnet.errors import WorkerLost


class Superseded(WorkerLost):
    """Another attempt at the run has begun, so this one must end."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one worker at one run."""

    folder: Path
    number: int  # from 1, without gaps: as many attempts have been made
    mark: bytes  # of this one alone: numbers begin again after `--fresh`

    def require(self) -> None:
        """Raises Superseded unless this is the last attempt, and EnvironmentFault where that cannot be seen."""
        with told(self.folder.parent):
            last = _all(self.folder)[-1:]
            try:
                ours = [path.read_bytes() for path in last] == [self.mark]
            except FileNotFoundError:  # cleared at this moment
                ours = False
        if not ours:
            raise Superseded(
                f"attempt {self.number} at this run was overtaken by another while it was stopped or cut off; "
                "it writes nothing more"
            )


def begin(folder: Path) -> Attempt:
    """The next attempt."""
    mark = f"{os.getpid()} {secrets.token_hex(16)}\n".encode()
    while True:
        number = max(map(_number, _all(folder)), default=0) + 1
        if create(folder / f"attempt-{number:06d}", mark):
            return Attempt(folder, number, mark)


def forget(folder: Path) -> None:
    """Once the run is finished. Raises EnvironmentFault."""
    with told(folder.parent):
        for path in folder.glob("attempt*"):
            path.unlink(missing_ok=True)


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("attempt-*"))


def _number(path: Path) -> int:
    return int(path.name.partition("-")[2])
