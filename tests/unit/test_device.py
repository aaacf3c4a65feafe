"""Arithmetic of the device: formats, repeatable results, the measured peak, and what compilation needs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from resnet.device import autocasting, missing_for_compilation, peak_multiply_adds, set_arithmetic
from resnet.recipe import Precision

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
