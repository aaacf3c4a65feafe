"""Training and evaluation on one GPU; needs torch, torchvision, numpy and `resnet`."""
