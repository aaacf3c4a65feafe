"""Encoded images, decoded with limits: JPEG and PNG only, whole, and of a plausible size."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, UnidentifiedImageError

FORMATS = ("JPEG", "PNG")
MAX_PIXELS = 89_478_485  # Pillow's own bound, an error here and not a warning

warnings.filterwarnings("ignore", module="PIL")  # of damaged metadata, which is not used


def decode(content: bytes) -> tuple[Image.Image, str | None]:
    """Returns an RGB image, and the mode that it was converted from. Orientation tags are ignored, as is usual for
    ImageNet.

    Raises ValueError for what is no whole JPEG or PNG image, or has more than MAX_PIXELS.
    """
    return pixels(opened(content))


def opened(content: bytes) -> Image.Image:
    """Returns the image with its size known and no pixel decoded yet. Raises ValueError as `decode` does."""
    with _one_kind_of_error():
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width}x{image.height} pixels, at most {MAX_PIXELS} are decoded")
        return image


def reduce(image: Image.Image, rows: int, columns: int) -> int:
    """Lets an opened JPEG be decoded at 1/2, 1/4 or 1/8 of its scale where it then still has rows x columns.

    Returns the divisor, 1 where nothing changes: for a PNG or a small image. Coordinates in the image are divided by
    exactly that number; the last row and column may reach beyond the image.
    """
    width = image.width
    drafted = image.draft(None, (columns, rows))
    return 1 if drafted is None else round(width / drafted[1][2])


def pixels(image: Image.Image) -> tuple[Image.Image, str | None]:
    """Decodes what was opened: as from `decode`, and with its errors."""
    with _one_kind_of_error():
        # Pillow shows that a PNG has 16 bits a channel for gray images only.
        deep = any("16" in str(tile[3]) for tile in getattr(image, "tile", []))
        image.load()
        return _to_rgb(image, deep)


@contextmanager
def _one_kind_of_error() -> Iterator[None]:
    try:
        yield
    except UnidentifiedImageError:
        raise ValueError("neither JPEG nor PNG") from None
    except Exception as error:  # damaged files make Pillow's parsers raise almost anything
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None


def _to_rgb(image: Image.Image, deep: bool) -> tuple[Image.Image, str | None]:
    mode = image.mode
    if mode.startswith("I") or mode == "F":  # 16-bit gray: convert() would clip at 255 and give white
        gray = np.rint(np.asarray(image).astype(np.float64) / 257.0).clip(0, 255).astype(np.uint8)
        return Image.fromarray(gray).convert("RGB"), "I;16"
    if mode == "RGB":
        return image, "RGB;16" if deep else None
    return image.convert("RGB"), f"{mode};16" if deep else mode
