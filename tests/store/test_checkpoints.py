"""Checkpoints: the same bits go on, and no damage of the files leads to a wrong state or to a traceback."""

import errno
import hashlib
import json
import logging
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import astuple, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from pipeline.errors import EnvironmentFault
from pipeline.store import checkpoints
from pipeline.store.checkpoints import DIGEST_BYTES, restore, write
from resnet.recipe import Recipe, WarmUp
from resnet.training import Training
from tests.tiny_run import RECIPE, SEED, begin, equal, going, untimed, weights

KEY = "a" * 64
WARM = replace(RECIPE, warm_up=WarmUp(lr=0.03, until_train_error_percent=100))
STILL = replace(RECIPE, momentum=0.0)


def after(iteration: int, recipe: Recipe = RECIPE) -> Training:
    run = begin(recipe)
    for _ in islice(going(run, recipe), iteration):
        pass
    return run


def fresh(recipe: Recipe = RECIPE) -> Training:
    """As a new process has it: the weights are others, so that nothing is right by chance."""
    return begin(recipe, seed=SEED + 99)


def ended(run: Training, recipe: Recipe = RECIPE) -> Training:
    for _ in going(run, recipe):
        pass
    return run


def same(a: Training, b: Training) -> bool:
    return (
        equal(weights(a), weights(b))
        and repr((untimed(a.rows), a.gradients)) == repr((untimed(b.rows), b.gradients))
        and (a.iteration, a.warm_up_ended_at, a.diverged) == (b.iteration, b.warm_up_ended_at, b.diverged)
        and torch.equal(a.sums, b.sums)
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def states() -> dict[int, Training]:
    return {iteration: after(iteration) for iteration in (4, 5)}


@pytest.fixture
def two(states: dict[int, Training], tmp_path: Path) -> Path:
    """A folder with the checkpoints of iterations 4 and 5."""
    for iteration in (4, 5):
        write(tmp_path, KEY, states[iteration])
    assert names(tmp_path) == ["checkpoint-000000004", "checkpoint-000000005"]
    return tmp_path


# Going on


@pytest.mark.parametrize(
    "recipe", [RECIPE, WARM, replace(RECIPE, momentum=0.0)], ids=["plain", "warm-up", "momentum 0"]
)
def test_a_restored_run_ends_in_the_same_bits(recipe: Recipe, tmp_path: Path) -> None:
    run = begin(recipe)
    seconds = {}
    for i, _ in enumerate(going(run, recipe), start=1):
        seconds[i] = run.seconds
        folder = tmp_path / f"{i}"
        folder.mkdir()
        write(folder, KEY, run)
    for i in range(1, recipe.iterations + 1):
        again = fresh(recipe)
        assert restore(tmp_path / f"{i}", KEY, again)
        assert again.iteration == i
        assert again.seconds == seconds[i]
        assert same(ended(again, recipe), run), f"after {i}"


def test_a_diverged_run_stays_diverged(tmp_path: Path) -> None:
    run = begin()
    for _ in going(run):
        if run.iteration == 4:
            with torch.no_grad():
                run.network.get_parameter("head.fc.weight").fill_(float("inf"))
    assert run.diverged
    write(tmp_path, KEY, run)
    again = fresh()
    assert restore(tmp_path, KEY, again)
    assert again.diverged
    assert [list(map(repr, astuple(row))) for row in again.rows] == [list(map(repr, astuple(row))) for row in run.rows]
    assert "nan" in repr(again.rows[-1].train_loss)
    assert "nan" in repr(again.gradients) == repr(run.gradients)
    assert list(going(again)) == []
    bits = zip(weights(again).values(), weights(run).values(), strict=True)
    assert all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in bits)


def damaged_copies(content: bytes) -> Iterator[tuple[str, bytes]]:
    draw = random.Random("checkpoints")
    header = int.from_bytes(content[DIGEST_BYTES : DIGEST_BYTES + 8], "little")
    edges = [0, 1, DIGEST_BYTES - 1, DIGEST_BYTES, DIGEST_BYTES + 4, DIGEST_BYTES + 8, DIGEST_BYTES + 8 + header]
    for offset in [*edges, len(content) - 1, *(draw.randrange(len(content)) for _ in range(64))]:
        yield f"cut at {offset}", content[:offset]
    for number in range(96):
        # a third each in the digest, in the header and anywhere
        end = (DIGEST_BYTES, DIGEST_BYTES + 8 + header, len(content))[number % 3]
        bit = draw.randrange(8 * end)
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit} flipped", bytes(changed)
    yield "longer", content + b"\0"
    yield "zeros", bytes(len(content))
    yield "empty with its digest", hashlib.sha256(b"").digest()


