"""Deep residual learning (He et al. 2015): networks, training, evaluation, statistics and the paper's claims."""

from resnet.architectures import ARCHITECTURES, Architecture, architecture
from resnet.network import build

__all__ = ["ARCHITECTURES", "Architecture", "architecture", "build"]
