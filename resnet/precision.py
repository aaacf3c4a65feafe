"""Number formats of the arithmetic in convolutions and matrix products; weights, sums and statistics stay float32.

One run has one format, the same for plain and residual networks: a recipe names it, nothing is chosen behind its back.
"""

import torch

from resnet.recipe import Precision

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}


def set_arithmetic(precision: Precision) -> None:
    """For this process. cuDNN rounds float32 to ten bits of mantissa unless it is told not to; only tf32 means that."""
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"


def autocasting(device: torch.device, precision: Precision) -> torch.autocast:
    """A context for forward passes: bfloat16 where torch's autocast has it, or none."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
