"""VGG-19 (Simonyan and Zisserman 2015), the reference of Fig. 3: 19.6e9 multiply-adds. Counted, not trained here."""

from collections import OrderedDict
from itertools import pairwise

from torch import nn

STAGES = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))  # 3x3 convolutions and their channels, then max pooling
HIDDEN = 4096  # units of each of the two hidden fully-connected layers
SIZE = 224  # pixels a side that its classifier requires


def vgg_19(classes: int = 1000, channels: int = 3) -> nn.Sequential:
    """(N, channels, 224, 224) -> (N, classes) logits; children conv1_x to conv5_x and head. No batch normalisation."""
    children: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = channels
    for stage, (layers, width) in enumerate(STAGES, start=1):
        rows: list[nn.Module] = []
        for _ in range(layers):
            rows += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = width
        children[f"conv{stage}_x"] = nn.Sequential(*rows, nn.MaxPool2d(2))
    sizes = (inputs * (SIZE // 2 ** len(STAGES)) ** 2, HIDDEN, HIDDEN, classes)
    fc: list[nn.Module] = [nn.Flatten()]
    for entering, leaving in pairwise(sizes):
        fc += [nn.Linear(entering, leaving), nn.ReLU(inplace=True), nn.Dropout(0.5)]
    children["head"] = nn.Sequential(*fc[:-2])
    return nn.Sequential(children)
