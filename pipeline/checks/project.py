"""The checkout: git, DVC and params.yaml."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.checkout import revision
from pipeline.checks.line import Line, refused
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.config.experiment import Experiment

STATUS_S = 600.0  # `dvc status` reads what has changed: for ImageNet's shards, minutes


def git(root: Path) -> Line:
    at = revision(root)
    if at is None:
        return Line(
            "git",
            "no checkout with a commit",
            "git clone the project, or git init and commit, so that runs name their code",
        )
    return Line("git", f"{at.commit[:12]}, {'changed since' if at.dirty else 'clean'}")


def dvc_lock(root: Path) -> Line:
    """Whether another DVC is at work here; one that was killed leaves only what DVC itself clears."""
    folder, what = root / ".dvc" / "tmp", "DVC's lock"
    if _is_held(folder / "lock"):
        return Line(what, "held by another dvc", "wait for it, or end it")
    try:
        users = _users(folder / "rwlock")
    except (ValueError, LookupError, TypeError, AttributeError):
        return Line(what, f"{folder / 'rwlock'}: damaged", f"rm {folder / 'rwlock'}")
    for pid, command in users.items():
        if _is_dvc(pid):
            return Line(what, f"{command} (process {pid}) is at work", "wait for it, or end it")
        if _is_alive(pid):
            mend = f"rm {folder / 'rwlock'}, where no dvc runs on another machine"
            return Line(what, f"names process {pid}, which is no dvc of this machine", mend)
    return Line(what, "free")


def dvc_status(root: Path) -> Line:
    """What `dvc repro` would run."""
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=STATUS_S, check=False)
        stages = json.loads(done.stdout) if done.returncode == 0 else None
    except subprocess.TimeoutExpired:
        return Line("DVC", f"no answer in {STATUS_S:g} s", "see what `dvc status` waits for")
    except ValueError:
        stages = None
    if not isinstance(stages, dict):
        said = [text for text in done.stderr.splitlines() if text.startswith("ERROR")] or done.stderr.splitlines()[-1:]
        return Line("DVC", said[0].removeprefix("ERROR: ") if said else "no status", "mend it until `dvc status` works")
    return Line("DVC", f"dvc repro would run {', '.join(stages)}" if stages else "up to date")


def params(names: Sequence[str]) -> "tuple[list[Line], list[Experiment]]":
    """The experiments named, or those that `dvc repro` runs, and what is wrong with them."""
    from pipeline.config import params
    from pipeline.config.yaml_file import read_yaml

    lines, experiments = [], []
    try:
        listed = names or read_yaml(params.PARAMS).get("experiments", [])
        for name in listed if isinstance(listed, Sequence) else [listed]:
            experiments.append(params.load(str(name)))
            lines.append(Line("params.yaml", f"{name}, {len(experiments[-1].runs)} runs"))
        if not lines:
            lines.append(
                Line("params.yaml", "no experiment is listed", "name one under `experiments`, or after this command")
            )
    except UserError as error:
        lines.append(refused("params.yaml", error))
    return lines, experiments


def _is_held(path: Path) -> bool:
    try:
        with path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _users(path: Path) -> dict[int, str]:
    """Commands by process id, as DVC wrote them down."""
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8") or "{}")
    entries = [*content.get("write", {}).values(), *(one for many in content.get("read", {}).values() for one in many)]
    return {int(entry["pid"]): str(entry["cmd"]) for entry in entries}


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _is_dvc(pid: int) -> bool:
    try:
        return b"dvc" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
