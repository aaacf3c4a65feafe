"""Encoded images, decoded with limits: JPEG and PNG alone, whole, and not larger than can be meant."""

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

FORMATS = ("JPEG", "PNG")
MAX_PIXELS = 89_478_485  # Pillow's own bound, an error here and not a warning
MAX_FILE = 256 << 20  # bytes

ImageFile.LOAD_TRUNCATED_IMAGES = False  # its default, which other packages change


@dataclass(frozen=True, slots=True)
class Checked:
    """What is known of a file after it was decoded once."""

    sha256: str
    bytes: int
    conversion: str | None  # the mode it was converted to RGB from
    error: str | None  # why it cannot be used


def decode(content: bytes) -> tuple[Image.Image, str | None]:
    """An RGB image, and the mode that it was converted from. Orientation tags are not followed, as in ImageNet's use.

    Raises ValueError for what is no whole JPEG or PNG image, or has more than MAX_PIXELS.
    """
    return pixels(opened(content))


def opened(content: bytes) -> Image.Image:
    """The image with its size known and no pixel decoded yet. Raises ValueError as `decode` does."""
    with _one_kind_of_error():
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width}x{image.height} pixels, at most {MAX_PIXELS} are decoded")
        return image


def reduce(image: Image.Image, rows: int, columns: int) -> int:
    """Lets a JPEG that was opened be decoded at 1/2, 1/4 or 1/8 of its scale where it then still has rows x columns.

    Returns the divisor, 1 where nothing changes: for a PNG or a small image. One pixel then stands for so many, each
    way, that a place in the image is divided by exactly that; the last row and column may reach beyond the image.
    """
    width = image.width
    drafted = image.draft(None, (columns, rows))
    return 1 if drafted is None else round(width / drafted[1][2])


def pixels(image: Image.Image) -> tuple[Image.Image, str | None]:
    """What was opened, decoded: as from `decode`, and with its errors."""
    with _one_kind_of_error():
        deep = _is_deep(image)
        image.load()
        return _to_rgb(image, deep)


@contextmanager
def _one_kind_of_error() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ValueError(f"more than {MAX_PIXELS} pixels") from None
    except UnidentifiedImageError:
        raise ValueError("neither JPEG nor PNG") from None
    except Exception as error:  # damaged files make Pillow's parsers raise almost anything
        raise ValueError(str(error) or type(error).__name__) from None


def _is_deep(image: Image.Image) -> bool:
    """Whether a PNG has 16 bits a channel, which Pillow shows for gray images only."""
    return any("16" in str(tile[3]) for tile in getattr(image, "tile", []))


def _to_rgb(image: Image.Image, deep: bool) -> tuple[Image.Image, str | None]:
    mode = image.mode
    if mode.startswith("I") or mode == "F":  # 16-bit gray: convert() would clip at 255 and give white
        gray = np.rint(np.asarray(image).astype(np.float64) / 257.0).clip(0, 255).astype(np.uint8)
        return Image.fromarray(gray).convert("RGB"), "I;16"
    if mode == "RGB":
        return image, "RGB;16" if deep else None
    return image.convert("RGB"), f"{mode};16" if deep else mode


def check(content: bytes) -> Checked:
    """Decodes once, to know that training can."""
    digest = hashlib.sha256(content).hexdigest()
    if not content:
        return Checked(digest, 0, None, "empty")
    try:
        _, conversion = decode(content)
    except ValueError as error:
        return Checked(digest, len(content), None, " ".join(str(error).split()))
    return Checked(digest, len(content), conversion, None)


def check_file(path: str) -> Checked:
    """The same of a file; one that cannot be read is an error of the file, not of the stage."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        return Checked("", 0, None, error.strerror or str(error))
    if len(content) > MAX_FILE:
        return Checked("", len(content), None, f"more than {MAX_FILE} bytes")
    return check(content)
