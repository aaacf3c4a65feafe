"""Arithmetic: formats, the measured peak, and bf16, whose results are those of fp32 up to chance."""

import math
import statistics
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from resnet.architectures import Architecture
from resnet.batch_norm import folded
from resnet.device import autocasting, missing_for_compilation, peak_multiply_adds, set_arithmetic
from resnet.evaluation import evaluate
from resnet.in_memory_data import EvalBatches, Images, TrainBatches
from resnet.network import Network
from resnet.recipe import Precision, Recipe
from resnet.training import start, train

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_a_rate(dtype: torch.dtype) -> None:
    state = torch.get_rng_state()
    rate = peak_multiply_adds(CPU, dtype)
    assert torch.equal(torch.get_rng_state(), state)  # nothing is drawn from the run's generator
    assert 1e6 < rate < 1e16
    assert peak_multiply_adds(CPU, dtype) == rate  # measured once for a device, a precision and a number of threads


@pytest.mark.parametrize(("name", "tf32"), [("fp32", False), ("bf16", False), ("tf32", True)])
def test_only_tf32_rounds_float32(name: Precision, tf32: bool) -> None:
    set_arithmetic(name)
    assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is tf32
    assert float(torch.tensor([1e-40]) * 1.0) == 0.0  # denormals are flushed


@pytest.mark.parametrize(
    ("name", "dtype"), [("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_convolutions_and_products_compute_in_it(name: Precision, dtype: torch.dtype) -> None:
    layer, x = torch.nn.Conv2d(3, 4, 3), torch.randn(2, 3, 5, 5)
    with autocasting(CPU, name):
        assert layer(x).dtype == (x.flatten(1) @ x.flatten(1).T).dtype == dtype
    assert layer(x).dtype == torch.float32


@pytest.mark.parametrize("compilers", [True, False])
def test_what_is_missing_is_named(compilers: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet.device.shutil.which", lambda _: "/usr/bin/g++" if compilers else None)
    monkeypatch.setattr("resnet.device.sysconfig.get_path", lambda _: str(tmp_path))
    missing = missing_for_compilation()
    assert missing is not None
    assert ("Python.h" in missing) is compilers
    (tmp_path / "Python.h").touch()
    assert (missing_for_compilation() is None) is compilers


# bf16 against fp32

NETWORK = Architecture(stem="cifar", block="basic", blocks=(1, 1, 1), width=16, shortcut="A")
RECIPE = Recipe(
    batch_size=100, iterations=80, lr=0.1, lr_drops=(60,), momentum=0.9, weight_decay=0.0001, pad=1, flip=False,
    record_every=80, validate_every=80,
)  # fmt: skip
TRAINED = 1000  # digits; the other 797 are held out
SEEDS = (0, 1, 2, 3, 4)


@cache
def digits() -> tuple[Images, Images]:
    images, labels = load_digits(return_X_y=True)
    pixels = torch.from_numpy(images).reshape(-1, 1, 8, 8).mul(255 / 16).to(torch.uint8)
    classes, mean = torch.from_numpy(labels).long(), pixels[:TRAINED].float().mean(0)
    return Images(pixels[:TRAINED], classes[:TRAINED], mean), Images(pixels[TRAINED:], classes[TRAINED:], mean)


@cache
def trained(seed: int, name: Precision) -> tuple[Network, float]:
    """The network after eight epochs, and its error on held-out digits in percent."""
    recipe = replace(RECIPE, precision=name)
    split, held_out = digits()
    run = start(NETWORK, recipe, classes=10, channels=1, seed=seed, device=CPU)
    for _ in train(run, recipe, seed, TrainBatches(split), EvalBatches(held_out)):
        pass
    error = run.rows[-1].val_top1_error_percent
    assert error is not None
    return run.network, error


@pytest.mark.slow
def test_training_in_bf16_ends_within_the_spread_of_the_seeds() -> None:
    """Rounding sends each run another way, so the means differ by chance: four standard errors are allowed."""
    exact, rounded = ([trained(seed, name)[1] for seed in SEEDS] for name in ("fp32", "bf16"))
    assert exact != rounded
    assert statistics.mean(exact) < 10
    chance = math.sqrt((statistics.variance(exact) + statistics.variance(rounded)) / len(SEEDS))
    assert abs(statistics.mean(exact) - statistics.mean(rounded)) <= 4 * chance


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS[:3])
def test_evaluation_in_bf16_with_folding_changes_at_most_a_tenth_of_a_point(seed: int) -> None:
    """Of 10,000 crops of held-out digits: ten of them."""
    network, _ = trained(seed, "fp32")
    crops = list(islice(TrainBatches(digits()[1]).batches(replace(RECIPE, batch_size=500), seed, 0), 20))
    exact, quick = evaluate(network, crops), evaluate(folded(network), crops, "bf16")
    assert exact.images == quick.images == 10_000
    assert abs(quick.top1_percent - exact.top1_percent) <= 0.1
    assert quick.loss != exact.loss
    assert quick.loss == pytest.approx(exact.loss, rel=0.02)
