"""Images in MNIST's format: what is prepared, which source is taken, and what is refused."""

import gzip
import re
import shutil
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from pipeline import config
from pipeline.data import headline, idx
from pipeline.data.idx import PUBLISHED, UNPUBLISHED, means_of_2x2
from pipeline.errors import ENVIRONMENT, EnvironmentFault, UserError
from pipeline.records import sha256
from tests.factories.data import flip_bit, idx_bytes, idx_files, prepared, snapshot
from tests.factories.workspace import ROOT

OWN: dict[str, Any] = {"dataset": "idx", "name": None, "source": "source", "validation": 10}
FASHION: dict[str, Any] = {"dataset": "idx", "name": "fashion-mnist", "validation": 10, "reduce": 2}
GZIPPED = [f"{name}.gz" for name in UNPUBLISHED.files]
IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = (f"source/{name}" for name in GZIPPED)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def small_fashion(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with small files that are pinned as if they were Fashion-MNIST; no source has them."""
    folder = Path("elsewhere")
    idx_files(folder, GZIPPED)
    digests = tuple(digest_of(folder / name) for name in GZIPPED)
    small = replace(PUBLISHED["fashion-mnist"], addresses=("https://localhost:1/a",), sha256=digests)
    monkeypatch.setitem(PUBLISHED, "fashion-mnist", small)
    monkeypatch.setattr(idx, "INSTALLED", Path.cwd() / "installed")
    monkeypatch.setenv("PATH", str(Path.cwd() / "bin"))
    return folder


def digest_of(path: Path) -> str:
    content = Path("content")
    content.write_bytes(gzip.decompress(path.read_bytes()))
    return sha256(content)


def test_every_name_has_its_files() -> None:
    assert list(PUBLISHED) == list(get_args(idx.Name))
    assert {name: len(row.classes) for name, row in PUBLISHED.items() if len(row.classes) != 10} == {
        "emnist-balanced": 47, "emnist-byclass": 62, "emnist-bymerge": 47, "emnist-letters": 26,
    }  # fmt: skip
    assert all(len(row.sha256) == (4 if row.addresses else 0) for row in PUBLISHED.values())
    assert PUBLISHED["emnist-letters"].files[2] == "emnist-letters-test-images-idx3-ubyte"


def test_files_are_prepared_whole_and_the_same_gzipped_or_plain() -> None:
    idx_files(Path("source"), GZIPPED)
    manifest = prepared(**OWN)
    assert (manifest.train.images, manifest.val.images, manifest.channels, manifest.size) == (30, 10, 1, 6)
    assert manifest.test is not None
    assert manifest.test.per_class == {str(label): 4 for label in range(10)}
    raw = np.frombuffer(gzip.decompress(Path(TEST_IMAGES).read_bytes())[16:], np.uint8).reshape(40, 6, 6)
    of = {image.tobytes(): i % 10 for i, image in enumerate(raw)}
    pairs = zip(np.load("data/x/test.images.npy"), np.load("data/x/test.labels.npy"), strict=True)
    assert all(of.pop(image.tobytes()) == label for image, label in pairs)
    assert not of
    assert f"train-labels-idx1-ubyte has SHA-256 {digest_of(Path(LABELS))}" in manifest.source

    shutil.rmtree("source")
    idx_files(Path("source"), UNPUBLISHED.files)
    assert prepared(**OWN).digest() == manifest.digest()


def test_reduced_images_are_means_of_2x2_rounded_half_up() -> None:
    squares = np.array([[[0, 0, 255, 255], [0, 2, 255, 254], [1, 2, 10, 20], [3, 0, 30, 41]]], np.uint8)
    np.testing.assert_array_equal(means_of_2x2(squares), [[[1, 255], [2, 25]]])  # of 0.5, 254.75, 1.5, 25.25
    idx_files(Path("source"), GZIPPED)
    manifest = prepared(**OWN, reduce=2)
    assert (manifest.size, "reduced by means over 2x2 pixels" in manifest.source) == (3, True)


def test_without_validation_or_published_test_images() -> None:
    idx_files(Path("source"), GZIPPED)
    manifest = prepared(**{**OWN, "validation": 0})
    assert (manifest.train.images, manifest.val.images, headline(manifest)) == (40, 40, "val")
    Path(TEST_IMAGES).unlink()
    manifest = prepared(**OWN, test=5)
    assert manifest.test is not None
    assert (manifest.train.images, manifest.val.images, manifest.test.images) == (25, 10, 5)


def test_letters_of_emnist_start_at_1_and_are_transposed() -> None:
    names = PUBLISHED["emnist-letters"].files
    idx_files(Path("source"), names, images=52, classes=26)
    for name in names[1::2]:
        Path("source", name).write_bytes(idx_bytes((np.arange(52) % 26 + 1).astype(np.uint8)))
    manifest = prepared(dataset="idx", name="emnist-letters", source="source", validation=0)
    assert manifest.val.per_class == dict.fromkeys(PUBLISHED["emnist-letters"].classes, 2)
    first = np.frombuffer(Path("source", names[2]).read_bytes()[16:52], np.uint8).reshape(6, 6)
    images, labels = np.load("data/x/val.images.npy"), np.load("data/x/val.labels.npy")
    assert [int(label) for image, label in zip(images, labels, strict=True) if (image[0] == first.T).all()] == [0]
    with pytest.raises(UserError, match=r"x\.data\.source: name the folder .* EMNIST letters of https://"):
        prepared(dataset="idx", name="emnist-letters", validation=0)


# Sources


def fake_commands(folder: Path, **scripts: str) -> None:
    folder.mkdir()
    for name, script in scripts.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)


def test_a_folder_that_is_named_is_the_only_source(small_fashion: Path) -> None:
    manifest = prepared(**FASHION, source=str(small_fashion))
    assert manifest.source.startswith("Fashion-MNIST (https://github.com/zalandoresearch/fashion-mnist); reduced by")
    shutil.copytree(small_fashion, "installed/fashion-mnist")
    (small_fashion / GZIPPED[3]).unlink()
    with pytest.raises(UserError, match=r"x\.data\.source: elsewhere/t10k-labels-idx1-ubyte\.gz: not found") as refused:
        prepared(**FASHION, source=str(small_fashion))
    assert refused.value.exit_code != ENVIRONMENT


def test_the_installed_package_comes_before_downloads(small_fashion: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(small_fashion, "installed/fashion-mnist")
    assert prepared(**FASHION).test is not None
    assert not Path("data/.downloads").exists()
    assert capsys.readouterr().out == ""


def test_debians_package_is_the_last_source_and_needs_no_root(
    small_fashion: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = prepared(**FASHION, source=str(small_fashion))
    unpack = f'/bin/mkdir -p "$3$PLACE"; /bin/cp {small_fashion.resolve()}/* "$3$PLACE"'
    fake_commands(
        Path("bin"),
        apt_get=f'echo "$@" >> {Path.cwd()}/commands; case "$*" in *" download "*) : > package.deb;; esac',
        dpkg_deb=f"PLACE={idx.INSTALLED}/fashion-mnist; {unpack}",
    )
    assert prepared(**FASHION).digest() == whole.digest()
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in said] == ["Fashion-MNIST"] * 2
    assert "package dataset-fashion-mnist is not installed" in said[0]
    assert "https://localhost:1/a/train-images-idx3-ubyte.gz could not be downloaded" in said[1]
    update, download = Path("commands").read_text().splitlines()
    assert update.endswith("update")
    assert download.endswith("download dataset-fashion-mnist")
    assert "-o Dir::State::lists=/" in update
    assert "-o Dir::Cache=/" in update

    shutil.rmtree("bin")  # what was downloaded is kept
    assert prepared(**FASHION).digest() == whole.digest()
    assert capsys.readouterr().out == ""


APT_FAILS = "echo 'W: something' >&2; echo 'E: Failed to fetch http://deb.debian.org' >&2; exit 100"


@pytest.mark.parametrize(
    ("scripts", "reason"),
    [
        ({}, "this machine has no apt-get"),
        ({"apt_get": APT_FAILS}, r"apt-get failed \(E: Failed to fetch http://deb.debian.org\)"),
    ],
)
def test_no_source_is_one_line_and_changes_nothing(
    scripts: dict[str, str], reason: str, small_fashion: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_commands(Path("bin"), **scripts)
    shutil.copytree(small_fashion, "installed/fashion-mnist")
    flip_bit(Path("installed/fashion-mnist") / GZIPPED[0])
    with pytest.raises(EnvironmentFault) as fault:
        prepared(**FASHION)
    assert fault.value.exit_code == ENVIRONMENT
    line = str(fault.value)
    for part in ("\n", "x.data.source in params.yaml", "experiment `digits`, which needs no download"):
        assert (part in line) == (part != "\n")
    assert not Path("data").exists()
    said = capsys.readouterr().out
    assert len(said.splitlines()) == 3
    assert re.search(reason, said)


# Faults


def rewrite(path: str, change: Callable[[bytes], bytes]) -> None:
    content = gzip.decompress(Path(path).read_bytes())
    Path(path).write_bytes(gzip.compress(change(content)))


def with_size(content: bytes, at: int, size: int) -> bytes:
    return content[:at] + size.to_bytes(4, "big") + content[at + 4 :]


def relabelled(*labels: int) -> Callable[[bytes], bytes]:
    return lambda content: content[: -len(labels)] + bytes(labels)


def cut(path: str) -> None:
    Path(path).write_bytes(Path(path).read_bytes()[:-20])


def bomb(path: str) -> None:
    """Writes a file of 64 MiB that says it holds 40 labels."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(idx_bytes(np.zeros(40, np.uint8)))
        for _ in range(4):
            file.write(bytes(2**24))


def stretch(path: str) -> None:
    Path(path).write_bytes(gzip.compress(idx_bytes(np.zeros((40, 6, 4), np.uint8))))


FAULTS: dict[str, tuple[Callable[[], object], str]] = {
    "no folder": (lambda: shutil.rmtree("source"), r"source: no such folder, must hold train-images-idx3-ubyte\.gz"),
    "no file": (lambda: Path(LABELS).unlink(), r"train-labels-idx1-ubyte\.gz: not found, nor"),
    "empty file": (lambda: Path(LABELS).write_bytes(b""), "magic number is missing, must be 00000801"),
    "wrong magic": (lambda: shutil.copy(LABELS, IMAGES), "magic number is 00000801, must be 00000803"),
    "wrong type": (lambda: rewrite(IMAGES, lambda c: c[:2] + b"\x0d" + c[3:]), "is 00000d03, must be 00000803"),
    "ends in its header": (lambda: rewrite(IMAGES, lambda c: c[:9]), "ends in its header"),
    "count too high": (lambda: rewrite(IMAGES, lambda c: with_size(c, 4, 41)), "promises 1476 bytes, it has 1440"),
    "count too low": (lambda: rewrite(IMAGES, lambda c: with_size(c, 4, 39)), "promises 1404 bytes, it has more"),
    "huge count": (lambda: rewrite(IMAGES, lambda c: with_size(c, 4, 2**32 - 1)), "bytes, at most 1073741824 are read"),
    "no images": (lambda: rewrite(IMAGES, lambda c: with_size(c, 4, 0)[:16]), "has 0 images of 6x6 pixels"),
    "truncated gzip": (lambda: cut(IMAGES), "damaged gzip file"),
    "damaged gzip": (lambda: flip_bit(Path(IMAGES)), "damaged gzip file"),
    "gzip bomb": (lambda: bomb(LABELS), "train-labels-idx1-ubyte.gz: its header promises 40 bytes, it has more"),
    "not square": (lambda: stretch(IMAGES), "images of 6x4 pixels, must have square images"),
    "other lengths": (lambda: rewrite(LABELS, lambda c: with_size(c, 4, 39)[:-1]), "has 39 labels, .* has 40 images"),
    "other sizes": (
        lambda: Path(TEST_IMAGES).write_bytes(idx_bytes(np.zeros((40, 8, 8), np.uint8))),
        "t10k-images-idx3-ubyte: images of another size",
    ),
    "label out of range": (lambda: rewrite(TEST_LABELS, relabelled(10)), "has the label 10, must have 0 to 9"),
    "label without its neighbours": (lambda: rewrite(LABELS, relabelled(200)), "from 0 to 200, but none is 10"),
    "too few images": (lambda: None, r"x\.data: .*leaves nothing to train on"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faulty_files_are_one_line_and_change_nothing(name: str) -> None:
    damage, reason = FAULTS[name]
    idx_files(Path("source"), GZIPPED)
    damage()
    Path("data/x").mkdir(parents=True)
    Path("data/x/manifest.json").write_text("{}")
    before = snapshot(Path())
    with pytest.raises(UserError, match=reason) as refused:
        prepared(**{**OWN, "validation": 40 if name == "too few images" else 10})
    assert str(refused.value).startswith("x.data")
    assert "\n" not in str(refused.value)
    after = snapshot(Path())
    assert {path: content for path, content in after.items() if path != "params.yaml"} == before


def test_a_gzip_bomb_is_not_unpacked() -> None:
    idx_files(Path("source"), GZIPPED)
    bomb(LABELS)
    tracemalloc.start()
    with pytest.raises(UserError, match="its header promises 40 bytes, it has more"):
        prepared(**OWN)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ({**OWN, "reduce": 3}, r"x\.data\.reduce: Input should be 1 or 2"),
        ({**OWN, "name": "fashion"}, r"x\.data\.name: Input should be 'fashion-mnist', "),
        ({**OWN, "source": None}, r"x\.data\.source: name the folder that holds the unpacked files: train-images"),
        ({**OWN, "validation": 0, "test": 5}, r"x\.data\.validation: must be at least 1"),
        ({**OWN, "reduce": 2}, r"images of 5x5 pixels, must have square images with an even number of rows"),
        ({**OWN, "name": "mnist"}, r"not the published file of MNIST; take train-images-idx3-ubyte\.gz from http://"),
    ],
)
def test_sections_that_do_not_fit_are_refused(section: dict[str, Any], reason: str) -> None:
    idx_files(Path("source"), GZIPPED, size=5)
    with pytest.raises(UserError, match=reason):
        prepared(**section)


def test_fashion_warms_up_for_exactly_the_first_row_and_is_judged_on_other_seeds_than_its_pilot() -> None:
    experiment = config.load("fashion", ROOT / "params.yaml")
    recipe = experiment.runs[0].recipe
    assert recipe.warm_up is not None
    assert (recipe.warm_up.until_train_error_percent, recipe.record_every) == (100, 20)
    assert {replace(run.recipe, lr=recipe.lr) for run in experiment.runs} == {recipe}  # the pilot chose the rates
    assert experiment.pilot is not None
    assert not {run.seed for run in experiment.runs} & set(experiment.pilot.seeds)
    assert {run.architecture.width for run in experiment.runs} == {8}
