"""The compute roofline: how fast a network could be trained if its device did nothing but multiply and add."""

FORWARD_AND_BACKWARD = 3  # the backward pass takes about twice the forward pass's multiply-adds


def images_per_second(peak: float, multiply_adds: int) -> float:
    """Images trained a second at the roofline.

    `peak` is the device's multiply-adds a second (resnet.peak), `multiply_adds` are those of one forward pass of one
    image.
    """
    return peak / (FORWARD_AND_BACKWARD * multiply_adds)
