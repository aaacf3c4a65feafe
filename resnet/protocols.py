"""Test protocols for photographs: ten crops (Tables 2 and 3), several scales (Table 4), ensembles (Table 5).

A protocol shows the network several views of each image and averages its outputs. A view is a box of the decoded image
as in resnet.crops, with the number of pixels that it is resampled to.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from resnet.crops import SIZE, TEST_SCALE, Box, Grid, crop_box, normalised, resized
from resnet.device import autocasting
from resnet.evaluation import Errors, evaluate, wrong
from resnet.in_memory_data import Batch
from resnet.recipe import Precision

Averaging = Literal["softmax", "logits"]  # what the mean over the views is taken of
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
        """Returns five views; the mirror images are made of their pixels."""
        grid = resized(height, width, TEST_SCALE)
        bottom, right = grid[0] - SIZE, grid[1] - SIZE
        corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
        return [(crop_box(corner, (SIZE, SIZE), (height, width), grid), (SIZE, SIZE)) for corner in corners]


@dataclass(frozen=True, slots=True)
class MultiScale:
    """The whole image at several scales: "the fully-convolutional form", "the scores at multiple scales" (Sec. 3.4).

    Global average pooling makes our networks fully convolutional: the mean of the class scores over all positions is
    the score of the mean feature, because the classifier is linear. The paper does not say whether mirror images were
    seen too, as by Simonyan and Zisserman 2015, whom it cites; the default is without (`flips`).
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
        return crop_box(corner, size, (height, width), grid), size


Testing = TenCrop | MultiScale


def pixels(views: Iterable[Tensor], mean: Tensor, *, flips: bool) -> list[Tensor]:
    """Subtracts the mean from the bytes of each view, (N, C, H, W), in units of 255 bytes.

    With `flips` their mirror images follow them. The per-pixel mean (C, 224, 224) belongs to training crops; for views
    of another size it is resized bilinearly. The paper does not say what it subtracted there.
    """
    views = list(views)
    views += [images.flip(3) for images in views] if flips else []
    return [normalised(images, _mean(mean, (images.shape[2], images.shape[3]))) for images in views]


def _mean(mean: Tensor, size: Grid) -> Tensor:
    if tuple(mean.shape[1:]) == size:
        return mean
    return F.interpolate(mean[None], size=size, mode="bilinear", align_corners=False)[0]


def single(batches: Iterable[Batch]) -> Iterable[Viewed]:
    """Turns batches into views: one of each image."""
    return (((images,), labels) for images, labels in batches)


def scores(networks: Sequence[nn.Module], views: Sequence[Tensor], averaging: Averaging = "softmax") -> Tensor:
    """Returns the logarithms of the classes' probabilities, (N, classes) float64.

    Each network's probabilities are the mean over its views of the softmax, or the softmax of the mean logits; an
    ensemble's are the mean over the networks. Logarithms, because nearly impossible classes would underflow to ties.
    """
    return _log_mean(torch.stack([_log_probabilities(_logits(network, views), averaging) for network in networks]))


def _logits(network: nn.Module, views: Sequence[Tensor]) -> Tensor:
    """Returns (views, N, classes) float64; what is not finite becomes NaN, which no mean hides.

    Views of one size are one batch.
    """
    if all(view.shape == views[0].shape for view in views):
        outputs: Tensor = network(torch.cat(list(views)))
        logits = outputs.double().reshape(len(views), len(views[0]), -1)
    else:
        logits = torch.stack([network(view) for view in views]).double()
    return logits.where(logits.isfinite(), torch.nan)


def _log_probabilities(logits: Tensor, averaging: Averaging) -> Tensor:
    if averaging == "logits":
        return logits.mean(0).log_softmax(1)
    return _log_mean(logits.log_softmax(2))


def _log_mean(logarithms: Tensor) -> Tensor:
    """Returns the logarithm of the mean over the first dimension."""
    return logarithms.logsumexp(0) - math.log(len(logarithms))


@torch.inference_mode()
def evaluate_each(network: nn.Module, batches: Iterable[Batch]) -> tuple[Errors, NDArray[np.bool_]]:
    """Counts errors as `evaluate` does, and returns which images are top-1 errors, in their order: one pass for both.

    The rule is `wrong`, of one image at a time.
    """
    labels: list[Tensor] = []
    found: list[Tensor] = []

    def watched() -> Iterator[Batch]:
        for images, truth in batches:
            labels.append(truth)
            yield images, truth

    def note(_: nn.Module, __: object, logits: Tensor) -> None:
        found.append(torch.vmap(_is_wrong)(logits.float(), labels.pop()))

    hook = network.register_forward_hook(note)
    try:
        errors = evaluate(network, watched())
    finally:
        hook.remove()
    return errors, torch.cat(found).cpu().numpy()


def _is_wrong(logits: Tensor, label: Tensor) -> Tensor:
    return wrong(logits[None], label[None], 1) > 0


@torch.inference_mode()
def evaluate_views(
    networks: Sequence[nn.Module],
    batches: Iterable[Viewed],
    averaging: Averaging = "softmax",
    precision: Precision = "fp32",
) -> Errors:
    """Counts the errors of a network, or of an ensemble of several, in evaluation mode; restores their modes.

    Counts of parts of a data set add up to those of the whole.
    """
    modes = [network.training for network in networks]
    for network in networks:
        network.eval()
    total = Errors(0, 0, 0, 0.0)
    for views, labels in batches:
        with autocasting(labels.device, precision):
            logarithms = scores(networks, views, averaging)
        loss = -logarithms.gather(1, labels[:, None]).sum()
        total += Errors(len(labels), int(wrong(logarithms, labels, 1)), int(wrong(logarithms, labels, 5)), float(loss))
    for network, training in zip(networks, modes, strict=True):
        network.train(training)
    return total
