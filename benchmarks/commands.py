"""Commands: `--help`, and DVC as this project uses it against the usual manner.

Here one stage trains all runs, and one file has all images of a split. Usual are a stage for each run and a folder of
image files.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from dvc.repo import Repo

from benchmarks.digits_stage import temporary_folder
from benchmarks.harness import ROOT, Work

IMAGES, QUICK_IMAGES = 5000, 40
IMAGE_BYTES = 4096
RUNS, QUICK_RUNS = 50, 3
COPIED = ("pipeline", "resnet", "dvc.yaml", "registrations", "params.yaml", ".gitignore", ".dvcignore")
STAGE_FOR_EACH_RUN = """\
stages:
  train:
    foreach: ${runs}
    do:
      cmd: python -m pipeline train digits --only ${item}
      deps: [data/digits, pipeline, resnet]
      params: [digits]
      outs:
        - runs/digits/${item}: {cache: false}
"""


def command(quick: bool, words: list[str]) -> Work:
    """A Python process with these words, from its start to its end."""

    def call() -> None:
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)

    return Work(call)


def repro_nothing(quick: bool, stage_for_each_run: bool) -> Work:
    """The command `dvc repro`, from its start to its end, where everything is up to date.

    This project's own code, .dvcignore and dvc.yaml in a git repository; runs/ holds fifty made-up runs. The baseline's
    dvc.yaml has a stage for each of them.
    """
    names = [f"run-{i}" for i in range(QUICK_RUNS if quick else RUNS)]
    root = _checkout(names)
    if stage_for_each_run:
        (root / "dvc.yaml").write_text(STAGE_FOR_EACH_RUN)
        with (root / "params.yaml").open("a") as file:
            file.write(f"runs: {json.dumps(names)}\n")
    _run(root, "dvc", "commit", "--force", "--quiet")  # writes dvc.lock as if all stages had run

    def call() -> None:
        assert "up to date" in _run(root, "dvc", "repro")

    return Work(call)


def _checkout(names: list[str]) -> Path:
    """Returns a repository with this project's code, and files of the sizes of the digits' data, runs and results."""
    root = temporary_folder("benchmark-repro-")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root)
    _run(root, "git", "init", "--quiet")
    _run(root, "dvc", "init", "--quiet")
    rng = np.random.default_rng(0)
    sizes = {"weights.safetensors": 700_000, "history.csv": 9_000, "run.json": 2_000}
    files = {f"runs/digits/{name}/{file}": rng.bytes(size) for name in names for file, size in sizes.items()}
    files |= {f"results/digits/{name}.json": b"{}\n" for name in names}
    files |= dict.fromkeys(("data/digits/manifest.json", "reports/digits/metrics.json"), b"{}\n")
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    params = root / "params.yaml"
    params.write_text(params.read_text().replace("experiments: [fashion]", "experiments: [digits]"))
    return root


def _run(root: Path, *words: str) -> str:
    """Runs a command; returns what it prints."""
    environ = {**os.environ, "GIT_CEILING_DIRECTORIES": str(root.parent)}
    return subprocess.run(words, cwd=root, env=environ, stdout=subprocess.PIPE, text=True, check=True).stdout


def add(quick: bool, shard: bool) -> Work:
    """Times only `Repo.add`, in this process: of one Arrow file with all images, or of a folder of image files.

    Each call has a fresh repository with fresh files, cache and database of hashes, so that everything is hashed and
    stored. The images are random bytes: DVC looks at no pixel.
    """
    rng = np.random.default_rng(0)
    images = [rng.bytes(IMAGE_BYTES) for _ in range(QUICK_IMAGES if quick else IMAGES)]
    write = write_shard if shard else write_folder

    def call() -> float:
        with tempfile.TemporaryDirectory(prefix="benchmark-dvc-") as name:
            root = Path(name, "repository")
            root.mkdir()
            os.environ["DVC_SITE_CACHE_DIR"] = str(Path(name, "site"))
            write(root / "images", images)
            with Repo.init(str(root), no_scm=True) as repo:
                began = time.perf_counter()
                repo.add(str(root / "images"))
                return time.perf_counter() - began

    return Work(call)


def write_shard(path: Path, images: list[bytes]) -> None:
    """Writes one file as the prepare stage does."""
    table = pa.table({"image": pa.array(images, pa.binary())})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def write_folder(path: Path, images: list[bytes]) -> None:
    path.mkdir()
    for i, content in enumerate(images):
        (path / f"{i:05d}.jpg").write_bytes(content)
