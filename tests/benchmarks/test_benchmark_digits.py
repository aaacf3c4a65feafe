"""The short experiment of the benchmark `digits-stage`: the same runs on both sides, and the whole one told from it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks import digits
from benchmarks.catalogue_compute import COMPUTE
from benchmarks.digits import ITERATIONS, Pace, makespan, whole_s, write_short
from benchmarks.rivals import digits_script
from benchmarks.sides.digits import paces
from pipeline.config import params
from pipeline.config.sections import Digits
from resnet.network import build, initialise


def test_the_short_experiment_has_all_runs_and_the_shrunken_schedule(tmp_path: Path) -> None:
    whole = params.load(digits.NAME, digits.ROOT / "params.yaml")
    short = params.load(digits.NAME, write_short(tmp_path, quick=False))
    assert [run.name for run in short.runs] == [run.name for run in whole.runs]
    assert len(short.runs) == 23
    assert [(run.architecture, run.seed) for run in short.runs] == [(r.architecture, r.seed) for r in whole.runs]
    what = next(one.what for one in COMPUTE if one.name == "digits-stage")
    assert f" {len(short.runs)} runs" in what
    assert f" {ITERATIONS} of {whole.runs[0].recipe.iterations} iterations" in what
    recipe, long = short.runs[0].recipe, whole.runs[0].recipe
    assert recipe.iterations == ITERATIONS
    drops = tuple(drop * ITERATIONS // long.iterations for drop in long.lr_drops)
    assert recipe == replace(long, iterations=ITERATIONS, lr_drops=drops, record_every=digits.RECORD_EVERY)


def test_the_digits_script_trains_the_runs_of_the_params(tmp_path: Path) -> None:
    experiment = params.load(digits.NAME, write_short(tmp_path, quick=True))
    assert isinstance(experiment.data, Digits)
    data, validation = digits_script.load(experiment.data)
    assert (len(data[0]), len(validation[0])) == (1297, 250)
    told = [digits_script.train(spec, data, validation, tmp_path) for spec in experiment.runs]
    assert [(pace.run, pace.iterations) for pace in told] == [
        (run.name, run.recipe.iterations) for run in experiment.runs
    ]
    for pace, spec in zip(told, experiment.runs, strict=True):
        assert 0 < pace.first_row_s < pace.seconds
        trained = torch.load(tmp_path / f"{pace.run}.pt", weights_only=True)
        assert trained["conv1.bn.num_batches_tracked"] == spec.recipe.iterations
        fresh = build(spec.architecture, classes=10, channels=1)
        initialise(fresh, spec.seed)
        assert trained.keys() == fresh.state_dict().keys()
        assert not torch.equal(trained["conv1.conv.weight"], fresh.state_dict()["conv1.conv.weight"])


def test_the_digits_script_crops_as_asked() -> None:
    images = torch.arange(1.0, 65.0).view(1, 1, 8, 8).expand(50, 1, 8, 8)
    crops = digits_script.random_crops(images, 1)
    padded = F.pad(images[:1], (1, 1, 1, 1))
    legal = {tuple(padded[0, 0, y : y + 8, x : x + 8].flatten().tolist()) for y in range(3) for x in range(3)}
    found = {tuple(crop.flatten().tolist()) for crop in crops}
    assert found <= legal
    assert len(found) > 1


def test_the_whole_experiment_is_told_from_the_short_one() -> None:
    """An iteration takes a second behind a first row of 5 s, and what is around all runs takes 4 s."""
    paces = [Pace(name, 8, 9.0, 4, 5.0) for name in ("a", "b", "c")]
    assert paces[0].whole(100) == 101.0
    assert whole_s(4.0 + 27.0, paces, 100, workers=1) == pytest.approx(4.0 + 3 * 101.0)
    assert whole_s(4.0 + 18.0, paces, 100, workers=2) == pytest.approx(4.0 + 2 * 101.0)


def test_the_longest_runs_are_dealt_out_first() -> None:
    assert makespan([1.0, 5.0, 2.0, 2.0], 2) == 5.0
    assert makespan([3.0, 3.0, 2.0, 2.0, 2.0], 2) == 7.0  # as the stage does; 6 would be possible


def test_the_pace_of_ours_is_read_from_the_published_histories(tmp_path: Path) -> None:
    (tmp_path / "plain-18-seed0").mkdir()
    (tmp_path / "plain-18-seed0" / "history.csv").write_text(
        "iteration,epoch,seconds,unix_time_s\n4,0.8,2.5,10\n6,1.2,3.0,11\n8,1.6,3.5,12\n"
    )
    assert paces(tmp_path) == [Pace("plain-18-seed0", 8, 3.5, 4, 2.5)]
