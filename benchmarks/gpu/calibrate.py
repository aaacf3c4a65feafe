"""What the device can do: multiply-adds of a large matrix product, and bytes of a large copy."""

import torch

from benchmarks.gpu.clock import timed
from benchmarks.gpu.plan import Measurement
from benchmarks.gpu.rows import Row
from benchmarks.gpu.sizes import Sizes
from resnet.precision import DTYPES, set_arithmetic
from resnet.recipe import Precision


def section(device: torch.device, sizes: Sizes) -> list[Measurement]:
    def of(precision: Precision) -> Measurement:
        return Measurement(f"matrix product in {precision}", lambda: [product(device, sizes, precision)])

    return [*map(of, DTYPES), Measurement("copy", lambda: [copy(device, sizes)])]


def product(device: torch.device, sizes: Sizes, precision: Precision) -> Row:
    """Of random numbers: a GPU draws less current, and is faster, on constant ones."""
    set_arithmetic(precision)
    generator = torch.Generator(device).manual_seed(0)
    n = sizes.matrix
    a, b = (torch.randn(n, n, generator=generator, device=device).to(DTYPES[precision]) for _ in range(2))
    out = torch.empty_like(a)
    timing = timed(lambda: torch.mm(a, b, out=out), device, sizes.effort)
    return Row(
        name=f"calibrate: matrix product in {precision}",
        unit="TFLOP/s",
        ours=2 * n**3 / timing.seconds / 1e12,
        spread=timing.spread,
        peak_mib=timing.peak_mib,
    )


def copy(device: torch.device, sizes: Sizes) -> Row:
    """Within the device's memory: every byte is read once and written once."""
    source = torch.ones(sizes.copied_mib * 2**20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    timing = timed(lambda: target.copy_(source), device, sizes.effort)
    return Row(
        name="calibrate: copy",
        unit="GB/s",
        ours=2 * source.numel() / timing.seconds / 1e9,
        spread=timing.spread,
        peak_mib=timing.peak_mib,
    )
