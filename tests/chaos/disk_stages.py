"""A small project folder, and its stages run in forks: torch and the others are imported once for all."""

import copy
import logging
import os
import resource
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from unittest.mock import patch

import torch

import pipeline.evaluate
import pipeline.prepare
import pipeline.report
import pipeline.train
from pipeline import lifeline
from pipeline.config.params import load
from pipeline.errors import run_stage
from pipeline.evaluation import assess
from pipeline.training import plan, worker
from tests.chaos.disk import HARD
from tests.params_maker import params, write

NAME = "tiny"
MAINS = {
    "data": pipeline.prepare.main,
    "runs": pipeline.train.main,
    "results": pipeline.evaluate.main,
    "reports": pipeline.report.main,
}
IMAGES = "images"  # an experiment of which the data alone are made


@dataclass(frozen=True, slots=True)
class Ended:
    """How a fork ended, and what it said."""

    code: int
    said: str
    errors: str

    @property
    def refusal(self) -> bool:
        """One line for the user, and the exit code for the world around the pipeline."""
        lines = [line for line in self.errors.splitlines() if line.startswith("error: ")]
        return self.code == 3 and len(lines) == 1 and "Traceback" not in self.errors


def forked(main: Callable[[], Any], first: Callable[[], Any] = lambda: None, *words: str) -> Ended:
    """`main` as a stage with these arguments, after `first`, which may change the child's copy of the code."""
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                sys.stdout, sys.stderr, sys.argv = out, errors, ["stage", *words]
                logging.root.handlers.clear()
                first()
                code = _stage(main)
            except BaseException:
                traceback.print_exc()
            finally:
                _leave(code, out, errors)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        out.seek(0)
        errors.seek(0)
        return Ended(code, out.read(), errors.read())


def _leave(code: int, *said: IO[str]) -> None:
    """Ends the fork. What it said is written even where a limit stands for a full disk."""
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (HARD, HARD))
        for text in said:
            text.flush()
    finally:
        os._exit(code)


def _stage(main: Callable[[], Any]) -> int:
    torch.set_num_threads(1)
    with patch.object(lifeline, "end_with_parent", lambda: None):
        try:
            run_stage(main)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
    return 0


def configure(storage: Path, images: Path) -> None:
    """params.yaml of the working folder: an experiment for all stages, and one whose data is a tree of images."""
    content = params({"tiny.architecture.blocks": [1], "tiny.seeds": [0], "storage": str(storage)})
    tree = {"dataset": "folder", "source": str(images), "validation": 0.2, "test": 0.2}
    content |= {"experiments": [NAME, IMAGES], IMAGES: {**copy.deepcopy(content[NAME]), "data": tree}}
    write(Path("params.yaml"), content)


def stage(target: Path, first: Callable[[], Any] = lambda: None) -> Ended:
    """The stage that makes the folder `target`. Without MLflow, whose address is refused at once."""
    os.environ["MLFLOW_TRACKING_URI"] = "none:"
    return forked(MAINS[target.parent.name], first, target.name)


def train_all() -> None:
    """What the train stage has Ray do: every run, one after the other."""
    for job in plan.jobs_of(load(NAME), plan.manifest_of(NAME)):
        for _ in worker.execute(job):
            pass


def assessments() -> list[assess.Assessment]:
    return pipeline.evaluate._assessments(load(NAME), plan.manifest_of(NAME))


def assess_all() -> None:
    """What the evaluate stage has Ray do."""
    for job in assessments():
        for _ in assess.execute(job):
            pass
