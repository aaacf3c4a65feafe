"""A tree of images and weights of torchvision for them."""

from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import nn

from tests import makers

CLASSES = ("Zebra", "ant", "bee", "cat", "dog", "eel", "n10", "n2", "ox", "train")  # as they sort; a class named train
SMALL = ["--resize", "40", "--crop", "32"]


@dataclass(frozen=True)
class World:
    folder: Path  # with the tree `images` and torchvision's weights `a.pth`
    theirs: nn.Module

    def words(self, *words: str, weights: str = "a.pth", data: str = "images") -> list[str]:
        """The command's arguments, on the CPU."""
        named = ["--weights", str(self.folder / weights), "--data", str(self.folder / data)]
        return [*named, "--device", "cpu", *words]


def make(folder: Path) -> World:
    """Four images a class, and one more in gray; ResNet-18 as torchvision draws it."""
    makers.tree(folder / "images", {"": 4}, CLASSES)
    (folder / "images" / "ant" / "gray.png").write_bytes(makers.image(901, 33, 71, mode="L", kind="PNG"))
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=10)
    torch.save(theirs.state_dict(), folder / "a.pth")
    return World(folder, theirs)
