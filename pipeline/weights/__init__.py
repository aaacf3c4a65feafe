"""Converts weights from torchvision and Keras, and to torchvision and ONNX."""
