"""A checkout of the project in a temporary folder, with an experiment small enough to run in seconds."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.config import read_yaml
from pipeline.run_store import lease
from tests.factories.params import params, write

ROOT = Path(__file__).resolve().parents[2]
CODE = ("pipeline", "resnet", "dvc.yaml", "registrations")
MAKE_TABLES = "import sys; from mlflow import MlflowClient; MlflowClient(sys.argv[1]).search_experiments()"
PATIENCE_S = 400.0  # bound on waits that end by themselves; no outcome depends on it
TRAIN = (sys.executable, "-m", "pipeline", "train", "tiny")
MADE = (".runs", "runs", "results", "reports", "mlflow.db", "mlartifacts")
OF_OTHERS = ("RAY_", "MLFLOW_", "DVC_", "DEEP_RESIDUAL_")  # variables that must not reach a command under test


@dataclass(frozen=True)
class Workspace:
    """Its own copy of the code, so that tests may edit it; its own MLflow file and run store."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OF_OTHERS)}
        return {
            **kept,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}",
            "PYTHONPATH": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DVC_NO_ANALYTICS": "true",
            "GIT_CEILING_DIRECTORIES": str(self.folder.parent),
            **self.variables,
        }

    def untrained(self, folder: Path) -> "Workspace":
        """A copy as it was before anything was trained."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns(*MADE))
        (folder / "mlflow.db").write_bytes(tables())
        return Workspace(folder)

    def configure(self, changes: dict[str, Any] | None = None) -> None:
        write(self.folder / "params.yaml", params(changes))

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            words,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, code: int = 0) -> str:
        """The output of a command, which must end with exit code `code`."""
        process = self.start(*words)
        output, _ = process.communicate(timeout=900)
        assert process.returncode == code, output
        return output

    def stage(self, name: str, *words: str, code: int = 0) -> str:
        return self.run(sys.executable, "-m", "pipeline", name, "tiny", *words, code=code)

    def repository(self) -> None:
        """Makes it a git and DVC repository, as a clone is."""
        self.run("git", "init", "--quiet")
        self.run("dvc", "init", "--quiet")
        for name in (".gitignore", ".dvcignore"):
            shutil.copy(ROOT / name, self.folder)

    def edit(self, name: str, *pairs: tuple[str, str]) -> None:
        """Replaces texts of a file, each of which must be in it."""
        path = self.folder / name
        text = path.read_text()
        for old, new in pairs:
            assert old in text, (name, old)
            text = text.replace(old, new)
        path.write_text(text)

    @property
    def run_folders(self) -> list[Path]:
        return sorted(path for path in self._store.glob("*") if len(path.name) == 64)

    @property
    def _store(self) -> Path:
        params = self.folder / "params.yaml"
        return self.folder / _storage(params, params.stat().st_mtime_ns)

    def holders(self) -> dict[Path, lease.Holder]:
        """The attempts that hold a lease, by run folder."""
        found = {folder: lease.read(folder) for folder in self.run_folders}
        return {folder: holder for folder, holder in found.items() if holder is not None and not holder.has_died}

    def finished(self) -> list[Path]:
        return [folder for folder in self.run_folders if (folder / "run.json").exists()]

    def weights(self) -> dict[str, str]:
        """Digest of the final weights of every published run."""
        files = (self.folder / "runs" / "tiny").glob("*/weights.safetensors")
        return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def histories(self) -> dict[str, list[str]]:
        """history.csv of every published run without its two columns of time."""
        files = (self.folder / "runs" / "tiny").glob("*/history.csv")
        return {path.parent.name: untimed(path) for path in files}

    def wait_until_idle(self) -> None:
        """Waits until no worker of a killed driver trains any more."""
        wait_for(lambda: not self.holders(), "a run is still being trained")


def untimed(history: Path) -> list[str]:
    """The lines of a history.csv without its two columns of time."""
    return [line.rsplit(",", 2)[0] for line in history.read_text().splitlines()]


def wait_for(condition: Callable[[], Any], what: object, patience_s: float = PATIENCE_S) -> Any:
    """The first true value of the condition; an AssertionError with `what` after a long time."""
    deadline = time.monotonic() + patience_s
    while not (value := condition()):
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.05)
    return value


def make(folder: Path, changes: dict[str, Any] | None = None, *, prepared: bool = True) -> Workspace:
    """A workspace, with its data."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in CODE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    workspace = Workspace(folder)
    workspace.configure(changes)
    (folder / "mlflow.db").write_bytes(tables())
    if prepared:
        workspace.stage("prepare")
    return workspace


@cache
def tables() -> bytes:
    """A database of MLflow without a run: to make one takes seconds, to copy it does not."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mlflow.db")
        words = [sys.executable, "-c", MAKE_TABLES, f"sqlite:///{path}"]
        subprocess.run(words, cwd=folder, check=True, capture_output=True)
        return path.read_bytes()


@cache
def _storage(params: Path, _changed: int) -> str:
    """The place of the run store: tests look at it many times a second, and YAML takes long to read."""
    return str(read_yaml(params)["storage"])
