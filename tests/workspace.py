"""A checkout of the project in a temporary folder, with an experiment small enough to run in seconds."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests.params_maker import params, write

ROOT = Path(__file__).resolve().parent.parent
CODE = ("pipeline", "resnet", "dvc.yaml")
MAKE_TABLES = """
import sys
from pipeline.tracking.surroundings import prepare_environment
prepare_environment()
from mlflow.tracking import MlflowClient
MlflowClient(tracking_uri=sys.argv[1]).search_experiments()
"""
PATIENCE_S = 400.0  # bound on waits that end by themselves; no outcome depends on it


@dataclass(frozen=True)
class Workspace:
    """Its own copy of the code, so that tests may edit it; its own MLflow file and run store."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "DVC_"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
        return {
            **kept,
            "PATH": path,
            "PYTHONPATH": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DVC_NO_ANALYTICS": "true",
            "GIT_CEILING_DIRECTORIES": str(self.folder.parent),
            **self.variables,
        }

    def untrained(self, folder: Path) -> "Workspace":
        """A copy as it was before anything was trained."""
        made = (".runs", "runs", "mlflow.db", "mlartifacts")
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns(*made))
        (folder / "mlflow.db").write_bytes(tables())
        return Workspace(folder)

    def configure(self, changes: dict[str, Any] | None = None) -> None:
        write(self.folder / "params.yaml", params(changes))

    def start(self, *words: str, new_session: bool = True) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            words,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=new_session,
        )

    def run(self, *words: str, code: int = 0) -> str:
        """Its output; the command must end with exit code `code`."""
        process = self.start(*words)
        output, _ = process.communicate(timeout=900)
        assert process.returncode == code, output
        return output

    def stage(self, name: str, *words: str, code: int = 0) -> str:
        return self.run(sys.executable, "-m", f"pipeline.{name}", "tiny", *words, code=code)

    def prepare(self) -> None:
        self.stage("prepare")

    def repository(self) -> None:
        """Makes it a git and DVC repository, as a clone is."""
        self.run("git", "init", "--quiet")
        self.run("dvc", "init", "--quiet")
        for name in (".gitignore", ".dvcignore"):
            shutil.copy(ROOT / name, self.folder)

    @property
    def slots(self) -> list[Path]:
        return sorted(path for path in (self.folder / ".runs").glob("*") if len(path.name) == 64)

    def weights(self) -> dict[str, str]:
        """Digest of the final weights of every published run."""
        files = (self.folder / "runs" / "tiny").glob("*/weights.safetensors")
        return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def histories(self) -> dict[str, list[str]]:
        """history.csv of every published run without its two columns of time."""
        files = (self.folder / "runs" / "tiny").glob("*/history.csv")
        return {path.parent.name: [line.rsplit(",", 2)[0] for line in path.read_text().splitlines()] for path in files}

    def wait_until_idle(self) -> None:
        """Until nobody holds a run's lock: no worker of a killed driver goes on training."""
        deadline = time.monotonic() + PATIENCE_S
        for slot in self.slots:
            with (slot / "lock").open("a") as file:
                while True:
                    try:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    except BlockingIOError:
                        assert time.monotonic() < deadline, f"{slot.name} is still being trained"
                        time.sleep(0.1)


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
    if prepared:
        workspace.prepare()
        (folder / "mlflow.db").write_bytes(tables())
    return workspace


@cache
def tables() -> bytes:
    """A database of MLflow's without a run: to make one takes seconds, to copy it does not."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mlflow.db")
        subprocess.run([sys.executable, "-c", MAKE_TABLES, f"sqlite:///{path}"], cwd=ROOT, check=True)
        return path.read_bytes()
