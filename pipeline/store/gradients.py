"""gradients.csv: a row an iteration at which the gradients of a run were measured, a column a convolution."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import UserError
from pipeline.store.records import write_bytes
from resnet.history import Gradient

NAME = "gradients.csv"


def write(path: Path, convolutions: Sequence[str], gradients: Sequence[Gradient]) -> None:
    """Columns `iteration`, then the convolutions by their names; the norms to the last digit."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["iteration", *convolutions])
    writer.writerows([gradient.iteration, *map(repr, gradient.norms)] for gradient in gradients)
    write_bytes(path, text.getvalue().encode())


def read(path: Path, made_by: str) -> tuple[Gradient, ...]:
    """Raises UserError, with the command that makes the file, where it is not there or damaged."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        if not rows or rows[0][:1] != ["iteration"]:
            raise ValueError("other columns")
        return tuple(_gradient(row, len(rows[0])) for row in rows[1:])
    except OSError as error:
        what = "not there" if isinstance(error, FileNotFoundError) else error.strerror
        raise UserError(f"{path}: {what}; make it with: {made_by}") from None
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: damaged ({error}); make it again with: {made_by}") from None


def _gradient(row: list[str], columns: int) -> Gradient:
    if len(row) != columns:
        raise ValueError(f"a row of {len(row)} values under {columns} columns")
    return Gradient(int(row[0]), tuple(map(float, row[1:])))
