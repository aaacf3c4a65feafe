"""The prepare stage on small data sets: digits and CIFAR-10."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config import params
from pipeline.datasets import arrays, cifar10
from pipeline.errors import EnvironmentFault, UserError
from pipeline.loading.files import verify
from pipeline.loading.splits import load_splits
from pipeline.prepare import prepare
from pipeline.store.records import Manifest
from tests import makers

RECORDS = 20  # in each of the six files of the small CIFAR-10
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(data: dict[str, object], name: str = "x") -> Manifest:
    makers.params(Path("params.yaml"), name, data)
    return prepare(params.load(name))


@pytest.fixture
def small_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small archive of the published form, pinned as if it were the published one."""
    folder = tmp_path / "source"
    folder.mkdir()
    archive = folder / "cifar-10-binary.tar.gz"
    makers.cifar10_archive(archive, makers.cifar10_files(RECORDS))
    monkeypatch.setattr(cifar10, "FACTS", makers.facts(archive, RECORDS))
    return folder


def test_digits() -> None:
    from sklearn.datasets import load_digits

    manifest = run({"dataset": "digits", "validation": 200, "test": 300})
    assert (manifest.train.images, manifest.val.images, manifest.test and manifest.test.images) == (1297, 200, 300)
    assert Manifest.model_validate_json(Path("data/x/manifest.json").read_bytes()) == manifest
    whole = np.concatenate([np.load(f"data/x/{name}.images.npy") for name in ("train", "val", "test")])
    assert whole.shape == (1797, 1, 8, 8)
    back = np.rint(whole.astype(np.float64) * 16 / 255)  # no value was lost
    ours = sorted(image.tobytes() for image in back[:, 0])
    assert ours == sorted(image.tobytes() for image in load_digits().images)
    assert len({image.tobytes() for image in whole}) == len(whole)
    train = np.load("data/x/train.images.npy")
    np.testing.assert_allclose(np.load("data/x/mean.npy"), train.mean(axis=0), atol=1e-4)


def test_the_same_again_to_the_byte() -> None:
    data: dict[str, object] = {"dataset": "digits", "validation": 200, "test": 300}
    run(data)
    before = makers.snapshot(Path("data/x"))
    run(data)
    assert makers.snapshot(Path("data/x")) == before
    assert [path.name for path in Path("data").iterdir()] == ["x"]  # nothing is left over


def test_the_order_of_images_changes_nothing_and_equal_images_stay_together() -> None:
    generator = np.random.Generator(np.random.PCG64(0))
    images = generator.integers(0, 256, (40, 1, 2, 2), dtype=np.uint8)
    images[20:36] = images[:16]  # 16 images are there twice
    part = arrays.Part(images, np.arange(40) % 20)
    shuffled = part.take(generator.permutation(40).tolist())
    one, other = (arrays.split(p, {"test": 11, "val": 7}, "x.data") for p in (part, shuffled))
    for name in ("train", "val", "test"):
        np.testing.assert_array_equal(one[name].images, other[name].images)
        np.testing.assert_array_equal(one[name].labels, other[name].labels)
    sets = [{image.tobytes() for image in split.images} for split in one.values()]
    assert sum(map(len, sets)) == len(sets[0] | sets[1] | sets[2])
    assert {name: len(split.labels) for name, split in one.items()} == {"test": 11, "val": 7, "train": 22}


