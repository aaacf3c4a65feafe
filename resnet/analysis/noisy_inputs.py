"""How a network's error grows with noise on its inputs."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from resnet.analysis.watching import restored
from resnet.data import Batch
from resnet.evaluation import wrong
from resnet.network import Network

STRENGTHS = (0.0, 0.05, 0.1, 0.2, 0.4)  # s.d. in units of the pixels' range, 255 bytes


def noise(
    network: Network, batches: Iterable[Batch], *, seed: int, strengths: Sequence[float] = STRENGTHS
) -> dict[str, float]:
    """Top-1 error in per cent under additive Gaussian noise, by its standard deviation as text, in evaluation mode.

    Inputs are in units of the pixels' range, so noise is added to them as it is. An image's noise is a function of
    `seed` and its place in the data set, the strength its factor: the same for every network and size of batches.
    """
    missed = torch.zeros(len(strengths), dtype=torch.int64)
    total = 0
    with restored(network):
        network.eval()
        for images, labels in batches:
            normals = normal(seed, range(total, total + len(labels)), images)
            counts = [wrong(network(images + strength * normals).float(), labels, 1) for strength in strengths]
            missed += torch.stack(counts).cpu()
            total += len(labels)
    return {repr(float(s)): 100.0 * int(errors) / total for s, errors in zip(strengths, missed, strict=True)}


def normal(seed: int, places: range, like: Tensor) -> Tensor:
    """Standard normals for the images at these places, with the shape, layout and device of `like`."""
    values = like[0].numel()
    drawn = np.stack([_normals(seed, place, values) for place in places])
    of_images = torch.from_numpy(drawn).reshape(like.shape).to(like.device, like.dtype)
    return torch.empty_like(like).copy_(of_images)


def _normals(seed: int, place: int, count: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Box and Muller's method on Philox's raw stream, which no version of numpy changes (see resnet.sampling).

    The counter starts where no draw of training comes.
    """
    pairs = -(-count // 2)
    bits = np.random.Philox(key=[seed, place], counter=[0, 0, 0, 1]).random_raw(2 * pairs).reshape(2, pairs)
    units = np.ldexp((bits >> np.uint64(11)).astype(np.float64), -53)
    radius, angle = np.sqrt(-2.0 * np.log1p(-units[0])), 2.0 * np.pi * units[1]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
