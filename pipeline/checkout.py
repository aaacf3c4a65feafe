"""The git checkout that the pipeline runs in: which commit, and whether it was changed since."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

WRITTEN_BY_STAGES = (":!reports", ":!dvc.lock")  # these change while the pipeline runs
BUNDLED = ".bundle"  # in a copy without git: the commit it was made of, and whether that was changed


@dataclass(frozen=True, slots=True)
class Revision:
    commit: str
    dirty: bool  # tracked files differ from the commit, but for what the stages write

    def __str__(self) -> str:
        return f"{self.commit} (changed since)" if self.dirty else self.commit


def revision(root: Path) -> Revision | None:
    """None outside of a checkout, or before its first commit."""
    if (root / BUNDLED).is_file():  # before git, which would speak of a checkout that the copy happens to lie in
        return _bundled((root / BUNDLED).read_text())
    commit = _git(root, "rev-parse", "HEAD")
    status = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *WRITTEN_BY_STAGES)
    return None if not commit or status is None else Revision(commit, bool(status))


def _bundled(text: str) -> Revision | None:
    commit, _, dirty = text.strip().partition("\n")
    return Revision(commit, dirty == "True") if commit else None


def _git(root: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
