"""One run on one worker, without a cluster: its record is true, and interruptions leave no trace in its results."""

import dataclasses
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipeline import worker
from pipeline.errors import UserError
from pipeline.records import Manifest, read, write_json
from pipeline.run_store import lease
from pipeline.run_store.lease import Superseded
from pipeline.run_store.run_folder import RunFolder
from pipeline.storage import write_bytes
from pipeline.worker import Setting, train_run
from resnet.device import peak_multiply_adds
from resnet.history import Row, last_epoch_error, last_epoch_images
from resnet.network import build
from resnet.training import Training, train
from tests.factories.stores import (
    KINDS,
    SPEC,
    New,
    contents,
    frequent_checkpoints,
    names,
    setting,
    stores,
    train_here,
    weights,
)
from tests.factories.tiny_run import untimed

FINISHED = {"history.csv", "gradients.csv", "weights.safetensors", "run.json"}


@pytest.fixture(scope="module")
def how(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    return replace(setting(tmp_path_factory.mktemp("digits")), commit="abc")


@pytest.fixture(scope="module")
def undisturbed(how: Setting, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    torch.set_num_threads(1)
    return train_here(tmp_path_factory.mktemp("store"), how)


def stopping(monkeypatch: pytest.MonkeyPatch, after: int, what: Any) -> None:
    """Calls `what` when this iteration has ended."""

    def stopped(run: Training, *arguments: Any) -> Iterator[Training]:
        yield from islice(train(run, *arguments), after - run.iteration)
        what()
        yield from train(run, *arguments)

    monkeypatch.setattr(worker, "train", stopped)


def fail() -> None:
    raise RuntimeError("the machine stops")


def test_the_record_is_true(undisturbed: RunFolder, how: Setting) -> None:
    record, rows = undisturbed.record(), undisturbed.rows()
    manifest = read(Manifest, how.data / "manifest.json", "")
    assert names(undisturbed.path) == FINISHED
    assert (record.run, record.key, record.experiment, record.network) == ("row-seed7", SPEC.key, "tiny", "row")
    assert (record.depth, record.family, record.shortcut, record.seed, record.workers) == (4, "residual", "A", 7, 1)
    assert (record.status, record.iterations, record.warm_up_ended_at, record.attempts) == ("finished", 12, None, 1)
    assert (record.commit, record.code_digest, record.data_digest) == ("abc", "c", manifest.digest())
    assert record.recipe == json.loads(json.dumps(dataclasses.asdict(SPEC.recipe)))
    assert [row.iteration for row in rows] == [2, 4, 6, 8, 10, 12]
    assert record.val_top1_error_percent == rows[-1].val_top1_error_percent is not None
    assert record.seconds == rows[-1].seconds > 0
    assert record.images_per_second == pytest.approx(12 * 16 / record.seconds)
    assert record.peak_mib > 10
    assert record.peak_multiply_adds_per_second == peak_multiply_adds(torch.device("cpu"), torch.float32)
    # by hand: 3x3 stem and two 3x3 convolutions of 4 channels on 8x8 pixels; the classifier
    assert record.parameters == 9 * (4 + 2 * 16) + 2 * 3 * 4 + 4 * 10 + 10
    assert record.multiply_adds == 9 * 64 * (4 + 2 * 16) + 40
    half = [row.train_top1_error_percent for row in rows[3:]]  # 12 iterations are less than an epoch
    assert record.train_top1_error_percent == pytest.approx(sum(half) / 3)
    build(SPEC.architecture, 10, 1).load_state_dict(load_file(undisturbed.path / "weights.safetensors"))


@pytest.mark.parametrize("ends", [[0], [2, 3, 9], [11, 12]])
def test_a_run_that_is_interrupted_and_resumed_is_bit_identical(
    ends: list[int], undisturbed: RunFolder, how: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception after these iterations, in one attempt after another, with a checkpoint after each iteration."""
    often = replace(how, checkpoint_s=1e-9)
    with frequent_checkpoints():
        for end in ends:
            stopping(monkeypatch, end, fail)
            with pytest.raises(RuntimeError):
                train_here(tmp_path, often)
            rows = RunFolder(tmp_path / SPEC.key).rows()
            assert untimed(rows) == untimed(undisturbed.rows())[: len(rows)]
        monkeypatch.setattr(worker, "train", train)
        run = train_here(tmp_path, often)
    assert untimed(run.rows()) == untimed(undisturbed.rows())
    assert contents(run.path)["gradients.csv"] == contents(undisturbed.path)["gradients.csv"]
    assert (weights(run), run.record().attempts) == (weights(undisturbed), len(ends) + 1)
    assert names(run.path) == FINISHED


def test_what_a_killed_attempt_left_half_written_is_removed(
    undisturbed: RunFolder, how: Setting, tmp_path: Path
) -> None:
    folder = tmp_path / SPEC.key
    folder.mkdir()
    for name in (".checkpoint-000000002.1.tmp", ".run.json.1.tmp", "checkpoint-000000002"):
        (folder / name).write_bytes(b"half")
    run = train_here(tmp_path, how)
    assert names(run.path) == FINISHED
    assert weights(run) == weights(undisturbed)


def test_a_diverged_run_is_a_result(how: Setting, tmp_path: Path) -> None:
    recipe = replace(SPEC.recipe, lr=100.0, iterations=40, lr_drops=(), momentum=0.99, weight_decay=1.0)
    run = train_here(tmp_path, how, replace(SPEC, recipe=recipe))
    record, rows = run.record(), run.rows()
    assert (record.status, record.iterations) == ("diverged", rows[-1].iteration)
    assert record.iterations < 40
    assert not math.isfinite(rows[-1].train_loss)
    assert record.val_top1_error_percent == rows[-1].val_top1_error_percent is not None


def test_damaged_data_are_refused(how: Setting, tmp_path: Path) -> None:
    for path in how.data.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "train.labels.npy").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"train\.labels\.npy: .*make it again with"):
        train_here(tmp_path / "store", replace(how, data=tmp_path))
    write_json(tmp_path / "manifest.json", {})
    with pytest.raises(UserError, match=r"manifest\.json: damaged"):
        train_here(tmp_path / "store", replace(how, data=tmp_path))


# Several attempts at once


@pytest.fixture(scope="module", params=KINDS)
def new(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[New]:
    with stores(request.param, tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.mark.parametrize("after", [5, 12])
def test_a_superseded_attempt_writes_nothing(
    after: int, new: New, how: Setting, undisturbed: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later one begins after this iteration: what was written until then is kept, and nothing is added to it."""
    store, before = new(), dict[str, bytes]()
    folder = store / SPEC.key

    def overtake() -> None:
        (mine,) = folder.glob("lease-*")
        write_bytes(folder / "lease-000041", mine.read_bytes().replace(b'"token": "', b'"token": "x'))
        before.update(contents(folder))

    often = replace(how, checkpoint_s=1e-9 if after < 12 else 1e9)
    with frequent_checkpoints():
        with monkeypatch.context() as patch:
            stopping(patch, after, overtake)
            with pytest.raises(Superseded), lease.acquire(folder) as held:
                train_run(SPEC, often, held)
        assert contents(folder) == before
        assert ("checkpoint-000000005" in before) == (after == 5)
        write_bytes(folder / "lease-000041", b"")
        run = train_here(store, often)
    assert (weights(run), run.record().attempts) == (weights(undisturbed), 42)
    assert names(folder) == FINISHED


def test_a_finished_run_is_never_replaced(
    new: New, how: Setting, undisturbed: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by the holder of the lease either: the other one was late, and has written its result."""
    store, content = new(), (undisturbed.path / "run.json").read_bytes()
    stopping(monkeypatch, 12, lambda: write_bytes(store / SPEC.key / "run.json", content))
    with pytest.raises(Superseded, match="another attempt has finished this run; its result is kept"):
        train_here(store, how)
    assert (store / SPEC.key / "run.json").read_bytes() == content


def test_files_that_an_attempt_left_are_replaced(undisturbed: RunFolder, how: Setting, tmp_path: Path) -> None:
    """It was killed before it wrote run.json: the times in its history are not those of the attempt that ends."""
    (tmp_path / SPEC.key).mkdir()
    for name in ("history.csv", "weights.safetensors"):
        (tmp_path / SPEC.key / name).write_bytes(b"left")
    run = train_here(tmp_path, how)
    assert weights(run) == weights(undisturbed)
    assert run.record().seconds == run.rows()[-1].seconds


@pytest.mark.parametrize(
    ("images", "batch_size"), [(40, 16), (16, 16), (100, 16), (64, 16), (65, 16), (80, 16), (10_000, 16)]
)
def test_the_last_epoch_is_the_rows_that_reach_into_it(images: int, batch_size: int) -> None:
    """Where it is longer than half of the training, the second half counts."""
    ends = [3, 6, 9, 11]
    rows = [Row(end, 0.0, 0.1, 1.0, 10.0 * i + end, None, None, 0.0, 0.0) for i, end in enumerate(ends)]
    slow, before = [], 0
    for row in rows:
        in_epoch = row.iteration * batch_size > 11 * batch_size - min(images, 11 * batch_size / 2)
        slow += [row.train_top1_error_percent] * (row.iteration - before) * in_epoch
        before = row.iteration
    assert last_epoch_error(rows, images, batch_size) == pytest.approx(sum(slow) / len(slow))
    assert last_epoch_images(rows, images, batch_size) == batch_size * len(slow)
