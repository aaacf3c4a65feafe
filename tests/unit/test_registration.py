"""Registrations: what `register` refuses, and which edits make an experiment exploratory, with the reason."""

import json
import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import registration
from pipeline.config import load
from pipeline.data.digits import Digits, prepare
from pipeline.errors import UserError
from pipeline.records import Manifest, PilotRun, write_json
from pipeline.register import register
from pipeline.registration import chosen, status
from pipeline.run_store import run_key
from resnet.study import Trial
from tests.factories.data import snapshot
from tests.factories.params import params, write

PATH = Path("registrations/tiny.json")
PILOT = {"seeds": [1000], "lr": [0.1, 0.2]}
PLANNED = {"tiny.seeds": [7, 8, 9], "tiny.trial": {"odds_ratio": 1.5, "looks": [1, 3]}, "tiny.pilot": PILOT}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("data")
    return prepare(Digits(dataset="digits", validation=100, test=100), folder, "tiny.data")


@pytest.fixture(autouse=True)
def _checkout(manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "data/tiny").mkdir(parents=True)
    write_json(tmp_path / "data/tiny/manifest.json", manifest)
    configure()


def configure(changes: dict[str, Any] | None = None) -> None:
    write(Path("params.yaml"), params({**deepcopy(PLANNED), **(changes or {})}))


def trial(manifest: Manifest) -> Trial:
    return status(load("tiny"), manifest, Path())


def edit(**values: Any) -> None:
    write_json(PATH, {**json.loads(PATH.read_text()), **values})


def finish(manifest: Manifest, lr: float, seed: int) -> None:
    """Makes the run store say that plain-18 was trained with this rate and seed, by other code than today's."""
    (run,) = (run for run in load("tiny").planned if (run.network, run.seed) == ("plain-18", seed))
    content = {"architecture": asdict(run.architecture), "recipe": asdict(run.with_lr(lr).recipe)}
    folder = Path(".runs", f"key{seed}")
    folder.mkdir(parents=True)
    write_json(folder / "run.json", {**content, "seed": seed, "data_digest": manifest.digest()})


def test_an_experiment_is_exploratory_until_it_is_registered(
    manifest: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    before = trial(manifest)
    assert (before.registered, before.reasons) == (False, ("it was never registered",))
    register("tiny")
    assert trial(manifest) == Trial(
        registered=True, reasons=(), delta=math.log(1.5), alpha=0.025, looks=(1, 3), taken=1, nuisance=frozenset({"lr"})
    )
    assert replace(before, registered=True, reasons=()) == trial(manifest)
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{PATH}: 2 networks, 4 runs; commit this file before the first run"
    assert second == "plain-18, resnet-18: shown, but not judged, with fewer than 5 seeds"


def _of_other_code(monkeypatch: pytest.MonkeyPatch, rules: bool) -> None:
    def digest(files: tuple[str, ...]) -> str:
        return "other" if ("resnet/study.py" in files) == rules else known(files)

    known = run_key.code_digest
    monkeypatch.setattr(registration, "code_digest", digest)


SEEDS = [9, 8, 7]
TAMPERING: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "the recipe was changed": lambda _: configure({"tiny.train.momentum": 0.8}),
    "the architecture was changed": lambda _: configure({"tiny.architecture.width": 8}),
    "the networks were changed": lambda _: configure({"tiny.networks.resnet-18": {"seeds": [4]}}),
    "the data section was changed": lambda _: configure({"tiny.data.test": 200}),
    "the seeds were changed": lambda _: configure({"tiny.seeds": SEEDS}),
    "the margin, the looks or the field of the ladders was changed": lambda _: configure({"tiny.trial.looks": [1, 2]}),
    "the pilot was changed": lambda _: configure({"tiny.pilot.lr": [0.1, 0.3]}),
    "the rules of the verdicts were changed": lambda patch: _of_other_code(patch, rules=True),
    "the code that decides a run was changed": lambda patch: _of_other_code(patch, rules=False),
    "the prepared data were changed": lambda _: edit(
        digests={**json.loads(PATH.read_text())["digests"], "data": "other"}
    ),
    "the learning rates in the registration were changed": lambda _: edit(rates={"plain-18": 0.2}),
    "the log of the looks was changed": lambda _: edit(log=[{"seeds": 3, "verdicts": {}, "commit": None}]),
}


