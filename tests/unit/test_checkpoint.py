"""Checkpoints: a restored run is bit-identical, and no damage of the files leads to a wrong state or a traceback."""

import hashlib
import json
import logging
import os
import random
from collections.abc import Iterator
from dataclasses import astuple, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from pipeline.run_store import checkpoint
from pipeline.run_store.checkpoint import DIGEST_BYTES, newest_rows, restore, write
from pipeline.storage import write_bytes
from resnet.recipe import Recipe, WarmUp
from resnet.training import Training
from tests.factories.stores import KINDS, stores
from tests.factories.tiny_run import RECIPE, SEED, begin, equal, going, untimed, weights

KEY = "a" * 64
WARM = replace(RECIPE, warm_up=WarmUp(lr=0.03, until_train_error_percent=100))


def after(iteration: int, recipe: Recipe = RECIPE) -> Training:
    run = begin(recipe)
    for _ in islice(going(run, recipe), iteration):
        pass
    return run


def fresh(recipe: Recipe = RECIPE) -> Training:
    """A run in a new process. Its weights are others, so that nothing is right by chance."""
    return begin(recipe, seed=SEED + 99)


def same(a: Training, b: Training) -> bool:
    """Whether two runs, between two iterations, are bit-identical."""
    return (
        equal(a.state_tensors(), b.state_tensors())
        and repr((untimed(a.rows), a.gradients)) == repr((untimed(b.rows), b.gradients))
        and (a.iteration, a.warm_up_ended_at, a.diverged) == (b.iteration, b.warm_up_ended_at, b.diverged)
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*"))


@pytest.fixture(scope="module")
def states() -> dict[int, Training]:
    return {iteration: after(iteration) for iteration in (4, 5)}


@pytest.fixture
def two(states: dict[int, Training], tmp_path: Path) -> Path:
    """A folder with the checkpoints of iterations 4 and 5."""
    for iteration in (4, 5):
        write(tmp_path, KEY, states[iteration])
    return tmp_path


@pytest.mark.parametrize(
    "recipe", [RECIPE, WARM, replace(RECIPE, momentum=0.0)], ids=["plain", "warm-up", "momentum 0"]
)
def test_a_run_restored_after_any_iteration_ends_bit_identical(recipe: Recipe, tmp_path: Path) -> None:
    run = begin(recipe)
    for _ in going(run, recipe):
        folder = tmp_path / f"{run.iteration}"
        folder.mkdir()
        write(folder, KEY, run)
    for i in range(1, recipe.iterations + 1):
        again = fresh(recipe)
        assert restore(tmp_path / f"{i}", KEY, again)
        assert again.iteration == i
        for _ in going(again, recipe):
            pass
        assert same(again, run), f"after {i}"


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
    assert "nan" in repr(again.gradients) == repr(run.gradients)
    assert list(going(again)) == []
    bits = zip(weights(again).values(), weights(run).values(), strict=True)
    assert all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in bits)


def damaged_copies(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Truncations and flipped bits, a third of these each in the digest, in the header and anywhere."""
    draw = random.Random("checkpoints")
    header = DIGEST_BYTES + 8 + int.from_bytes(content[DIGEST_BYTES : DIGEST_BYTES + 8], "little")
    edges = [0, 1, DIGEST_BYTES - 1, DIGEST_BYTES, DIGEST_BYTES + 4, DIGEST_BYTES + 8, header, len(content) - 1]
    for offset in [*edges, *(draw.randrange(len(content)) for _ in range(32))]:
        yield f"cut at {offset}", content[:offset]
    for number in range(48):
        bit = draw.randrange(8 * (DIGEST_BYTES, header, len(content))[number % 3])
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit} flipped", bytes(changed)
    yield "longer", content + b"\0"
    yield "zeros", bytes(len(content))
    yield "empty with its digest", hashlib.sha256(b"").digest()


def test_damage_anywhere_is_noticed_and_the_one_before_is_taken(
    two: Path, states: dict[int, Training], caplog: pytest.LogCaptureFixture
) -> None:
    older, newest = two / "checkpoint-000000004", two / "checkpoint-000000005"
    os.utime(older, (4_000_000_000, 4_000_000_000))  # the clock was wrong: the iteration decides
    content = newest.read_bytes()
    for what, damaged in damaged_copies(content):
        newest.write_bytes(damaged)
        caplog.clear()
        run = fresh()
        assert restore(two, KEY, run), what
        assert same(run, states[4]), what
        assert [record.levelno for record in caplog.records] == [logging.WARNING], what
        assert newest.name in caplog.text, what
        newest_rows(two)  # raises nothing
    newest.write_bytes(content)
    assert restore(two, KEY, run)
    assert same(run, states[5])
    assert newest_rows(two) == states[5].rows != []


def test_where_all_are_damaged_the_run_starts_again_and_keeps_its_new_ones(
    two: Path, states: dict[int, Training]
) -> None:
    for path in two.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    run = fresh()
    assert not restore(two, KEY, run)
    assert same(run, fresh())
    write(two, KEY, after(1))  # it is kept, though the damaged ones are of later iterations
    assert restore(two, KEY, run)
    assert run.iteration == 1
    write(two, KEY, states[4])
    write(two, KEY, states[5])
    assert names(two) == ["checkpoint-000000004", "checkpoint-000000005"]


def tensors(state: str) -> bytes:
    content: bytes = save({"sums": torch.zeros(3)}, metadata={"state": state})
    return content


def packed(**changes: Any) -> bytes:
    return tensors(json.dumps({"format": checkpoint.FORMAT, "key": KEY, "iteration": 6, **changes}))


STRANGE = {
    "newer format": packed(format=checkpoint.FORMAT + 1),
    "another key": packed(key="b" * 64, rows=[]),
    "no state": save({"sums": torch.zeros(3)}),
    "no tensors": b"",
    "no header": b"\xff" * 100,
    "state is no JSON": tensors("{"),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_whole_files_of_other_runs_and_formats_are_passed_over(
    kind: str, two: Path, states: dict[int, Training]
) -> None:
    payload = STRANGE[kind]
    (two / "checkpoint-000000006").write_bytes(hashlib.sha256(payload).digest() + payload)
    assert newest_rows(two) == []
    (two / "checkpoint-000000007").mkdir()  # which cannot be read
    run = fresh()
    assert restore(two, KEY, run)
    assert same(run, states[5])
    (two / "checkpoint-000000004").unlink()
    (two / "checkpoint-000000005").unlink()
    assert not restore(two, KEY, fresh())


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_two_are_kept_and_all_are_removed(kind: str, tmp_path: Path) -> None:
    with stores(kind, tmp_path) as new:
        folder, run = new() / KEY, begin()
        write_bytes(folder / "lease-000001", b"") if kind != "folder" else folder.mkdir(parents=True)
        for _ in going(run):
            write(folder, KEY, run)
            kept = [f"checkpoint-{i:09d}" for i in (run.iteration - 1, run.iteration) if i]
            assert [name for name in names(folder) if name.startswith("checkpoint")] == kept
        newest = folder / kept[-1]
        write_bytes(newest, newest.read_bytes()[:-1])
        again = fresh()
        assert restore(folder, KEY, again)
        assert again.iteration == run.iteration - 1
        write_bytes(folder / ".checkpoint-000000099.77.tmp", b"half")
        checkpoint.remove(folder)
        assert [name for name in names(folder) if "checkpoint" in name] == []
