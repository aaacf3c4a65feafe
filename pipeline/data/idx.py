"""Images in MNIST's format, IDX: Fashion-MNIST, MNIST, KMNIST, EMNIST, or your own, gzipped or plain.

A file has two zero bytes, the type 8 (unsigned bytes), the number of dimensions, each dimension as four bytes with the
highest first, and then the values, the last dimension fastest (http://yann.lecun.com/exdb/mnist).
"""

import gzip
import hashlib
import math
import shutil
import string
import subprocess
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.data.array_storage import Images, published_splits, split, write
from pipeline.data.data_set import DataSection
from pipeline.data.download import download
from pipeline.errors import EnvironmentFault, UserError
from pipeline.records import Manifest, replacing

MAX_BYTES = 2**30  # of one file's values; the largest published one has 547,178,688
APT_S = 300.0  # for one command of apt
INSTALLED = Path("/usr/share/datasets")  # where Debian's packages of data sets have their folders

Name = Literal[
    "fashion-mnist", "mnist", "kmnist",
    "emnist-balanced", "emnist-byclass", "emnist-bymerge", "emnist-digits", "emnist-letters", "emnist-mnist",
]  # fmt: skip


class Idx(DataSection):
    """The `data` section of an experiment on IDX files."""

    dataset: Literal["idx"]
    name: Name | None  # null: files that are not published, in the folder `source` with MNIST's names
    source: str | None = None  # the only folder to read; null looks for a published data set, and downloads it
    validation: Annotated[int, Field(ge=0, le=500_000)]  # of the training images; 0: `val` are the test images
    test: Annotated[int, Field(ge=1, le=500_000)] | None = None  # of the training images; null: the published part
    reduce: Literal[1, 2] = 1  # 2: each pixel is the mean of 2x2, rounded, half up


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A published data set: its files, and how they differ from MNIST's."""

    title: str
    home: str
    classes: tuple[str, ...]
    prefix: str = ""  # of the files' names; the test part is then called "test", not "t10k"
    addresses: tuple[str, ...] = ()  # folders of gzipped files; none: the files are inside of a larger archive
    # SHA-256 of each file of `files`, unpacked, since its gzip header varies between sources; of KMNIST gzipped, the
    # only one that is published; none: the digests are recorded
    sha256: tuple[str, ...] = ()
    debian: str = ""  # the package that has the files, if one does
    first_label: int = 0
    transposed: bool = False  # whether the files hold columns instead of rows

    @property
    def files(self) -> tuple[str, ...]:
        """The names without .gz: training images, their labels, test images, their labels."""
        parts, kinds = ("train", "test" if self.prefix else "t10k"), ("images-idx3-ubyte", "labels-idx1-ubyte")
        return tuple(f"{self.prefix}{part}-{kind}" for part in parts for kind in kinds)


_DIGITS, _UPPER, _LOWER = tuple(string.digits), tuple(string.ascii_uppercase), tuple(string.ascii_lowercase)
_CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def _emnist(part: str, classes: tuple[str, ...], first_label: int = 0) -> Published:
    return Published(
        title=f"EMNIST {part}",
        home="https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
        classes=classes,
        prefix=f"emnist-{part}-",
        first_label=first_label,
        transposed=True,
    )


