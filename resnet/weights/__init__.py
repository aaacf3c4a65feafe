"""Weights files: this project's safetensors, torchvision's, Keras Applications'."""

from resnet.weights.files import decode, encode, load, notes, save
from resnet.weights.keras import from_keras
from resnet.weights.match import WrongWeights
from resnet.weights.torchvision import from_torchvision, to_torchvision

__all__ = ["WrongWeights", "decode", "encode", "from_keras", "from_torchvision", "load", "notes", "save",
           "to_torchvision"]  # fmt: skip
