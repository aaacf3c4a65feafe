"""history.csv: one row per entry of `resnet.history.Row`. gradients.csv: one column per convolution.

Floats are written to the last digit, so that reading gives the same numbers.
"""

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from pipeline.errors import UserError
from resnet.history import Gradient, Row

HISTORY = "history.csv"
GRADIENTS = "gradients.csv"
COLUMNS = [field.name for field in dataclasses.fields(Row)]
_TYPES = get_type_hints(Row)


def encode_history(rows: Iterable[Row]) -> bytes:
    """The content of history.csv."""
    return _encode(COLUMNS, (dataclasses.astuple(row) for row in rows))


def read_history(path: Path) -> list[Row]:
    """The rows of a run. Raises UserError, with the command that restores the file, where it is missing or damaged."""
    header, lines = _read(path)
    try:
        if header != COLUMNS:
            raise ValueError("other columns")
        return [Row(**{name: _value(name, text) for name, text in zip(COLUMNS, line, strict=True)}) for line in lines]
    except ValueError as error:
        raise _damaged(path, error) from None


def encode_gradients(convolutions: Sequence[str], gradients: Iterable[Gradient]) -> bytes:
    """The content of gradients.csv: column `iteration`, then one column per convolution by its name."""
    return _encode(["iteration", *convolutions], ((entry.iteration, *entry.norms) for entry in gradients))


def read_gradients(path: Path) -> tuple[Gradient, ...]:
    """The gradient norms of a run. Raises UserError as `read_history` does."""
    header, lines = _read(path)
    try:
        if header[:1] != ["iteration"] or any(len(line) != len(header) for line in lines):
            raise ValueError("other columns")
        return tuple(Gradient(int(line[0]), tuple(map(float, line[1:]))) for line in lines)
    except ValueError as error:
        raise _damaged(path, error) from None


def _encode(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(["" if value is None else value for value in row] for row in rows)
    return text.getvalue().encode()


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *lines = list(csv.reader(file)) or [[]]
        return header, lines
    except OSError as error:
        what = "not found" if isinstance(error, FileNotFoundError) else error.strerror
        raise UserError(f"{path}: {what}; restore it with: {_command(path)}") from None
    except (ValueError, csv.Error) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: damaged ({error}); restore it with: {_command(path)}")


def _command(path: Path) -> str:
    """The command for runs/EXPERIMENT/RUN/NAME.csv."""
    return f"dvc repro --force train@{path.parent.parent.name}"


def _value(name: str, text: str) -> Any:
    if text == "" and _TYPES[name] == float | None:
        return None
    return int(text) if _TYPES[name] is int else float(text)
