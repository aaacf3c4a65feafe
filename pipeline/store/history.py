"""history.csv: a row every so many iterations, a column a field of resnet.history.Row."""

import csv
import dataclasses
import io
from pathlib import Path
from typing import Any, get_type_hints

from pipeline.errors import UserError
from pipeline.store.records import write_bytes
from resnet.history import Row

COLUMNS = [field.name for field in dataclasses.fields(Row)]
_TYPES = get_type_hints(Row)


def write_history(path: Path, rows: list[Row]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(["" if value is None else value for value in dataclasses.astuple(row)])
    write_bytes(path, text.getvalue().encode())


def read_history(path: Path) -> list[Row]:
    """history.csv. Raises UserError where it is damaged."""
    try:
        with path.open(newline="") as file:
            lines = csv.DictReader(file)
            if lines.fieldnames != COLUMNS:
                raise ValueError("other columns")
            return [Row(**{name: _value(name, text) for name, text in line.items()}) for line in lines]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; link it again with: dvc repro -f train@EXPERIMENT") from None
    except (TypeError, ValueError, KeyError, csv.Error) as error:
        raise UserError(f"{path}: damaged ({error}); link it again with: dvc repro -f train@EXPERIMENT") from None


def _value(name: str, text: str) -> Any:
    if text == "" and _TYPES[name] == float | None:
        return None
    return int(text) if _TYPES[name] is int else float(text)
