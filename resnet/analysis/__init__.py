"""What happens inside a network: its layers' responses (Fig. 7) and variances, lesions of blocks, noise."""

from resnet.analysis.lesion import lesions
from resnet.analysis.noisy_inputs import STRENGTHS, noise
from resnet.analysis.signals import responses, variances

__all__ = ["STRENGTHS", "lesions", "noise", "responses", "variances"]
