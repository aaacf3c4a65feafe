"""What both sides of DVC's benchmarks stand on: made-up files, and calls that cannot be skipped as done before."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.harness import Work

if TYPE_CHECKING:
    from tests.workspace import Workspace

IMAGES, QUICK_IMAGES = 5000, 40
IMAGE_BYTES = 4096
RUNS, QUICK_RUNS = 50, 3


def images(quick: bool) -> list[bytes]:
    """Random bytes in place of encoded images: DVC looks at no pixel."""
    rng = np.random.default_rng(0)
    return [rng.bytes(IMAGE_BYTES) for _ in range(QUICK_IMAGES if quick else IMAGES)]


def write_images(folder: Path, contents: list[bytes]) -> None:
    folder.mkdir()
    for i, content in enumerate(contents):
        (folder / f"{i:05d}.jpg").write_bytes(content)


def adding(fill: Callable[[Path], Path]) -> Work:
    """Times `Repo.add` alone, in this process. `fill` writes into a folder, and says what in it is to be added.

    Each call has a fresh repository with fresh files, a cache and a database of hashes of its own, so that everything
    is hashed and stored. What the call returns are the seconds of `Repo.add`.
    """
    from dvc.repo import Repo

    def add() -> float:
        with tempfile.TemporaryDirectory(prefix="benchmark-dvc-") as name:
            root = Path(name, "repository")
            root.mkdir()
            os.environ["DVC_SITE_CACHE_DIR"] = str(Path(name, "site"))
            target = fill(root)
            with Repo.init(str(root), no_scm=True) as repo:
                began = time.perf_counter()
                repo.add(str(target))
                return time.perf_counter() - began

    return add


def up_to_date(holder: "tempfile.TemporaryDirectory[str]", workspace: "Workspace") -> Work:
    """The command `dvc repro` where all that its stages make is there: dvc.lock is written as if they had run."""
    for path in ("data/tiny/manifest.json", "reports/tiny/metrics.json"):
        (workspace.folder / path).parent.mkdir(parents=True)
        (workspace.folder / path).write_text("{}\n")
    workspace.run("dvc", "commit", "--force", "--quiet")

    def repro() -> None:
        assert holder.name  # lives as long as the work does
        assert "up to date" in workspace.run("dvc", "repro")

    return repro


def run_names(quick: bool) -> list[str]:
    return [f"run-{i}" for i in range(QUICK_RUNS if quick else RUNS)]


def fill_outputs(folder: Path, names: list[str]) -> None:
    """A folder for each run, with files of the sizes of the digits' runs."""
    rng = np.random.default_rng(0)
    for name in names:
        run = folder / name
        run.mkdir(parents=True)
        for file, size in (("weights.safetensors", 700_000), ("history.csv", 9_000), ("run.json", 2_000)):
            (run / file).write_bytes(rng.bytes(size))