def test_cifar10_from_the_archive_and_unpacked(small_cifar10: Path) -> None:
    data = {"dataset": "cifar10", "source": str(small_cifar10), "validation": 30}
    manifest = run(data)
    assert (manifest.train.images, manifest.val.images) == (5 * RECORDS - 30, 30)
    assert manifest.test is not None
    assert manifest.test.per_class == dict.fromkeys(cifar10.CLASSES, RECORDS // 10)
    assert str(small_cifar10) not in manifest.model_dump_json()
    packed = makers.snapshot(Path("data/x"))

    files = makers.cifar10_files(RECORDS)
    record = files["test_batch.bin"][: cifar10.RECORD]
    image = np.frombuffer(record[1:], np.uint8).reshape(3, 32, 32)  # red, green, blue; row by row
    assert any((image == other).all() for other in np.load("data/x/test.images.npy"))

    shutil.rmtree(small_cifar10)
    folder = small_cifar10 / cifar10.FOLDER
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    assert run(data).digest() == manifest.digest()
    unpacked = makers.snapshot(Path("data/x"))
    assert {k: v for k, v in packed.items() if k != "manifest.json"} == {
        k: v for k, v in unpacked.items() if k != "manifest.json"
    }


def test_cifar10_is_taken_from_the_cache_without_a_network(small_cifar10: Path) -> None:
    cache = Path("data/.downloads")
    cache.mkdir(parents=True)
    shutil.move(small_cifar10 / "cifar-10-binary.tar.gz", cache)
    assert run({"dataset": "cifar10", "source": None, "validation": 30}).train.images == 5 * RECORDS - 30


def test_without_a_network_the_message_says_what_to_put_where(
    small_cifar10: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("pipeline.datasets.download.ATTEMPTS", 1)
    archive = small_cifar10 / "cifar-10-binary.tar.gz"
    monkeypatch.setattr(cifar10, "FACTS", makers.facts(archive, RECORDS, "https://localhost:1/cifar-10-binary.tar.gz"))
    with pytest.raises(EnvironmentFault, match=r"cifar-10-binary\.tar\.gz") as fault:
        run({"dataset": "cifar10", "source": None, "validation": 30})
    for part in ("https://localhost:1/", cifar10.FACTS.archive.sha256, "x.data.source"):
        assert part in str(fault.value)
    assert not Path("data").exists()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def unpack(folder: Path) -> Path:
    (folder / "cifar-10-binary.tar.gz").unlink()
    (folder / cifar10.FOLDER).mkdir()
    for name, content in makers.cifar10_files(RECORDS).items():
        (folder / cifar10.FOLDER / name).write_bytes(content)
    return folder / cifar10.FOLDER


def wrong_label(folder: Path) -> None:
    path = unpack(folder) / "data_batch_3.bin"
    content = bytearray(path.read_bytes())
    content[7 * cifar10.RECORD] = 10
    path.write_bytes(content)


def only_python(folder: Path) -> None:
    (folder / "cifar-10-binary.tar.gz").unlink()
    (folder / "cifar-10-python.tar.gz").write_bytes(b"pickles")


def shorter(folder: Path) -> None:
    path = unpack(folder) / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: flip(folder / "cifar-10-binary.tar.gz"), "not the published file"),
        (lambda folder: (folder / "cifar-10-binary.tar.gz").write_bytes(b""), "not the published file"),
        (lambda folder: (folder / "cifar-10-binary.tar.gz").unlink(), "has neither"),
        (shutil.rmtree, "has neither"),
        (only_python, "is a pickle.*https://"),
        (wrong_label, "record 7 has the label 10"),
        (shorter, "test_batch.bin: 61459 bytes"),
        (lambda folder: (unpack(folder) / "data_batch_5.bin").unlink(), "data_batch_5.bin: missing"),
    ],
)
def test_refusals_of_cifar10_change_nothing(damage: Callable[[Path], None], reason: str, small_cifar10: Path) -> None:
    damage(small_cifar10)
    makers.params(Path("params.yaml"), "x", {"dataset": "cifar10", "source": str(small_cifar10), "validation": 30})
    Path("data/x").mkdir(parents=True)
    Path("data/x/manifest.json").write_text("{}")
    before = makers.snapshot(Path())
    with pytest.raises(UserError, match=reason) as refused:
        prepare(params.load("x"))
    assert "\n" not in str(refused.value)
    assert makers.snapshot(Path()) == before


@pytest.mark.parametrize(
    "data",
    [
        {"dataset": "digits", "validation": 900, "test": 897},
        {"dataset": "cifar10", "source": "source", "validation": 100},
    ],
)
def test_a_split_that_leaves_nothing_is_refused(data: dict[str, object], small_cifar10: Path) -> None:
    with pytest.raises(UserError, match=r"x\.data: .*leaves nothing to train on"):
        run(data)
    assert not Path("data").exists()


def test_load_and_verify_find_a_flipped_bit() -> None:
    manifest = run({"dataset": "digits", "validation": 200, "test": 300})
    folder = Path("data/x")
    splits = load_splits(folder, manifest, CPU)
    assert splits.test is not None
    assert (splits.train.size, splits.clean_train.size, splits.val.size, splits.test.size) == (1297, 1297, 200, 300)
    images, labels = next(splits.val.batches(50))
    assert images.shape == (50, 1, 8, 8)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    verify(folder, manifest)
    flip(folder / "val.images.npy")
    for check in (lambda: verify(folder, manifest), lambda: load_splits(folder, manifest, CPU)):
        with pytest.raises(UserError, match=r"val\.images\.npy.*dvc repro -f prepare@x"):
            check()
    (folder / "val.images.npy").unlink()
    with pytest.raises(UserError, match=r"val\.images\.npy.*dvc repro -f prepare@x"):
        load_splits(folder, manifest, CPU)


def test_a_manifest_cannot_name_a_file_elsewhere() -> None:
    manifest = run({"dataset": "digits", "validation": 200, "test": 300})
    content = manifest.model_dump(mode="json")
    content["mean"]["path"] = "../../secret"
    with pytest.raises(UserError, match="outside its folder"):
        verify(Path("data/x"), Manifest.model_validate_json(json.dumps(content)))


def test_the_command() -> None:
    makers.params(Path("params.yaml"), "x", {"dataset": "digits", "validation": 200, "test": 1000})
    top = Path(__file__).parents[2]

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "pipeline.prepare", *arguments]
        return subprocess.run(words, capture_output=True, text=True, env={"PYTHONPATH": str(top)}, check=False)

    done = command("x")
    assert done.returncode == 0, done.stderr
    assert "train 597, val 200, test 1000" in done.stdout
    assert command("y").returncode == 2
    assert "EXPERIMENT" in command("--help").stdout


def test_help_imports_nothing_slow() -> None:
    script = "import sys, pipeline.prepare; print({'numpy', 'torch', 'pyarrow', 'sklearn', 'PIL'} & set(sys.modules))"
    top = Path(__file__).parents[2]
    words = [sys.executable, "-c", script]
    assert subprocess.run(words, capture_output=True, text=True, cwd=top, check=True).stdout == "set()\n"


def test_a_python_without_the_packages_is_named() -> None:
    """As `dvc repro` finds on the PATH where .venv was not activated."""
    words = [sys.executable, "-S", "-m", "pipeline.prepare", "x"]  # -S: nothing that was installed
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert f"error: {sys.executable} has no pydantic" in done.stderr
    assert "activate" in done.stderr
