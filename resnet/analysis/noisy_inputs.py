"""The error of a network under noise on its inputs."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet.analysis.hooks import restored
from resnet.evaluation import wrong
from resnet.in_memory_data import Batch
from resnet.network import Network
from resnet.sampling import normal_pair, uniform

STRENGTHS = (0.0, 0.05, 0.1, 0.2, 0.4)  # s.d. in units of the pixels' range, 255 bytes


def noise(
    network: Network, batches: Iterable[Batch], *, seed: int, strengths: Sequence[float] = STRENGTHS
) -> dict[str, float]:
    """Measures top-1 errors in percent under additive Gaussian noise, by its standard deviation as text.

    The network is in evaluation mode. Inputs and noise are in units of the pixels' range. An image's noise is a
    function of `seed` and the image's index, times the strength: the same for every network and batch size.
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


def normal(seed: int, indices: range, like: Tensor) -> Tensor:
    """Returns standard normals for the images of these indices, with the shape, layout and device of `like`."""
    values = like[0].numel()
    drawn = np.stack([_normals(seed, index, values) for index in indices])
    of_images = torch.from_numpy(drawn).reshape(like.shape).to(like.device, like.dtype)
    return torch.empty_like(like).copy_(of_images)


def _normals(seed: int, index: int, count: int) -> NDArray[np.float64]:
    """Draws from Philox's raw stream (see resnet.sampling); the counter starts where no draw of training is."""
    pairs = -(-count // 2)
    bits = np.random.Philox(key=[seed, index], counter=[0, 0, 0, 1]).random_raw(2 * pairs).reshape(2, pairs)
    return np.concatenate(normal_pair(*uniform(bits)))[:count]
