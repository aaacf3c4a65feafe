"""The images of a folder SPLIT/CLASS/IMAGE or CLASS/IMAGE, listed as torchvision does."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError

SPLITS = ("train", "val", "test")
SHOWN = 5  # how many of a list of mistakes a message names


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image of the tree; size and digest are known once it has been read."""

    path: str
    name: str  # below the root, with /
    label: int
    bytes: int = 0
    sha256: str = ""


Splits = dict[str, list[ImageFile]]


@dataclass(frozen=True, slots=True)
class Tree:
    """The images by split, in the order of their names."""

    classes: list[str]
    splits: Splits  # `train`, `val` and perhaps `test`; or `all`, where the tree has no splits


def shorten(items: list[str]) -> str:
    """Returns the first few, and how many there are."""
    return "; ".join(items[:SHOWN]) + (f"; … ({len(items)} in all)" if len(items) > SHOWN else "")


def scan(root: Path, where: str) -> Tree:
    """Returns the images of `root`; files without an image's suffix are ignored. `where` names the key or option.

    Raises UserError for a class without images, and for classes that differ between splits.
    """
    from torchvision.datasets import ImageFolder  # imports torch

    if not root.is_dir():
        raise UserError(f"{where}: {root} is not a folder; name one with train/ and val/, or with one folder a class")
    try:
        folders = {name: ImageFolder(str(folder)) for name, folder in _split_folders(root, where).items()}
    except OSError as error:  # FileNotFoundError for classes without images
        raise UserError(f"{where}: {root}: {error}; add images, or remove the class from every split") from None
    classes = next(iter(folders.values())).classes
    differing = {name for folder in folders.values() for name in set(classes) ^ set(folder.classes)}
    if differing:
        what = f"classes that are not in every one of {', '.join(folders)}: {shorten(sorted(differing))}"
        raise UserError(f"{where}: {root}: {what}; add them")
    if len(classes) < 2:
        raise UserError(f"{where}: {root} has one class folder, at least 2 are needed")
    splits = {
        name: [ImageFile(path, Path(path).relative_to(root).as_posix(), label) for path, label in folder.samples]
        for name, folder in folders.items()
    }
    return Tree(classes, splits)


def _split_folders(root: Path, where: str) -> dict[str, Path]:
    """Returns the folders of the splits. train/ with folders is a split; train/ with images is a class of vehicles."""
    train = root / "train"
    if not train.is_dir() or not any(path.is_dir() for path in train.iterdir()):
        return {"all": root}
    if not (root / "val").is_dir():
        raise UserError(f"{where}: {root} has train/ without val/; add it, or use CLASS/IMAGE, split by content")
    return {name: root / name for name in SPLITS if (root / name).is_dir()}
