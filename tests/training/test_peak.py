"""The roofline: a rate that is measured quickly, and images a second that come of it."""

import pytest
import torch

from resnet import peak
from resnet.peak import HOPELESS, MOST_S, SIZES, TIMES, peak_multiply_adds
from resnet.roofline import images_per_second


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_a_rate(dtype: torch.dtype) -> None:
    cpu = torch.device("cpu")
    rate = peak_multiply_adds(cpu, dtype)
    assert 1e6 < rate < 1e16
    assert peak_multiply_adds(cpu, dtype) == rate  # measured once for a device, a precision and a number of threads


@pytest.mark.parametrize(
    ("rate", "largest"),
    [
        (1e15, 8192),  # a GPU
        (1e12, 2048),
        (8e10, 1024),  # one core
        (1e10, 512),
        (1e8, 256),  # without instructions for this precision
    ],
)
def test_no_more_is_multiplied_than_is_cheap(rate: float, largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def seconds(size: int, _kind: str, _dtype: torch.dtype) -> float:
        sizes.append(size)
        return size**3 / rate * (1.5 if size == largest else 1.0)  # not every size reaches the peak

    monkeypatch.setattr(peak, "_seconds", seconds)
    found = peak._measured.__wrapped__("cpu", torch.float32, 1, False)
    assert sizes == [size for size in SIZES if size <= largest]
    assert found == pytest.approx(rate if largest > 256 else rate / 1.5)
    spent = sum((TIMES + 1) * size**3 / rate for size in sizes)
    assert spent <= 8 / 7 * MOST_S or sizes == [256]


@pytest.mark.parametrize(("times", "largest"), [(150.0, 128), (2.1, 128), (1.9, 1024), (0.3, 1024)])
def test_where_bf16_is_hopeless_no_large_product_is_waited_for(
    times: float, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of 1024 x 1024 takes five seconds on a CPU with AVX2 alone, and would be made sixteen times."""
    sizes: list[int] = []

    def seconds(size: int, _kind: str, dtype: torch.dtype) -> float:
        sizes.append(size)
        return size**3 * (times if dtype == torch.bfloat16 else 1.0)

    monkeypatch.setattr(peak, "_seconds", seconds)
    assert peak._gain.__wrapped__("cpu", 1) == pytest.approx(1 / times)
    assert max(sizes) == largest


def test_nor_where_threads_that_wait_hide_it_in_the_smallest(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def seconds(size: int, _kind: str, dtype: torch.dtype) -> float:
        sizes.append(size)
        return 1024.0**3 + size**3 * (100.0 if dtype == torch.bfloat16 else 1.0)  # to find each other takes as long

    monkeypatch.setattr(peak, "_seconds", seconds)
    assert peak._gain.__wrapped__("cpu", 1) < HOPELESS
    assert max(sizes) == 256


def test_the_products_draw_nothing_from_the_run() -> None:
    state = torch.get_rng_state()
    peak._seconds(32, "cpu", torch.float32)
    assert torch.equal(torch.get_rng_state(), state)


def test_images_a_second_at_the_roofline() -> None:
    assert images_per_second(6e12, 2_000_000_000) == 1000.0  # three times two thousand million for each image
