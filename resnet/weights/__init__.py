"""Weights of others and of our own: torchvision's, Keras Applications', safetensors files."""

from resnet.weights.files import decode, encode, load, save
from resnet.weights.keras import from_keras
from resnet.weights.match import WrongWeights
from resnet.weights.torchvision import from_torchvision, to_torchvision

__all__ = ["WrongWeights", "decode", "encode", "from_keras", "from_torchvision", "load", "save", "to_torchvision"]
