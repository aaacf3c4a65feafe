"""A run that its data cannot feed is refused before anything starts: one line with key, value and what is allowed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.experiment import Experiment
from pipeline.config.params import load
from pipeline.errors import UserError
from pipeline.store import keys
from pipeline.store.records import File, Manifest, SplitInfo, write_json
from pipeline.training import plan
from tests.params_maker import params, write

IMAGES, SIZE = 40, 8


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def experiment(changes: dict[str, Any] | None = None) -> Experiment:
    return load("tiny", write(Path("params.yaml"), params(changes)))


def manifest(**changes: Any) -> Manifest:
    split = SplitInfo(images=IMAGES, per_class={"a": IMAGES}, files=[File(path="x", bytes=1, sha256="0" * 64)])
    table: dict[str, Any] = {
        "dataset": "digits", "storage": "arrays", "classes": ["a"], "channels": 1, "size": SIZE,
        "train": split, "val": split, "test": None, "mean": File(path="m", bytes=1, sha256="1" * 64), "source": "here",
    }  # fmt: skip
    return Manifest(**{**table, **changes})


def refusal(changes: dict[str, Any], **of_data: Any) -> str:
    with pytest.raises(UserError) as error:
        plan.jobs_of(experiment(changes), manifest(**of_data))
    text = str(error.value)
    assert error.value.exit_code == 2
    assert len(text.splitlines()) == 1
    assert text.startswith("params.yaml: tiny.networks.plain-18: ")
    return text


def test_a_batch_larger_than_the_data() -> None:
    text = refusal({"tiny.train.batch_size": IMAGES + 1})
    assert "batch_size must be at most the 40 training images, got 41" in text
    assert plan.jobs_of(experiment({"tiny.train.batch_size": IMAGES}), manifest())


def test_a_border_wider_than_the_image() -> None:
    assert "pad must be at most the image's 8 pixels, got 9" in refusal({"tiny.train.pad": SIZE + 1})
    assert plan.jobs_of(experiment({"tiny.train.pad": SIZE}), manifest())


def test_a_border_around_photographs() -> None:
    assert "set it to 0 here, got 1" in refusal({"tiny.train.pad": 1}, storage="shards")
    assert plan.jobs_of(experiment({"tiny.train.pad": 0}), manifest(storage="shards"))


def test_the_row_that_is_wrong_is_named() -> None:
    changes = {"tiny.networks": {"plain-18": None, "resnet-18": {"train": {"batch_size": 64}}}}
    with pytest.raises(UserError, match=r"tiny\.networks\.resnet-18: batch_size .* got 64"):
        plan.jobs_of(experiment(changes), manifest())


def test_one_job_a_run_in_the_order_of_the_file() -> None:
    changes = {"tiny.resources.cpus": 3, "tiny.resources.checkpoint_s": 7.5, "storage": "elsewhere"}
    loaded = experiment(changes)
    jobs = plan.jobs_of(loaded, manifest())
    assert [job.spec.name for job in jobs] == ["plain-18-seed0", "plain-18-seed1", "resnet-18-seed3"]
    for job, spec in zip(jobs, loaded.runs, strict=True):
        assert job.spec == spec
        assert job.key == keys.run_key(spec, manifest())
        assert job.slot.folder == Path("elsewhere").absolute() / job.key
        assert job.data == Path("data/tiny").absolute()
        assert (job.cpus, job.checkpoint_s) == (3, 7.5)
        assert job.code_digest == keys.code_digest(("resnet.training",))
        assert job.commit is None  # no checkout here
    assert len({job.key for job in jobs}) == 3


def test_longer_runs_are_more_work() -> None:
    short, long = (plan.jobs_of(experiment({"tiny.train.iterations": n}), manifest())[0] for n in (8, 80))
    assert long.work == 10 * short.work
    deep = replace(short.spec, architecture=replace(short.spec.architecture, blocks=(2, 2)))
    assert replace(short, spec=deep).work > short.work


def test_data_that_are_not_there() -> None:
    with pytest.raises(UserError, match=r"manifest.json: not there; make it with: dvc repro prepare@tiny") as error:
        plan.manifest_of("tiny")
    assert len(str(error.value).splitlines()) == 1
    Path("data/tiny").mkdir(parents=True)
    write_json(Path("data/tiny/manifest.json"), manifest())
    assert plan.manifest_of("tiny") == manifest()


@pytest.mark.parametrize(("width", "shortcut", "gpus", "refused"), [
    (8, "B", 0.0, True), (8, "C", 0.0, True), (16, "B", 0.0, False), (8, "A", 0.0, False), (8, "B", 0.25, False),
])  # fmt: skip
def test_projections_too_narrow_for_a_cpu(width: int, shortcut: str, gpus: float, refused: bool) -> None:
    changes = {"tiny.architecture": {"stem": "cifar", "width": width, "blocks": [1, 1], "shortcut": shortcut}}
    specs = experiment({**changes, "tiny.networks": {"resnet-18": None}}).runs
    if not refused:
        plan.check_processor(specs, gpus)
        return
    with pytest.raises(UserError, match=f"tiny.networks.resnet-18: on a CPU, .* got width {width}; set a larger width"):
        plan.check_processor(specs, gpus)


def test_a_format_that_a_cpu_has_not() -> None:
    specs = experiment({"tiny.train.precision": "tf32"}).runs
    plan.check_processor(specs, 0.25)
    with pytest.raises(
        UserError, match=r"tiny\.networks\.plain-18: on a CPU, precision must be fp32 or bf16, got tf32; "
    ):
        plan.check_processor(specs, 0.0)
