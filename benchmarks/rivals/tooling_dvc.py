"""DVC in the usual manner: a stage for each run, a folder of image files."""

import tempfile
from pathlib import Path

from benchmarks import dvc_folders
from benchmarks.harness import Work

STAGES = """\
stages:
  prepare:
    cmd: python -m pipeline.prepare tiny
    deps: [pipeline/prepare.py, pipeline/datasets]
    params: [tiny.data]
    outs:
      - data/tiny: {cache: false}
  train:
    foreach: ${runs}
    do:
      cmd: python -m pipeline.train tiny --only ${item}
      deps: [data/tiny, pipeline/train.py, pipeline/training/worker.py, resnet]
      params: [tiny]
      outs:
        - runs/${item}: {cache: false}
  report:
    cmd: python -m pipeline.report tiny
    deps: [runs, pipeline/report.py, pipeline/reporting]
    outs:
      - reports/tiny: {cache: false}
"""


def repro_nothing(quick: bool) -> Work:
    """The command `dvc repro`, from its start to its end, where preparation, fifty runs and a report are up to date.

    The same code, data and runs as ours has.
    """
    from tests.params_maker import params, write
    from tests.workspace import make

    holder = tempfile.TemporaryDirectory(prefix="benchmark-repro-")
    workspace = make(Path(holder.name, "checkout"), prepared=False)
    root = workspace.folder
    names = dvc_folders.run_names(quick)
    write(root / "params.yaml", params({"runs": names}))
    (root / "dvc.yaml").write_text(STAGES)
    workspace.repository()
    dvc_folders.fill_outputs(root / "runs", names)
    return dvc_folders.up_to_date(holder, workspace)


def add_folder(quick: bool) -> Work:
    """`Repo.add` of a folder of image files."""
    contents = dvc_folders.images(quick)

    def fill(root: Path) -> Path:
        dvc_folders.write_images(root / "images", contents)
        return root / "images"

    return dvc_folders.adding(fill)
