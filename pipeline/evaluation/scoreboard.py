"""Errors of weights on images beside what others published for the same network: as a record and as text."""

from typing import Any

from pipeline.datasets.folder import wnids
from pipeline.store.records import TOP5_FROM, Record
from resnet.architectures import Architecture
from resnet.paper import references
from resnet.preprocessing import Preprocessing
from resnet.weights.torchvision import DEPTHS
from resnet.weights.torchvision import published as of_torchvision


class Published(Record):
    system: str  # whose numbers they are
    model: str
    variant: str
    protocol: str
    top1_error_percent: float
    top5_error_percent: float | None


class Scoreboard(Record):
    """What `--json` writes."""

    weights: str  # as given
    weights_sha256: str
    network: str
    architecture: dict[str, Any]
    classes: int
    data: str  # as given
    images: int
    top1_errors: int
    top5_errors: int
    top1_error_percent: float
    top5_error_percent: float
    loss: float | None  # mean cross-entropy; None where it is not finite
    images_per_second: float  # with decoding
    precision: str = "fp32"
    top1_change_points: float | None = None  # by the precision, over the first images; None where it is fp32
    compared_images: int | None = None  # so many
    device: str
    versions: dict[str, str]
    protocol: str  # "1-crop 224, resize 256, torchvision"
    preprocessing: dict[str, Any]
    published: list[Published]  # on the validation set of ILSVRC2012; of networks with its 1,000 classes alone
    notes: list[str]


HEAD = ("", "top-1 error %", "top-5 error %", "loss", "images", "images/s", "protocol")
LEFT = (0, 6)  # columns that are words


def published(network: Architecture, classes: int) -> list[Published]:
    rows = references.references(network) if classes == references.CLASSES else []
    return [
        Published(
            system=row.system,
            model=row.model,
            variant=row.variant,
            protocol=row.protocol,
            top1_error_percent=row.top1,
            top5_error_percent=row.top5,
        )
        for row in rows
    ]


def notes(network: Architecture, how: Preprocessing, classes: list[str], images: int) -> list[str]:
    """Why the errors may not be what they are taken for."""
    found = []
    if how.pixels == "torchvision" and network not in map(of_torchvision, DEPTHS):
        found.append(
            "torchvision has no such network; for a run of this project give --preprocessing paper --mean FILE"
        )
    if len(classes) == references.CLASSES:
        if classes != list(wnids()):
            found.append("the class folders are not the WNIDs of ILSVRC2012; labels follow the order of their names")
        if images != references.IMAGES:
            found.append(f"{images} images; the published errors are over {references.IMAGES}")
    return found


def text(board: Scoreboard) -> str:
    """A line about the weights, the table, and the notes."""
    top5 = f"{board.top5_error_percent:.3f}" if board.classes >= TOP5_FROM else "-"
    loss = "not finite" if board.loss is None else f"{board.loss:.4f}"
    speed = f"{board.images_per_second:.4g}"
    rows = [HEAD, ("measured", f"{board.top1_error_percent:.3f}", top5, loss, str(board.images), speed, board.protocol)]
    for row in board.published:
        five = "-" if row.top5_error_percent is None else str(row.top5_error_percent)
        name = f"{row.system}: {row.model} {row.variant}"
        rows.append((name, str(row.top1_error_percent), five, "", "", "", row.protocol))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = [f"{board.weights}: {board.network}, {board.classes} classes", f"{board.data} on {board.device}"]
    lines += ["  ".join(_cell(row[i], widths[i], i in LEFT) for i in range(len(HEAD))).rstrip() for row in rows]
    if board.top1_change_points is not None:
        lines.append(
            f"{board.precision}, batch norm folded: {board.top1_change_points:+.3f} points of top-1 error against "
            f"fp32, over the first {board.compared_images} images"
        )
    return "\n".join([*lines, *(f"note: {note}" for note in board.notes)])


def _cell(content: str, width: int, left: bool) -> str:
    return content.ljust(width) if left else content.rjust(width)
