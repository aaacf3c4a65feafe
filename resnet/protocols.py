"""How a network is tested on photographs: ten crops (Tables 2 and 3), several scales (Table 4), ensembles (Table 5).

A protocol shows the network several views of each image and averages its answers. A view is a box of the decoded image
as in resnet.views, here with the number of pixels that it is resampled to.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet.data import Batch
from resnet.evaluation import Errors, wrong
from resnet.precision import autocasting
from resnet.recipe import Precision
from resnet.views import SIZE, TEST_SCALE, Box, normalised, resized

Averaging = Literal["softmax", "logits"]  # what the mean over the views is taken of
Grid = tuple[int, int]  # rows and columns
View = tuple[Box, Grid]  # a box of the decoded image, and the pixels that it is resampled to
Viewed = tuple[Sequence[Tensor], Tensor]  # each view of N images, (N, C, H, W) float32; their labels, (N,) int64

SIDES = (224, 256, 384, 480, 640)  # Sec. 3.4
MAX_RATIO = 8  # longer side over shorter; of a longer image only the middle is seen, so that memory is bounded


@dataclass(frozen=True, slots=True)
class TenCrop:
    """The corners and the centre of the image with shorter side 256, and their mirror images ("standard", Sec. 3.4).

    The corners are those of the whole resized image, as in torchvision and in fb.resnet.torch. Krizhevsky et al. 2012,
    whom the paper cites, cut the middle 256x256 pixels out first.
    """

    name: ClassVar[str] = "10-crop"
    flips: ClassVar[bool] = True

    def views(self, height: int, width: int) -> list[View]:
        """Five; the mirror images are made of their pixels."""
        grid = resized(height, width, TEST_SCALE)
        bottom, right = grid[0] - SIZE, grid[1] - SIZE
        corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
        return [(_box(corner, (SIZE, SIZE), (height, width), grid), (SIZE, SIZE)) for corner in corners]


@dataclass(frozen=True, slots=True)
class MultiScale:
    """The whole image at several scales: "the fully-convolutional form", "the scores at multiple scales" (Sec. 3.4).

    Global average pooling makes our networks fully convolutional: the mean of the class scores over all places is the
    score of the mean feature, for the classifier is linear. The paper does not say whether mirror images were seen too,
    as they were by Simonyan and Zisserman 2015, whom it cites; the default is without (`flips`).
    """

    name: ClassVar[str] = "multi-scale"
    sides: tuple[int, ...] = SIDES  # of the shorter side, in pixels
    flips: bool = False

    def views(self, height: int, width: int) -> list[View]:
        return [self._view(height, width, side) for side in self.sides]

    def _view(self, height: int, width: int, side: int) -> View:
        grid = resized(height, width, side)
        size = min(grid[0], MAX_RATIO * side), min(grid[1], MAX_RATIO * side)
        corner = (grid[0] - size[0]) // 2, (grid[1] - size[1]) // 2
        return _box(corner, size, (height, width), grid), size


Testing = TenCrop | MultiScale


def _box(corner: Grid, size: Grid, image: Grid, grid: Grid) -> Box:
    """Of `size` pixels from `corner` (top, left) in the image resized to `grid`. Integers until the division."""
    (top, left), (height, width) = corner, image
    return (
        left * width / grid[1],
        top * height / grid[0],
        (left + size[1]) * width / grid[1],
        (top + size[0]) * height / grid[0],
    )


def pixels(views: Iterable[Tensor], mean: Tensor, *, flips: bool) -> list[Tensor]:
    """Bytes of each view, (N, C, H, W), as a network takes them: less the mean, in units of 255 bytes.

    With `flips` their mirror images come behind them. The per-pixel mean (C, 224, 224) belongs to training crops; for
    views of another size it is resized to theirs, bilinearly. What the paper subtracted there it does not say.
    """
    views = list(views)
    views += [images.flip(3) for images in views] if flips else []
    return [normalised(images, _mean(mean, (images.shape[2], images.shape[3]))) for images in views]


def _mean(mean: Tensor, size: Grid) -> Tensor:
    if tuple(mean.shape[1:]) == size:
        return mean
    return F.interpolate(mean[None], size=size, mode="bilinear", align_corners=False)[0]


def single(batches: Iterable[Batch]) -> Iterable[Viewed]:
    """Images of one view each."""
    return (((images,), labels) for images, labels in batches)


def scores(networks: Sequence[nn.Module], views: Sequence[Tensor], averaging: Averaging = "softmax") -> Tensor:
    """Logarithms of the classes' probabilities, (N, classes) float64.

    Each network's probabilities are the mean over its views of the softmax, or the softmax of the mean logits; an
    ensemble's are the mean over the networks. Logarithms, because classes that are all but impossible would otherwise
    underflow to ties.
    """
    return _log_mean(torch.stack([_answer(_logits(network, views), averaging) for network in networks]))


def _logits(network: nn.Module, views: Sequence[Tensor]) -> Tensor:
    """(views, N, classes) float64; what is not finite is NaN, which no mean hides. Views of one size go together."""
    if all(view.shape == views[0].shape for view in views):
        answers: Tensor = network(torch.cat(list(views)))
        logits = answers.double().reshape(len(views), len(views[0]), -1)
    else:
        logits = torch.stack([network(view) for view in views]).double()
    return logits.where(logits.isfinite(), torch.nan)


def _answer(logits: Tensor, averaging: Averaging) -> Tensor:
    if averaging == "logits":
        return logits.mean(0).log_softmax(1)
    return _log_mean(logits.log_softmax(2))


def _log_mean(logarithms: Tensor) -> Tensor:
    """The logarithm of the mean over the first dimension."""
    return logarithms.logsumexp(0) - math.log(len(logarithms))


@torch.inference_mode()
def evaluate(
    networks: Sequence[nn.Module],
    batches: Iterable[Viewed],
    averaging: Averaging = "softmax",
    precision: Precision = "fp32",
) -> Errors:
    """The errors of a network, or of an ensemble of several, in evaluation mode; modes are put back afterwards.

    Counts of parts of a data set add up to those of the whole.
    """
    modes = [network.training for network in networks]
    for network in networks:
        network.eval()
    total = Errors(0, 0, 0, 0.0)
    for views, labels in batches:
        with autocasting(labels.device, precision):
            answer = scores(networks, views, averaging)
        loss = -answer.gather(1, labels[:, None]).sum()
        total += Errors(len(labels), int(wrong(answer, labels, 1)), int(wrong(answer, labels, 5)), float(loss))
    for network, training in zip(networks, modes, strict=True):
        network.train(training)
    return total
