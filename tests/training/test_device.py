"""What a worker makes of its process, and what it advises."""

import pytest
import torch

from pipeline.training import device
from pipeline.training.device import advice
from resnet.recipe import Precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(("fast", "precision", "size", "expected"), [
    (True, "fp32", 32, "precision: bf16"), (True, "fp32", 8, ""), (True, "bf16", 32, ""),
    (False, "fp32", 224, ""), (False, "bf16", 8, "precision: fp32"), (False, "bf16", 224, "precision: fp32"),
])  # fmt: skip
def test_a_format_is_advised_where_it_was_measured_to_be_faster(
    fast: bool, precision: Precision, size: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "fast_bf16", lambda _: fast)
    said = advice(CPU, precision, size)
    assert expected in said
    assert bool(said) == bool(expected)
    assert advice(GPU, precision, size) == ""  # the roofline's share tells there


def test_freed_memory_is_kept_only_where_glibc_is() -> None:
    device.keep_freed_memory()  # of the test's own process: no other effect than fewer page faults
    blocks = [torch.ones(1 << 20) for _ in range(3)]
    del blocks
    assert float(torch.ones(1 << 20).sum()) == 1 << 20
