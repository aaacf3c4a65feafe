"""Files that one stage hands to the next: whole or not at all, and one helpful line where they are damaged."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import BAD_INPUT, UserError
from pipeline.records import (
    File,
    Manifest,
    SplitErrors,
    SplitInfo,
    describe,
    packed,
    read,
    replacing,
    write_json,
)
from pipeline.storage import write_bytes
from tests.factories.workspace import ROOT


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(folder: Path, content: str, fault: BaseException | type[BaseException] | None = None) -> None:
    with replacing(folder) as fresh:
        (fresh / "file").write_text(content)
        if fault is not None:
            raise fault


def test_json_has_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": 1.5, "a": [None, "ü"]})
    assert json.loads(path.read_text()) == {"b": 1.5, "a": [None, "ü"]}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"loss": float("nan")})
    assert json.loads(path.read_text())["b"] == 1.5
    assert names(tmp_path) == ["a.json"]


# Folders


def test_a_new_folder_replaces_the_old_one_in_one_step(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "data"
    fill(target, "old")
    (target / "extra").write_text("of the old one")
    with replacing(target) as fresh:
        (fresh / "file").write_text("new")
        assert (target / "file").read_text() == "old"
        assert fresh.parent == target.parent  # so that a rename is enough
    assert (names(target), (target / "file").read_text()) == (["file"], "new")
    assert names(target.parent) == ["data"]
    assert target.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("existed", [True, False])
def test_a_block_that_raises_changes_nothing(fault: type[BaseException], existed: bool, tmp_path: Path) -> None:
    target = tmp_path / "data"
    if existed:
        fill(target, "old")
    with pytest.raises(fault):
        fill(target, "half", fault)
    assert names(tmp_path) == (["data"] if existed else [])
    assert not existed or (target / "file").read_text() == "old"


def test_a_failed_rename_moves_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, rename = tmp_path / "data", os.rename
    fill(target, "old")

    def fail(source: Path, goal: Path) -> None:
        if source.suffix == ".new":
            raise OSError(5, "Input/output error")
        rename(source, goal)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(UserError, match="Input/output error"):
        fill(target, "new")
    assert names(tmp_path) == ["data"]
    assert (target / "file").read_text() == "old"


DIES = """
import os, sys
from pathlib import Path
from pipeline.records import replacing
rename = os.rename
def die_before(source, target):
    if str(source).endswith(sys.argv[2]):
        os._exit(9)
    rename(source, target)
os.rename = die_before
with replacing(Path(sys.argv[1])) as fresh:
    (fresh / "file").write_text("new")
"""


@pytest.mark.parametrize("before", ["/data", ".new"])  # the rename of the old folder, of the new one
def test_what_a_killed_process_left_is_cleaned_up(before: str, tmp_path: Path) -> None:
    target = tmp_path / "data"
    fill(target, "old")
    died = subprocess.run([sys.executable, "-c", DIES, str(target), before], cwd=ROOT, timeout=60)
    assert died.returncode == 9
    assert len(names(tmp_path)) == 2
    assert target.exists() == (before == "/data")
    with pytest.raises(ValueError, match="again"):
        fill(target, "half", ValueError("again"))
    assert names(tmp_path) == ["data"]
    assert (target / "file").read_text() == "old"


def test_what_other_processes_write_is_not_touched(tmp_path: Path) -> None:
    """That of a live process, and folders whose names only begin alike."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    kept = [f".data.{os.getpid()}.abc.new", f".data.more.{dead.pid}.abc.new", ".data.x.new", "data.new"]
    for name in [*kept, f".data.{dead.pid}.abc.new"]:
        (tmp_path / name).mkdir()
    fill(tmp_path / "data", "new")
    assert names(tmp_path) == sorted([*kept, "data"])


# Records

GOOD = {"images": 3, "top1_errors": 1, "top5_errors": None, "loss": 0.5}


def test_a_record_is_read_back(tmp_path: Path) -> None:
    record = SplitErrors(images=3, top1_errors=1, top5_errors=None, loss=0.1 + 0.2)
    write_json(tmp_path / "a.json", record)
    assert read(SplitErrors, tmp_path / "a.json", "dvc repro") == record


@pytest.mark.parametrize("images", [1, 8, 50_000])
def test_which_images_were_wrong_is_read_back(images: int) -> None:
    mask = np.random.Generator(np.random.PCG64(images)).random(images) < 0.3
    errors = SplitErrors(images=images, top1_errors=int(mask.sum()), top5_errors=None, loss=0.0, wrong=packed(mask))
    found = SplitErrors.model_validate_json(errors.model_dump_json()).mask()
    np.testing.assert_array_equal(found, mask)
    assert len(packed(mask)) <= images / 6 + 4
    assert SplitErrors(images=1, top1_errors=1, top5_errors=None, loss=None).mask() is None


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "EOF"),
        (b"{", "EOF"),
        (b"[]", "object"),
        (b"\xff\xfe", "JSON"),
        (json.dumps({**GOOD, "more": 1}).encode(), "more"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "loss"}).encode(), "loss: Field required"),
        (json.dumps({**GOOD, "images": "many"}).encode(), "images: Input should be a valid integer"),
    ],
)
def test_a_damaged_record_is_refused_with_the_command_that_makes_it(content: bytes, word: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read(SplitErrors, path, "dvc repro evaluate")
    message = str(caught.value)
    assert message.startswith(f"{path}: damaged (")
    assert message.endswith("; make it again with: dvc repro evaluate")
    assert word in message
    assert message.isprintable()
    assert caught.value.exit_code == BAD_INPUT


def test_a_missing_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.json: No such file or directory; make it with: dvc repro$"):
        read(SplitErrors, tmp_path / "a.json", "dvc repro")
    with pytest.raises(UserError, match=r"Is a directory; make it with: dvc repro$"):
        read(SplitErrors, tmp_path, "dvc repro")


# Manifest


def manifest(tmp_path: Path, content: bytes = b"mean", source: str = "here") -> Manifest:
    write_bytes(tmp_path / "mean.npy", content)
    part = SplitInfo(images=2, per_class={"a": 1, "b": 1}, files=[])
    return Manifest(
        dataset="digits", storage="arrays", classes=["a", "b"], channels=1, size=8, train=part, val=part, test=None,
        mean=describe(tmp_path / "mean.npy", tmp_path), source=source,
    )  # fmt: skip


def test_a_file_is_described_by_path_size_and_digest(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write_bytes(tmp_path / "deep" / "a", b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert describe(tmp_path / "deep" / "a", tmp_path) == File(path="deep/a", bytes=3, sha256=expected)


def test_the_digest_is_that_of_the_data(tmp_path: Path) -> None:
    digest = manifest(tmp_path).digest()
    assert digest == manifest(tmp_path, source="elsewhere").digest()
    assert digest != manifest(tmp_path, content=b"other").digest()
    assert digest != manifest(tmp_path).model_copy(update={"size": 9}).digest()
    write_json(tmp_path / "manifest.json", manifest(tmp_path))
    assert read(Manifest, tmp_path / "manifest.json", "dvc repro prepare").digest() == digest
