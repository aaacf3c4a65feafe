"""Measurements inside a network: responses (Fig. 7), variances and gradients of its layers, lesions, noise, copies."""

from resnet.analysis.identity import copies
from resnet.analysis.lesion import lesions
from resnet.analysis.noisy_inputs import STRENGTHS, noise
from resnet.analysis.signals import responses, variances

__all__ = ["STRENGTHS", "copies", "lesions", "noise", "responses", "variances"]
