"""A folder of images, SPLIT/CLASS/IMAGE, or CLASS/IMAGE which is split by content."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pipeline.data.data_set import DataSection
from pipeline.data.image_tree import ImageFile, Splits, scan, shorten
from pipeline.errors import UserError
from pipeline.records import Manifest


class Folder(DataSection):
    """The `data` section of an experiment on a tree of JPEG and PNG files."""

    dataset: Literal["folder"]
    source: str
    validation: Annotated[float, Field(gt=0, lt=0.5)]  # fraction of the images where there is no val/
    test: Annotated[float, Field(gt=0, lt=0.5)]  # fraction of the images where there is no test/


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
