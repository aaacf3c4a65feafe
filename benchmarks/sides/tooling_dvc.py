"""DVC as this project uses it: one stage for all runs of an experiment, one file for all images of a split."""

import hashlib
import shutil
import tempfile
from pathlib import Path

from benchmarks import dvc_folders
from benchmarks.harness import Work


def repro_nothing(quick: bool) -> Work:
    """The command `dvc repro`, from its start to its end, where the four stages of one experiment are up to date.

    This project's own dvc.yaml, code and .dvcignore in a git repository; runs/ holds fifty made-up runs.
    """
    from tests.workspace import make

    holder = tempfile.TemporaryDirectory(prefix="benchmark-repro-")
    workspace = make(Path(holder.name, "checkout"), prepared=False)
    workspace.repository()
    root = workspace.folder
    names = dvc_folders.run_names(quick)
    dvc_folders.fill_outputs(root / "runs" / "tiny", names)
    (root / "results" / "tiny").mkdir(parents=True)
    for name in names:
        (root / "results" / "tiny" / f"{name}.json").write_text("{}\n")
    return dvc_folders.up_to_date(holder, workspace)


def add_shard(quick: bool) -> Work:
    """`Repo.add` of one Arrow file with all images, as the prepare stage packs them."""
    from pipeline.datasets import pack

    holder = tempfile.TemporaryDirectory(prefix="benchmark-shard-")
    source, contents = Path(holder.name, "images"), dvc_folders.images(quick)
    dvc_folders.write_images(source, contents)
    entries = [
        pack.Entry(str(path), path.name, 0, len(content), hashlib.sha256(content).hexdigest())
        for path, content in zip(sorted(source.iterdir()), contents, strict=True)
    ]
    (job,) = pack.jobs(Path(holder.name), "train", entries)
    with pack.processes(2) as run:  # in processes of their own: pyarrow is no part of what is measured
        list(run(pack.pack, [job]))
    shutil.rmtree(source)

    def fill(root: Path) -> Path:
        assert holder.name  # lives as long as the work does
        return Path(shutil.copy(job.path, root))

    return dvc_folders.adding(fill)