def test_damage_anywhere_goes_back_to_the_one_before(
    two: Path, states: dict[int, Training], caplog: pytest.LogCaptureFixture
) -> None:
    older, newest = two / "checkpoint-000000004", two / "checkpoint-000000005"
    os.utime(older, (4_000_000_000, 4_000_000_000))  # the clock was wrong: the iteration decides
    content = newest.read_bytes()
    run, count = fresh(), 0
    for what, damaged in damaged_copies(content):
        newest.write_bytes(damaged)
        caplog.clear()
        run.rows.clear()
        run.iteration = 0
        assert restore(two, KEY, run), what
        assert same(run, states[4]), what
        assert [record.levelno for record in caplog.records] == [logging.WARNING], what
        assert newest.name in caplog.text, what
        count += 1
    assert count > 160
    newest.write_bytes(content)
    assert restore(two, KEY, run)
    assert same(run, states[5])


def test_all_damaged_starts_from_the_beginning_and_keeps_new_ones(two: Path, states: dict[int, Training]) -> None:
    for path in two.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    run = fresh()
    assert not restore(two, KEY, run)
    assert same(run, fresh())
    write(two, KEY, after(1))  # it must be there, though the damaged ones are of later iterations
    again = fresh()
    assert restore(two, KEY, again)
    assert again.iteration == 1
    write(two, KEY, states[4])
    write(two, KEY, states[5])
    assert names(two) == ["checkpoint-000000004", "checkpoint-000000005"]


def tensors(state: str) -> bytes:
    content: bytes = save({"sums": torch.zeros(3)}, metadata={"state": state})
    return content


def packed(**changes: Any) -> bytes:
    state = {"format": checkpoints.FORMAT, "key": KEY, "iteration": 6, **changes}
    return tensors(json.dumps(state))


STRANGE = {
    "newer format": packed(format=checkpoints.FORMAT + 1),
    "another key": packed(key="b" * 64),
    "no state": save({"sums": torch.zeros(3)}),
    "no tensors": b"",
    "no header": b"\xff" * 100,
    "a list": len(b"[1]").to_bytes(8, "little") + b"[1]",
    "state is no table": tensors("3"),
    "state is no JSON": tensors("{"),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_whole_files_that_are_not_of_this_run_are_passed_over(
    kind: str, two: Path, states: dict[int, Training]
) -> None:
    payload = STRANGE[kind]
    (two / "checkpoint-000000006").write_bytes(hashlib.sha256(payload).digest() + payload)
    (two / "checkpoint-000000007").mkdir()  # which cannot be read
    run = fresh()
    assert restore(two, KEY, run)
    assert same(run, states[5])
    (two / "checkpoint-000000004").unlink()
    (two / "checkpoint-000000005").unlink()
    assert not restore(two, KEY, fresh())


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    run = begin()
    for _ in going(run):
        write(tmp_path, KEY, run)
        newest = [f"checkpoint-{i:09d}" for i in (run.iteration - 1, run.iteration) if i]
        assert names(tmp_path) == newest


def test_half_written_ones_are_not_read_and_go_with_the_others(two: Path, states: dict[int, Training]) -> None:
    shutil.copy(two / "checkpoint-000000004", two / ".checkpoint-000000009.77.tmp")
    (two / "lock").touch()
    run = fresh()
    assert restore(two, KEY, run)
    assert same(run, states[5])
    checkpoints.remove(two)
    assert names(two) == ["lock"]


@pytest.mark.parametrize("step", ["replace", "fsync", "write"])
def test_a_full_disk_leaves_the_one_before(
    step: str, two: Path, states: dict[int, Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def half(path: Path, content: bytes) -> None:
        path.with_name(f".{path.name}.1.tmp").write_bytes(content[: len(content) // 2])
        full()

    with monkeypatch.context() as patch:
        if step == "write":
            patch.setattr(checkpoints, "write_bytes", half)
        else:
            patch.setattr(os, step, full)
        with pytest.raises(EnvironmentFault, match=r"^storage .*: No space left on device; free some space; the same"):
            write(two, KEY, after(6))
    assert [name for name in names(two) if not name.endswith(".tmp")] == [f"checkpoint-{i:09d}" for i in (4, 5)]
    run = fresh()
    assert restore(two, KEY, run)
    assert same(run, states[5])
