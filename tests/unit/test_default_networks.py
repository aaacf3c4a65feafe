"""The networks of the experiments that train on two cores: every one of their weights takes part."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from pipeline import config
from pipeline.plan import assumed
from resnet.network import build, initialise

PARAMS = Path(__file__).parents[2] / "params.yaml"
IMAGES = 16


@pytest.mark.parametrize("name", ["digits", "fashion", "fashion-overnight"])
def test_no_weight_has_a_gradient_that_is_always_zero(name: str) -> None:
    """As the outer weights of a 3x3 kernel would have on maps of 1x1 pixels, where they see padding alone."""
    experiment = config.load(name, PARAMS)
    shape = assumed(experiment)
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(IMAGES, shape.channels, shape.size, shape.size, generator=generator, dtype=torch.float64)
    labels = torch.arange(IMAGES) % len(shape.classes)
    for architecture in {run.architecture for run in experiment.runs if run.architecture.initialisation == "he"}:
        network = build(architecture, len(shape.classes), shape.channels)
        initialise(network, seed=1)
        functional.cross_entropy(network.double()(images), labels).backward()  # type: ignore[no-untyped-call]
        for parameter, gradient in ((p, p.grad) for p in network.parameters()):
            assert gradient is not None
            places = gradient.abs().sum((0, 1)) if gradient.dim() == 4 else gradient.abs().sum()  # of a kernel
            assert bool((places > 0).all()), (architecture, tuple(parameter.shape))


def test_maps_of_one_pixel_would_be_noticed() -> None:
    network = build("plain-18", 10, 1, stem="cifar", width=4).double()
    initialise(network, seed=1)
    network(torch.rand(IMAGES, 1, 8, 8, dtype=torch.float64)).sum().backward()
    (kernel,) = (p.grad for name, p in network.named_parameters() if name == "conv5_x.1.residual.conv2.weight")
    assert kernel is not None
    assert int((kernel[..., 0, 0] == 0).all())
