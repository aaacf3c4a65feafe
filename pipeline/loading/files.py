"""The files of data/<experiment>/, checked against its manifest."""

from pathlib import Path, PurePosixPath

from pipeline.errors import UserError
from pipeline.store.records import File, Manifest, sha256


def verify(folder: Path, manifest: Manifest) -> None:
    """Compares size and SHA-256 of every file with the manifest. Raises UserError."""
    for file in files_of(manifest):
        checked(folder, file)


def files_of(manifest: Manifest) -> list[File]:
    """All that the manifest names."""
    splits = [split for split in (manifest.train, manifest.val, manifest.test) if split is not None]
    colour = [manifest.colour] if manifest.colour is not None else []
    return [*(file for split in splits for file in split.files), manifest.mean, *colour]


def mend(folder: Path) -> str:
    """What to do about a damaged file of `folder`."""
    return f"make it again with: dvc repro -f prepare@{folder.name}"


def path_of(folder: Path, file: File) -> Path:
    """Raises UserError where it lies outside `folder`."""
    pure = PurePosixPath(file.path)
    if pure.is_absolute() or ".." in pure.parts:
        raise UserError(f"{folder / 'manifest.json'}: names {file.path!r}, outside its folder; {mend(folder)}")
    return folder / pure


def checked(folder: Path, file: File) -> Path:
    """Its path, when size and SHA-256 are those of the manifest. Raises UserError."""
    path = path_of(folder, file)
    try:
        size = path.stat().st_size
        if size != file.bytes:
            raise UserError(f"{path}: damaged, {size} bytes in place of {file.bytes}; {mend(folder)}")
        if sha256(path) != file.sha256:
            raise UserError(f"{path}: damaged, its SHA-256 is not the manifest's; {mend(folder)}")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {mend(folder)}") from None
    return path
