"""A folder of images, SPLIT/CLASS/IMAGE, or CLASS/IMAGE which is split by content; listed as torchvision does."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pipeline.data.data_set import DataSection
from pipeline.errors import UserError
from pipeline.records import Manifest

SPLITS = ("train", "val", "test")
SHOWN = 5  # how many of a list of mistakes a message names


class Folder(DataSection):
    """The `data` section of an experiment on a tree of JPEG and PNG files."""

    dataset: Literal["folder"]
    source: str
    validation: Annotated[float, Field(gt=0, lt=0.5)]  # fraction of the images where there is no val/
    test: Annotated[float, Field(gt=0, lt=0.5)]  # fraction of the images where there is no test/


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


def prepare(section: Folder, target: Path, where: str) -> Manifest:
    """Writes `target` from the tree. Raises UserError for broken images, and for equal ones in different splits."""
    from pipeline.data import arrow_storage  # imports torch

    place = f"{where}.source"
    tree = scan(Path(section.source), place)

    def decide(images: Splits) -> tuple[Splits, str]:
        if "all" in images:
            splits = split(images["all"], {"test": section.test, "val": section.validation}, tree.classes, place)
            return splits, "a folder of images, CLASS/IMAGE, split by content"
        if shared := duplicates(images):
            raise UserError(f"{place}: the same image in two splits: {shorten(shared)}; keep each in one")
        return images, "a folder of images, SPLIT/CLASS/IMAGE"

    return arrow_storage.prepare(target, "folder", tree, place, decide)


def duplicates(splits: Splits) -> list[str]:
    """Returns the images whose bytes are in two splits, as pairs of names."""
    seen: dict[str, dict[str, str]] = {}  # SHA-256 -> split -> name
    for split_name, images in splits.items():
        for image in images:
            seen.setdefault(image.sha256, {})[split_name] = image.name
    return [" = ".join(names.values()) for names in seen.values() if len(names) > 1]


def split(images: list[ImageFile], fractions: Mapping[str, float], classes: list[str], where: str) -> Splits:
    """Takes a fraction of every class for each name, at least one image, in the order of `images`; the others are
    called `train`. Images with equal bytes stay together, whatever class they are in.

    Raises UserError for a split without an image of some class.
    """
    sizes = Counter(image.label for image in images)
    places = Counter({(c, name): max(1, round(share * sizes[c])) for c in sizes for name, share in fractions.items()})
    copies = Counter(image.sha256 for image in images)
    home: dict[str, str] = {}  # SHA-256 -> split
    for image in images:
        if image.sha256 not in home:
            fits = (name for name in fractions if places[image.label, name] >= copies[image.sha256])
            home[image.sha256] = next(fits, "train")
        places[image.label, home[image.sha256]] -= 1
    splits = {name: [image for image in images if home[image.sha256] == name] for name in ("train", *fractions)}
    for name, part in splits.items():
        if empty := set(range(len(classes))) - {image.label for image in part}:
            names = shorten([classes[label] for label in sorted(empty)])
            raise UserError(f"{where}: too few different images to give {name} one of each class: {names}; add some")
    return splits