PUBLISHED: dict[Name, Published] = {
    "fashion-mnist": Published(
        title="Fashion-MNIST",
        home="https://github.com/zalandoresearch/fashion-mnist",
        classes=_CLOTHES,
        addresses=(
            "https://fashion-mnist.s3.eu-central-1.amazonaws.com",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        ),
        sha256=(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        debian="dataset-fashion-mnist",
    ),
    "mnist": Published(
        title="MNIST",
        home="http://yann.lecun.com/exdb/mnist",
        classes=_DIGITS,
        addresses=(
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ),
        sha256=(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    "kmnist": Published(
        title="Kuzushiji-MNIST",
        home="http://codh.rois.ac.jp/kmnist",
        classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        addresses=(
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist",
            "https://storage.googleapis.com/kuzushiji-mnist",
        ),
        sha256=(
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
    ),
    "emnist-balanced": _emnist("balanced", (*_DIGITS, *_UPPER, *"abdefghnqrt")),
    "emnist-byclass": _emnist("byclass", (*_DIGITS, *_UPPER, *_LOWER)),
    "emnist-bymerge": _emnist("bymerge", (*_DIGITS, *_UPPER, *"abdefghnqrt")),
    "emnist-digits": _emnist("digits", _DIGITS),
    "emnist-letters": _emnist("letters", _UPPER, first_label=1),
    "emnist-mnist": _emnist("mnist", _DIGITS),
}
UNPUBLISHED = Published(title="IDX files that are not published", home="", classes=())


@dataclass(frozen=True, slots=True)
class Content:
    """What a folder holds."""

    train: Images
    test: Images | None  # None where it is not read
    digests: dict[str, str]  # file name -> SHA-256 of the unpacked file


def prepare(section: Idx, target: Path, where: str) -> Manifest:
    """Writes `target`: the training images without those of `val` and `test`, and these.

    Images are reduced first, and then split by content. Raises UserError for faulty files and splits that are too
    large, and EnvironmentFault where no source has the files.
    """
    known = UNPUBLISHED if section.name is None else PUBLISHED[section.name]
    if section.test is not None and not section.validation:
        raise UserError(f"{where}.validation: must be at least 1 where `test` are training images too")
    if section.source is not None:
        content = _from_folder(Path(section.source), known, section, where)
    elif known.addresses:
        content = _from_public_sources(known, section, target.parent / ".downloads" / str(section.name), where)
    else:
        files = f"{known.title} of {known.home}" if known.home else f"{', '.join(known.files)}, gzipped or plain"
        raise UserError(f"{where}.source: name the folder that holds the unpacked files: {files}")
    classes = known.classes or tuple(map(str, range(int(content.train.labels.max()) + 1)))
    if section.test is None:
        assert content.test is not None
        splits, note = published_splits(content.train, content.test, section.validation, where)
    else:
        splits = split(content.train, {"test": section.test, "val": section.validation}, where)
        note = "; `test` are training images"
    return write(target, "idx", list(classes), splits, _described(known, section, content) + note)


def _described(known: Published, section: Idx, content: Content) -> str:
    """Returns where the images come from and how they were prepared, for readers."""
    parts = [f"{known.title} ({known.home})" if known.home else known.title]
    if not known.sha256:
        parts += [f"{name} has SHA-256 {digest}" for name, digest in content.digests.items()]
    if known.transposed:
        parts.append("transposed, since the files hold columns")
    if section.reduce == 2:
        parts.append("reduced by means over 2x2 pixels, rounded to bytes, half up")
    return "; ".join(parts)


# Sources


def _from_folder(folder: Path, known: Published, section: Idx, where: str) -> Content:
    try:
        return _read(folder, known, section)
    except UserError as fault:
        raise UserError(f"{where}.source: {fault}") from None


def _from_public_sources(known: Published, section: Idx, cache: Path, where: str) -> Content:
    """Returns the content of the first source that has it; keeps what was downloaded in `cache`.

    Prints why a source failed. Raises EnvironmentFault where all did; nothing has then changed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        for source in _sources(known, cache, Path(scratch)):
            try:
                content = _read(folder := source(), known, section)
            except UserError as fault:
                print(f"{known.title}: {fault}", flush=True)
                continue
            if folder.is_relative_to(scratch):
                with replacing(cache) as fresh:
                    for path in folder.iterdir():
                        shutil.copy(path, fresh)
            return content
    remedy = f"put {_gzipped(known)} of {known.home} into a folder and name it as {where}.source in params.yaml"
    other = "or run the experiment `digits`, which needs no download"
    raise EnvironmentFault(f"no source has {known.title}, for the reasons above; {remedy}, {other}")


def _gzipped(known: Published) -> str:
    return ", ".join(f"{name}.gz" for name in known.files)


def _sources(known: Published, cache: Path, scratch: Path) -> list[Callable[[], Path]]:
    """Returns what gives a folder with the files, or raises EnvironmentFault, in the order in which to try it."""
    downloads = [partial(_downloaded, known, address, scratch) for address in known.addresses]
    kept = [lambda: cache] if cache.is_dir() else []
    if not known.debian:
        return [*kept, *downloads]
    return [*kept, partial(_installed, known), *downloads, partial(_from_debian, known, scratch)]


def _installed(known: Published) -> Path:
    folder = INSTALLED / known.debian.removeprefix("dataset-")
    if not folder.is_dir():
        raise EnvironmentFault(f"Debian's package {known.debian} is not installed")
    return folder


def _downloaded(known: Published, address: str, scratch: Path) -> Path:
    """Returns a folder with the files of an address. Raises EnvironmentFault for the first that is not available."""
    folder = scratch / hashlib.sha256(address.encode()).hexdigest()
    for name in known.files:
        download(f"{address}/{name}.gz", None, folder)
    return folder


def _from_debian(known: Published, scratch: Path) -> Path:
    """Returns the folder of Debian's package, downloaded and unpacked into `scratch`.

    Needs no rights of root: apt has lists and a cache of its own there. Raises EnvironmentFault.
    """
    work, lists, cache = scratch / "debian", scratch / "debian" / "lists", scratch / "debian" / "cache"
    for folder in (lists / "partial", cache / "archives" / "partial"):
        folder.mkdir(parents=True)
    options = [f"Dir::State::lists={lists}", f"Dir::Cache={cache}", "APT::Sandbox::User=root"]
    apt = ["apt-get", "-q", *(word for option in options for word in ("-o", option))]
    package = f"Debian's package {known.debian}"
    _run([*apt, "update"], work, package)
    _run([*apt, "download", known.debian], work, package)
    _run(["dpkg-deb", "-x", *map(str, work.glob("*.deb")), str(work / "root")], work, package)
    return work / "root" / INSTALLED.relative_to("/") / known.debian.removeprefix("dataset-")


def _run(command: list[str], folder: Path, what: str) -> None:
    """Raises EnvironmentFault with the last line that the command wrote, where it fails."""
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=APT_S)
    except FileNotFoundError:
        raise EnvironmentFault(f"{what}: this machine has no {command[0]}") from None
    except subprocess.TimeoutExpired:
        raise EnvironmentFault(f"{what}: {command[0]} did not end within {APT_S:g} seconds") from None
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
        raise EnvironmentFault(f"{what}: {command[0]} failed ({reason[:200]})") from None


# Files


def _read(folder: Path, known: Published, section: Idx) -> Content:
    """Returns the content of a folder, checked. Raises UserError, which names the file and its fault."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder, must hold {_gzipped(known)}")
    digests: dict[str, str] = {}
    train = _part(folder, known, 0, section.reduce, digests)
    classes = len(known.classes) or int(train.labels.max()) + 1
    test = _part(folder, known, 2, section.reduce, digests) if section.test is None else None
    for part, name in ((train, known.files[1]), (test, known.files[3])):
        if part is not None:
            _check_labels(part, folder / name, range(classes), known.first_label)
    if test is not None and test.pixels.shape[1:] != train.pixels.shape[1:]:
        raise UserError(f"{folder / known.files[2]}: images of another size than those of {known.files[0]}")
    if missing := set(range(classes)) - set(train.labels.tolist()):
        found = f"labels are from 0 to {classes - 1}, but none is {min(missing)}"
        raise UserError(f"{folder / known.files[1]}: {found}; number the classes from 0 without gaps")
    return Content(train, test, digests)


def _part(folder: Path, known: Published, first: int, reduce: int, digests: dict[str, str]) -> Images:
    """Returns the images of the files number `first` and the next one; labels from 0 where they are in the range."""
    pixels, labels = (_values(folder, known, first + i, dimensions, digests) for i, dimensions in ((0, 3), (1, 1)))
    path, (images, height, width) = folder / known.files[first], pixels.shape
    if not images or height != width or height < reduce or height % reduce:
        needed = "square images" if reduce == 1 else "square images with an even number of rows"
        raise UserError(f"{path}: has {images} images of {height}x{width} pixels, must have {needed}")
    if len(labels) != images:
        raise UserError(f"{folder / known.files[first + 1]}: has {len(labels)} labels, {path.name} has {images} images")
    if known.transposed:
        pixels = pixels.transpose(0, 2, 1)
    if reduce == 2:
        pixels = means_of_2x2(pixels)
    return Images(np.ascontiguousarray(pixels)[:, None], labels.astype(np.int64) - known.first_label)


def means_of_2x2(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns (N, H/2, W/2) bytes: floor(sum / 4 + 1/2) of each square of 2x2 pixels of (N, H, W)."""
    images, height, width = pixels.shape
    sums = pixels.reshape(images, height // 2, 2, width // 2, 2).sum(axis=(2, 4), dtype=np.uint16)
    means: NDArray[np.uint8] = ((sums + 2) // 4).astype(np.uint8)
    return means


def _check_labels(part: Images, path: Path, allowed: range, first: int) -> None:
    low, high = int(part.labels.min()), int(part.labels.max())
    if low not in allowed or high not in allowed:
        wrong = (low if low not in allowed else high) + first
        raise UserError(f"{path}: has the label {wrong}, must have {first} to {allowed[-1] + first}")


def _values(folder: Path, known: Published, number: int, dimensions: int, digests: dict[str, str]) -> NDArray[np.uint8]:
    """Returns the values of one file and puts its digest into `digests`. Raises UserError."""
    name = known.files[number]
    path = next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), None)
    if path is None:
        raise UserError(f"{folder / name}.gz: not found, nor the same without .gz; put one of them there")
    try:
        shape, content = _unpacked(path, dimensions)
    except ValueError as error:
        raise UserError(f"{path}: {error}; replace it with an intact IDX file") from None
    digests[name] = hashlib.sha256(content).hexdigest()
    if known.sha256:
        found = (digests[name], hashlib.sha256(path.read_bytes()).hexdigest())
        if known.sha256[number] not in found:
            raise UserError(f"{path}: not the published file of {known.title}; take {name}.gz from {known.home}")
    return np.frombuffer(content, np.uint8, offset=len(content) - math.prod(shape)).reshape(shape)


def _unpacked(path: Path, dimensions: int) -> tuple[list[int], bytes]:
    """Returns the shape and the whole content of a file, of which at most one byte more than promised is read.

    Raises ValueError.
    """
    with path.open("rb") as raw:
        gzipped = raw.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if gzipped else path.open("rb") as file:
            header = file.read(4 + 4 * dimensions)
            shape = _shape(header, dimensions)
            values = file.read(math.prod(shape) + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"damaged gzip file ({error})") from None
    if len(values) != math.prod(shape):
        found = "more" if len(values) > math.prod(shape) else len(values)
        raise ValueError(f"its header promises {math.prod(shape)} bytes, it has {found}")
    return shape, header + values


def _shape(header: bytes, dimensions: int) -> list[int]:
    magic = bytes([0, 0, 8, dimensions])
    if header[:4] != magic:
        raise ValueError(f"its magic number is {header[:4].hex() or 'missing'}, must be {magic.hex()}")
    if len(header) < 4 + 4 * dimensions:
        raise ValueError("it ends in its header")
    shape = [int.from_bytes(header[i : i + 4], "big") for i in range(4, len(header), 4)]
    if math.prod(shape) > MAX_BYTES:
        raise ValueError(f"its header promises {math.prod(shape)} bytes, at most {MAX_BYTES} are read")
    return shape
