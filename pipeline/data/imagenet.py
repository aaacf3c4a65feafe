"""ILSVRC2012: its 1,000 classes by name, its training and validation images as they are published."""

from functools import cache
from pathlib import Path
from typing import Literal

from pipeline.data.data_set import DataSection
from pipeline.data.image_tree import Splits, scan, shorten
from pipeline.errors import UserError
from pipeline.records import Manifest

WNIDS = Path(__file__).with_name("imagenet_wnids.txt")  # the 1,000 classes, in the order of their labels
PUBLISHED = {"train": 1_281_167, "val": 50_000}  # images


class ImageNet(DataSection):
    """The `data` section of an experiment on ILSVRC2012; the 50,000 validation images are the paper's `val`."""

    dataset: Literal["imagenet"]
    source: str  # folder with train/WNID/*.JPEG and val/WNID/*.JPEG


def prepare(section: ImageNet, target: Path, where: str) -> Manifest:
    """Writes `target` from the tree. Raises UserError for other classes and for broken images.

    Fewer images than published are a note in the manifest.
    """
    from pipeline.data import arrow_storage  # imports torch

    place = f"{where}.source"
    tree = scan(Path(section.source), place)
    if set(tree.splits) != set(PUBLISHED):
        raise UserError(f"{place}: has {', '.join(tree.splits)}; ILSVRC2012 has train/WNID/IMAGE and val/WNID/IMAGE")
    differing = sorted(set(wnids()) ^ set(tree.classes))
    if differing:
        raise UserError(
            f"{place}: not the 1,000 classes of ILSVRC2012; missing or not among them: {shorten(differing)}"
        )

    def decide(splits: Splits) -> tuple[Splits, str]:
        sizes = [(name, len(images), PUBLISHED[name]) for name, images in splits.items()]
        fewer = [
            f"{name} has {found} images, published are {number}" for name, found, number in sizes if found != number
        ]
        return splits, "; ".join(["ILSVRC2012", *fewer])

    return arrow_storage.prepare(target, "imagenet", tree, place, decide)


@cache
def wnids() -> tuple[str, ...]:
    """Returns the names of the 1,000 classes, in the order of their labels."""
    return tuple(WNIDS.read_text(encoding="ascii").split())
