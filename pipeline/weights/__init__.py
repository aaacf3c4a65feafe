"""Weights from elsewhere and to elsewhere: torchvision, Keras, ONNX."""
