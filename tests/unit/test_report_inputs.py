"""What a report is made from, as the claims read it."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.records import RunResult, packed, read, write_json
from pipeline.reporting.inputs import gather
from tests.factories.reports import EXPERIMENT, Made, make


def test_errors_are_counts_of_images(tmp_path: Path) -> None:
    experiment = make(tmp_path, Made(networks=("plain-18",), seeds=2))
    path = tmp_path / "results" / EXPERIMENT / "plain-18-seed0.json"
    result = read(RunResult, path, "")
    mask = np.arange(297) < result.val.top1_errors
    write_json(path, result.model_copy(update={"val": result.val.model_copy(update={"wrong": packed(mask)})}))
    (found,) = gather(experiment, tmp_path).study.networks
    first, second = found.runs
    # rows end every 20 iterations of 64 images: the last 1,200 images begin in the row before the last
    assert first.images == {"train": 1280, "clean": 1200, "val": 297, "test": 300}
    assert list(first.wrong) == ["val"]
    assert first.val == pytest.approx(100 * first.wrong["val"].mean())
    assert (second.wrong, second.images) == ({}, first.images)


def test_what_was_never_registered_is_exploratory(tmp_path: Path) -> None:
    trial = gather(make(tmp_path), tmp_path).study.trial
    assert (trial.registered, trial.reasons) == (False, ("it was never registered",))
