"""Deep residual learning (He et al. 2015): networks, training, evaluation, statistics and the paper's claims."""

from resnet.architectures import ARCHITECTURES, Architecture, architecture
from resnet.count import Count, count
from resnet.network import Network, build

__all__ = ["ARCHITECTURES", "Architecture", "Count", "Network", "architecture", "build", "count"]
