"""The prepare stage on small data sets, digits and CIFAR-10; its table, and the files that it leaves."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from pipeline import data
from pipeline.data import array_storage, cifar
from pipeline.data.loader import load_splits
from pipeline.data.prepared import manifest_of, verify
from pipeline.errors import ENVIRONMENT, EnvironmentFault, UserError
from pipeline.records import Manifest, sha256
from tests.factories.data import cifar10_archive, cifar10_files, flip_bit, prepared, snapshot

RECORDS = 20  # in each of the six files of the small CIFAR-10
CPU = torch.device("cpu")
DIGITS: dict[str, Any] = {"dataset": "digits", "validation": 200, "test": 300}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def small_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small archive of the published form, pinned as if it were the published one."""
    folder = tmp_path / "source"
    folder.mkdir()
    archive = folder / cifar.ARCHIVE
    cifar10_archive(archive, cifar10_files(RECORDS))
    monkeypatch.setattr(cifar, "URL", f"https://localhost:1/{cifar.ARCHIVE}")
    monkeypatch.setattr(cifar, "SHA256", sha256(archive))
    return folder


def test_the_table_is_light_and_consistent() -> None:
    script = "import sys, pipeline.data; print({'torch', 'pyarrow', 'sklearn', 'PIL', 'pooch'} & set(sys.modules))"
    words = [sys.executable, "-c", script]
    top = Path(__file__).parents[2]
    assert subprocess.run(words, capture_output=True, text=True, cwd=top, check=True).stdout == "set()\n"
    for name, row in data.DATASETS.items():
        assert name == row.name
        assert row.section.model_fields["dataset"].annotation.__args__ == (name,)  # type: ignore[union-attr]
    assert data.of_paper("imagenet").headline == "val"


def test_digits_lose_no_value_and_no_image() -> None:
    manifest = prepared(**DIGITS)
    assert (manifest.train.images, manifest.val.images, manifest.test and manifest.test.images) == (1297, 200, 300)
    assert manifest_of("x") == manifest
    whole = np.concatenate([np.load(f"data/x/{name}.images.npy") for name in ("train", "val", "test")])
    assert whole.shape == (1797, 1, 8, 8)
    back = np.rint(whole.astype(np.float64) * 16 / 255)
    assert sorted(image.tobytes() for image in back[:, 0]) == sorted(image.tobytes() for image in load_digits().images)
    assert len({image.tobytes() for image in whole}) == len(whole)
    train = np.load("data/x/train.images.npy")
    np.testing.assert_allclose(np.load("data/x/mean.npy"), train.mean(axis=0), atol=1e-4)


def test_the_digits_of_params_yaml_are_the_same_everywhere() -> None:
    manifest = prepared(dataset="digits", validation=250, test=250)
    assert manifest.digest() == "98d19cc2e10f2467bf026b3e225cc7625792894786382e179d5fe64d8d80ac65"
    before = snapshot(Path("data/x"))
    prepared(dataset="digits", validation=250, test=250)
    assert snapshot(Path("data/x")) == before
    assert [path.name for path in Path("data").iterdir()] == ["x"]  # nothing is left over


def test_the_order_of_images_changes_nothing_and_equal_images_stay_together() -> None:
    generator = np.random.Generator(np.random.PCG64(0))
    pixels = generator.integers(0, 256, (40, 1, 2, 2), dtype=np.uint8)
    pixels[20:36] = pixels[:16]  # 16 images exist twice
    images = array_storage.Images(pixels, np.arange(40) % 20)
    shuffled = images.take(generator.permutation(40).tolist())
    one, other = (array_storage.split(part, {"test": 11, "val": 7}, "x.data") for part in (images, shuffled))
    for name in ("train", "val", "test"):
        np.testing.assert_array_equal(one[name].pixels, other[name].pixels)
        np.testing.assert_array_equal(one[name].labels, other[name].labels)
    sets = [set(split.digests()) for split in one.values()]
    assert sum(map(len, sets)) == len(sets[0] | sets[1] | sets[2])
    assert {name: len(split.labels) for name, split in one.items()} == {"test": 11, "val": 7, "train": 22}


def test_cifar10_is_the_same_from_a_folder_and_downloaded(small_cifar10: Path) -> None:
    section = {"dataset": "cifar10", "source": str(small_cifar10), "validation": 30}
    manifest = prepared(**section)
    assert (manifest.train.images, manifest.val.images) == (5 * RECORDS - 30, 30)
    assert manifest.test is not None
    assert manifest.test.per_class == dict.fromkeys(cifar.CLASSES, RECORDS // 10)
    assert str(small_cifar10) not in manifest.model_dump_json()
    record = cifar10_files(RECORDS)["test_batch.bin"][: cifar.RECORD]
    image = np.frombuffer(record[1:], np.uint8).reshape(3, 32, 32)  # red, green, blue; row by row
    assert any((image == other).all() for other in np.load("data/x/test.images.npy"))

    Path("data/.downloads").mkdir()
    shutil.copy(small_cifar10 / cifar.ARCHIVE, "data/.downloads")  # it is not downloaded again
    assert prepared(**{**section, "source": None}).digest() == manifest.digest()


def test_a_failed_download_is_one_line_and_changes_nothing(small_cifar10: Path) -> None:
    with pytest.raises(EnvironmentFault) as fault:
        prepared(dataset="cifar10", source=None, validation=30)
    assert fault.value.exit_code == ENVIRONMENT
    for part in ("https://localhost:1/cifar-10-binary.tar.gz could not be downloaded", "x.data.source"):
        assert part in str(fault.value)
    assert "\n" not in str(fault.value)
    assert not Path("data/x").exists()


CIFAR10 = {"dataset": "cifar10", "source": "source"}


@pytest.mark.parametrize(
    ("damage", "section", "reason"),
    [
        (flip_bit, {**CIFAR10, "validation": 30}, "not the published file"),
        (Path.unlink, {**CIFAR10, "validation": 30}, "missing, or not"),
        (Path.exists, {**CIFAR10, "validation": 100}, r"x\.data: .*leaves nothing to train on"),
        (Path.exists, {"dataset": "digits", "validation": 900, "test": 897}, r"x\.data: .*leaves nothing to train on"),
    ],
)
def test_refusals_change_nothing(
    damage: Callable[[Path], object], section: dict[str, Any], reason: str, small_cifar10: Path
) -> None:
    damage(small_cifar10 / cifar.ARCHIVE)
    Path("data/x").mkdir(parents=True)
    Path("data/x/manifest.json").write_text("{}")
    before = snapshot(Path("data"))
    with pytest.raises(UserError, match=reason) as refused:
        prepared(**section)
    assert "\n" not in str(refused.value)
    assert snapshot(Path("data")) == before


def test_load_and_verify_find_a_flipped_bit() -> None:
    manifest = prepared(**DIGITS)
    folder = Path("data/x")
    splits = load_splits(folder, manifest, CPU)
    assert splits.test is not None
    assert (splits.train.size, splits.clean_train.size, splits.val.size, splits.test.size) == (1297, 1297, 200, 300)
    images, labels = next(splits.val.batches(50))
    assert (images.shape, images.dtype, labels.dtype) == ((50, 1, 8, 8), torch.float32, torch.int64)
    verify(folder, manifest)
    checks: list[Callable[[Path, Manifest], object]] = [verify, lambda path, known: load_splits(path, known, CPU)]
    for damage in (flip_bit, Path.unlink):
        damage(folder / "val.images.npy")
        for check in checks:
            with pytest.raises(UserError, match=r"val\.images\.npy.*dvc repro -f prepare@x"):
                check(folder, manifest)
