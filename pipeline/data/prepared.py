"""The prepared data of an experiment: data/EXPERIMENT/ with its manifest, and its files checked against it."""

from pathlib import Path

from pipeline.errors import UserError
from pipeline.paths import DATA
from pipeline.records import File, Manifest, describe, read


def manifest_of(experiment: str) -> Manifest:
    """Returns the manifest of data/EXPERIMENT/. Raises UserError where it is missing or damaged."""
    return read(Manifest, DATA / experiment / "manifest.json", f"dvc repro prepare@{experiment}")


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
