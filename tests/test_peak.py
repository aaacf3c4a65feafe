"""The roofline's flat part: a rate that real work does not exceed."""

import pytest
import torch

from resnet.peak import peak_multiply_adds


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_a_rate(dtype: torch.dtype) -> None:
    cpu = torch.device("cpu")
    rate = peak_multiply_adds(cpu, dtype)
    assert 1e6 < rate < 1e16
    assert peak_multiply_adds(cpu, dtype) == rate  # measured once for a device, a precision and a number of threads