@pytest.mark.parametrize("reason", TAMPERING)
def test_tampering_makes_an_experiment_exploratory(
    reason: str, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    register("tiny")
    TAMPERING[reason](monkeypatch)
    found = trial(manifest)
    assert (found.registered, found.reasons) == (False, (f"{reason} after registration",))


def test_an_edited_registration_is_noticed(manifest: Manifest) -> None:
    """The seeds of params.yaml and those of the file, but not the file's digest."""
    register("tiny")
    configure({"tiny.seeds": SEEDS})
    edit(section=load("tiny").section)
    assert trial(manifest).reasons == ("the section in the registration itself was changed after registration",)


def test_what_decides_no_result_may_change(manifest: Manifest) -> None:
    register("tiny")
    configure({"tiny.resources.retries": 1, "tiny.evaluation.reestimate_batch_norm": True})
    assert trial(manifest).registered


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tiny.pilot.seeds": [9]}, ["tiny.pilot.seeds: 9 is among the judged seeds of plain-18"]),
        ({"tiny.trial.looks": [1, 4]}, ["tiny.trial.looks: the last look takes 4 seeds", "`seeds` has 3"]),
        ({"tiny.pilot.lr": [0.2, 0.4]}, ["tiny.seeds: plain-18-seed8 is in the run store already"]),
    ],
)
def test_register_refuses_in_one_line_and_changes_nothing(
    changes: dict[str, Any], words: list[str], manifest: Manifest
) -> None:
    finish(manifest, 0.4, 8)
    configure(changes)
    before = snapshot(Path())
    with pytest.raises(UserError) as error:
        register("tiny")
    assert [word for word in words if word not in str(error.value)] == [], error.value
    assert error.value.exit_code == 2
    assert str(error.value).isprintable()
    assert snapshot(Path()) == before


def test_register_looks_at_the_judged_runs_only(manifest: Manifest) -> None:
    """A rate outside of the grid is another recipe, and a seed after the last look is not judged."""
    configure({"tiny.seeds": [7, 8, 9, 10]})
    finish(manifest, 0.4, 8)
    finish(manifest, 0.2, 10)
    register("tiny")
    with pytest.raises(UserError, match=r"registrations/tiny\.json: tiny is registered already; .* new name and seeds"):
        register("tiny")


def test_register_needs_data() -> None:
    Path("data/tiny/manifest.json").unlink()
    with pytest.raises(UserError, match="No such file or directory; make it with: dvc repro prepare@tiny"):
        register("tiny")
    assert not PATH.exists()


def test_a_damaged_registration_is_refused() -> None:
    register("tiny")
    edit(format=2)
    with pytest.raises(UserError, match=r"tiny\.json: damaged \(format: .*git checkout registrations/tiny\.json"):
        load("tiny")


# The choice of a learning rate

LOSSES = st.none() | st.floats(0, 10)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([0.1, 0.2, 0.3]), LOSSES), min_size=1))
def test_no_rate_of_the_grid_has_a_lower_mean_loss(runs: list[tuple[str, float, float | None]]) -> None:
    pilot = [PilotRun(network=n, lr=lr, seed=0, loss=loss, diverged=loss is None, key="") for n, lr, loss in runs]

    def mean(network: str, rate: float) -> float:
        losses = [run.loss for run in pilot if (run.network, run.lr) == (network, rate)]
        return math.fsum(math.inf if loss is None else loss for loss in losses) / len(losses)

    rates = chosen(pilot)
    assert rates.keys() == {run.network for run in pilot}
    for run in pilot:
        best = rates[run.network]
        assert mean(run.network, best) <= mean(run.network, run.lr)
        assert mean(run.network, best) < mean(run.network, run.lr) or best <= run.lr  # the smaller of equal ones
