"""Ray around a run against torchrun: both sides train one run to the same bits, and time what they say.

That they do is told by every run of the benchmark, also the one of test_benchmark_sides.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import together
from benchmarks.catalogue import BENCHMARKS
from benchmarks.sides import together as ours
from benchmarks.turns import ROOT
from pipeline.config import params


@pytest.mark.parametrize("iterations", sorted({together.SHORT, *together.ITERATIONS.values()}))
def test_it_is_a_run_of_the_digits_on_two_workers(iterations: int, tmp_path: Path) -> None:
    together.write_params(tmp_path, iterations, quick=False)
    (spec,) = params.load(together.NAME, tmp_path / "params.yaml").runs
    digits = params.load("digits", ROOT / "params.yaml")
    whole = next(run for run in digits.runs if run.network == together.NETWORK and run.seed == 0)
    assert (spec.name, spec.architecture, spec.seed) == (together.RUN, whole.architecture, 0)
    recipe = spec.recipe
    assert (recipe.workers, recipe.batch_size, recipe.iterations) == (2, whole.recipe.batch_size, iterations)
    if iterations != together.SHORT:
        same = {"record_every": recipe.record_every, "validate_every": recipe.validate_every}
        drops = tuple(drop * iterations // whole.recipe.iterations for drop in whole.recipe.lr_drops)
        assert recipe == replace(whole.recipe, workers=2, iterations=iterations, lr_drops=drops)
        assert same == {"record_every": whole.recipe.record_every, "validate_every": whole.recipe.validate_every}


def test_the_table_says_how_long_the_runs_are() -> None:
    assert f" first third of {together.ITERATIONS['steady']} " in BENCHMARKS["ray-steady"].what
    assert f" {together.ITERATIONS['total']} such iterations" in BENCHMARKS["ray-total"].what


def test_the_pace_is_the_clocks_behind_the_first_third(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text("iteration,seconds,unix_time_s\n5,1.0,100.0\n10,1.5,104.0\n30,2.0,114.0\n")
    assert ours.marks(path) == [(5, 100.0), (10, 104.0), (30, 114.0)]
    assert together.pace(ours.marks(path)) == 0.5
    assert together.pace([(2, 1.0), (4, 2.0)]) == 0.5


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(together, "meeting_place", lambda iterations: tmp_path / str(iterations))
    weights = {"a": torch.ones(2), "b": torch.zeros(3)}
    together.require_same(weights, 7)
    together.require_same({name: tensor.clone() for name, tensor in weights.items()}, 7)
    together.require_same({"a": torch.zeros(2)}, 8)
    with pytest.raises(RuntimeError, match="after 7 iterations the weights are not those of the other side"):
        together.require_same(weights | {"b": torch.tensor([0.0, 0.0, 1e-30])}, 7)
    together.forget([7])
    together.require_same({"a": torch.zeros(2)}, 7)
