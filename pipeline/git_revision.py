"""The code's revision: which git commit the checkout is at, and whether its files differ from it."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

WRITTEN_BY_STAGES = (":!reports", ":!dvc.lock")  # these change while the pipeline runs
VARIABLE = "DEEP_RESIDUAL_REVISION"  # names the revision where the code is a copy without git, such as an uploaded job
CHANGED = " (changed since)"


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit, and whether tracked files differ from it, apart from those that the stages write."""

    commit: str
    dirty: bool

    def __str__(self) -> str:
        return f"{self.commit}{CHANGED}" if self.dirty else self.commit


def revision(root: Path) -> Revision | None:
    """Returns the revision of the code in `root`; None outside of a checkout, or before its first commit."""
    if given := os.environ.get(VARIABLE):
        return Revision(given.removesuffix(CHANGED), given.endswith(CHANGED))
    commit = git(root, "rev-parse", "HEAD")
    status = git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *WRITTEN_BY_STAGES)
    return None if not commit or status is None else Revision(commit.strip(), bool(status.strip()))


def git(root: Path, *arguments: str) -> str | None:
    """Returns what a git command prints in `root`; None where it fails or takes half a minute."""
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, ValueError, subprocess.TimeoutExpired):  # ValueError: a name that is not UTF-8
        return None
    return done.stdout if done.returncode == 0 else None
