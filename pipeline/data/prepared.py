"""The prepared data of an experiment: data/EXPERIMENT/ with its manifest, and its files checked against it."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import UserError
from pipeline.paths import DATA
from pipeline.records import File, Manifest, SplitInfo, describe, read

HEADER_BYTES = 1024  # of a .npy file, at most


def manifest_of(experiment: str) -> Manifest:
    """Returns the manifest of data/EXPERIMENT/. Raises UserError where it is missing or damaged, and for numbers that
    contradict each other."""
    path = DATA / experiment / "manifest.json"
    manifest = read(Manifest, path, f"dvc repro prepare@{experiment}")
    for mistake in _mistakes(manifest):
        raise UserError(f"{path}: damaged ({mistake}); {remedy(path.parent)}")
    return manifest


def _mistakes(manifest: Manifest) -> Iterator[str]:
    """Yields what no prepared data have. Sizes of files, which `verify` compares with the disk, bound all numbers."""
    for name in ("channels", "size"):
        if getattr(manifest, name) < 1:
            yield f"{name} must be at least 1, got {getattr(manifest, name)}"
    if not manifest.classes or len(set(manifest.classes)) != len(manifest.classes):
        yield f"classes must be names, each once, got {len(manifest.classes)}"
    image = manifest.channels * manifest.size**2
    if manifest.storage == "shards":
        yield from _size_mistakes("mean", manifest.mean, 4 * image)
    for name in ("train", "val", "test"):
        if (split := getattr(manifest, name)) is not None:
            yield from _split_mistakes(name, split, set(manifest.classes))
            if manifest.storage == "arrays" and split.files:
                yield from _size_mistakes(f"{name}.files.0", split.files[0], split.images * image)
            if manifest.storage == "shards" and split.images > (number := sum(file.bytes for file in split.files)):
                yield f"{name}.images must be at most the {number} bytes of its files, got {split.images}"


def _split_mistakes(name: str, split: SplitInfo, classes: set[str]) -> Iterator[str]:
    counts = split.per_class.values()
    if split.images < 1:
        yield f"{name}.images must be at least 1, got {split.images}"
    if min(counts, default=0) < 0 or sum(counts) > split.images:
        yield f"{name}.per_class must be numbers of its {split.images} images, got {sum(counts)} in all"
    if not split.per_class.keys() <= classes:
        yield f"{name}.per_class names a class that is not among classes"
    for file in split.files:
        if file.bytes < 0 or Path(file.path).name != file.path:
            yield f"{name}.files must be names in this folder with their sizes, got {file.path!r}, {file.bytes} bytes"


def _size_mistakes(name: str, file: File, content: int) -> Iterator[str]:
    if not 0 < file.bytes - content <= HEADER_BYTES:
        yield f"{name}.bytes must be {content} and a header, by channels, size and images, got {file.bytes}"


def verify(folder: Path, manifest: Manifest) -> None:
    """Compares size and SHA-256 of every file with the manifest. Raises UserError."""
    splits = [split for split in (manifest.train, manifest.val, manifest.test) if split is not None]
    for file in [*(file for split in splits for file in split.files), manifest.mean, manifest.colour]:
        if file is not None:
            checked(folder, file)


def checked(folder: Path, file: File) -> Path:
    """Returns the path of a file that has the manifest's size and SHA-256. Raises UserError for another one."""
    path = folder / file.path
    if not path.is_file() or describe(path, folder) != file:
        raise UserError(f"{path}: missing, or not of the manifest's size and SHA-256; {remedy(folder)}")
    return path


def remedy(folder: Path) -> str:
    """Returns what to do about a damaged file of `folder`."""
    return f"make it again with: dvc repro -f prepare@{folder.name}"
