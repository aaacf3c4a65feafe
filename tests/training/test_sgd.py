"""The step of Sec. 3.4 against torch's own optimizer, whose fused step it is."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from resnet.sgd import Sgd
from tests.tiny_run import NETWORK, begin, going

RATES = (0.1, 0.1, 0.01)
MOMENTUM, WEIGHT_DECAY = 0.9, 0.01


def parameters(seed: int = 3) -> list[nn.Parameter]:
    """In both layouts that a network's have."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((8, 3, 3, 3), (8,), (5, 8))
    made = [torch.randn(shape, generator=generator) for shape in shapes]
    return [nn.Parameter(t.to(memory_format=torch.channels_last) if t.ndim == 4 else t) for t in made]


def gradients(step: int) -> list[Tensor]:
    return [p.detach().clone() for p in parameters(100 + step)]


def begun(seed: int = 3, momentum: float = MOMENTUM) -> Sgd:
    return Sgd.of(parameters(seed), momentum=momentum, weight_decay=WEIGHT_DECAY)


def stepped(rates: tuple[float, ...], momentum: float = MOMENTUM) -> Sgd:
    sgd = begun(momentum=momentum)
    for step, rate in enumerate(rates):
        _one(sgd, step, rate)
    return sgd


def _one(sgd: Sgd, step: int, rate: float) -> None:
    for parameter, gradient in zip(sgd.parameters, gradients(step), strict=True):
        parameter.grad = gradient
    sgd.rate.fill_(rate)
    sgd.step()


@pytest.mark.parametrize("momentum", [MOMENTUM, 0.0])
def test_as_torchs_to_the_last_bit(momentum: float) -> None:
    theirs = parameters()
    rate = torch.tensor(0.0, dtype=torch.float64)
    optimizer = torch.optim.SGD(theirs, rate, momentum=momentum, weight_decay=WEIGHT_DECAY, fused=True)
    for step, value in enumerate(RATES):
        for parameter, gradient in zip(theirs, gradients(step), strict=True):
            parameter.grad = gradient
        rate.fill_(value)
        optimizer.step()
    ours = stepped(RATES, momentum)
    assert all(map(torch.equal, ours.parameters, theirs))
    held = [optimizer.state[p].get("momentum_buffer") for p in theirs] if momentum else []
    assert len(ours.momenta) == len(held)
    assert all(map(torch.equal, ours.momenta, held))


def test_as_the_formula() -> None:
    weights = [p.detach().double() for p in parameters()]
    velocity = [torch.zeros_like(weight) for weight in weights]
    for step, rate in enumerate(RATES):
        for i, gradient in enumerate(gradients(step)):
            change = gradient.double() + WEIGHT_DECAY * weights[i]
            velocity[i] = change if step == 0 else MOMENTUM * velocity[i] + change
            weights[i] = weights[i] - rate * velocity[i]
    for parameter, weight in zip(stepped(RATES).parameters, weights, strict=True):
        torch.testing.assert_close(parameter.detach().double(), weight, rtol=1e-5, atol=1e-6)


def test_goes_on_from_momenta_as_if_it_had_made_them() -> None:
    whole, half = stepped(RATES), stepped(RATES[:2])
    other = begun(7)
    with torch.no_grad():
        for own, held in zip(other.parameters, half.parameters, strict=True):
            own.copy_(held)
    other.go_on(half.momenta)
    _one(other, 2, RATES[2])
    assert all(map(torch.equal, other.parameters, whole.parameters))


def test_another_number_of_momenta_is_refused() -> None:
    sgd = begun()
    with pytest.raises(ValueError, match="shorter"):
        sgd.go_on(stepped(RATES).momenta[:2])


def test_a_parameter_without_a_gradient_is_a_bug() -> None:
    sgd = begun()
    with pytest.raises(AssertionError):
        sgd.step()


def test_in_training_it_holds_every_parameter_of_the_network() -> None:
    run = begin()
    next(going(run))
    assert run.network.architecture == NETWORK
    assert list(map(id, run.sgd.parameters)) == list(map(id, run.network.parameters()))
    assert [m.shape for m in run.sgd.momenta] == [p.shape for p in run.network.parameters()]


TRAIN = """
import sys
from tests.tiny_run import finished
finished()
print("torch._dynamo" in sys.modules)
"""


def test_training_waits_for_no_compiler() -> None:
    """The import of torch's takes a worker seconds before its first iteration."""
    done = subprocess.run([sys.executable, "-c", TRAIN], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("False\n", "")
