"""How fast a run goes at each row of its history: from the rows' own seconds, so every sending gives the same."""

from typing import TYPE_CHECKING, NamedTuple

from pipeline.tracking.facts import RunFacts

if TYPE_CHECKING:
    from resnet.history import Row


class Speed(NamedTuple):
    """In the training iterations since the row before."""

    images_per_second: float
    roofline_percent: float | None  # of what the device reaches if it does nothing but multiply and add


def speed(facts: RunFacts, before: "Row | None", row: "Row") -> Speed | None:
    """None where no time went by. A row that is not behind `before` is the first one of an attempt."""
    iteration, seconds = 0, 0.0
    if before is not None and before.iteration < row.iteration:
        iteration, seconds = before.iteration, before.seconds
    if row.seconds <= seconds:
        return None
    images = (row.iteration - iteration) * int(facts.recipe["batch_size"]) / (row.seconds - seconds)
    return Speed(images, None if facts.roofline is None else 100.0 * images / facts.roofline)
