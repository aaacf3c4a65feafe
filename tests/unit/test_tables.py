"""history.csv and gradients.csv: to the last digit, and one line where they are damaged."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import get_type_hints

import pytest

from pipeline.errors import UserError
from pipeline.run_store.tables import COLUMNS, encode_gradients, encode_history, read_gradients, read_history
from resnet.history import Gradient, Row

ROWS = [
    Row(3, 1.2, 0.1, 1 / 3, 200 / 3, None, None, 0.1 + 0.2, 1785000000.123456),
    Row(6, 2.4, 1e-17, math.nan, 100.0, math.inf, 0.0, 1e300, 1785000001.0),
    Row(11, 4.4, 5e-324, -math.inf, 1e-9, math.nan, 12.5, 7.0, 0.0),
]
DAMAGED: dict[str, Callable[[str], str | bytes]] = {
    "empty": lambda text: "",
    "no header": lambda text: text.partition("\n")[2],
    "a word": lambda text: text.replace("0.1", "many", 1),
    "a float for an iteration": lambda text: text.replace("\n3,", "\n3.5,"),
    "a cut row": lambda text: text.rpartition(",")[0].rpartition(",")[0],
    "a row too long": lambda text: text + "1,2" * 20 + "\n",
    "nothing where a number must be": lambda text: text.replace("\n3,1.2,", "\n3,,"),
    "bytes": lambda text: b"\xff\xfe\x00\x01",
    "a long field": lambda text: "x" * 200_000,
}


def test_a_history_is_read_back_to_the_last_digit(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_bytes(encode_history(ROWS))
    assert list(map(repr, read_history(path))) == list(map(repr, ROWS))
    assert path.read_text().splitlines()[0] == ",".join(get_type_hints(Row)) == ",".join(COLUMNS)
    path.write_bytes(encode_history([]))
    assert read_history(path) == []


def test_gradients_are_read_back_to_the_last_digit(tmp_path: Path) -> None:
    path, entries = tmp_path / "gradients.csv", (Gradient(1, (1 / 3, 1e-300)), Gradient(40, (math.nan, 2.0)))
    path.write_bytes(encode_gradients(["a.conv1", "a.conv2"], entries))
    assert repr(read_gradients(path)) == repr(entries)
    assert path.read_text().splitlines()[0] == "iteration,a.conv1,a.conv2"
    path.write_text("iteration,a\n1\n")
    with pytest.raises(UserError, match=r"gradients\.csv: damaged"):
        read_gradients(path)


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_history_is_refused_with_the_command_that_restores_it(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "tiny" / "row-seed1" / "history.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(encode_history(ROWS))
    content = DAMAGED[kind](path.read_text())
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=r"history\.csv: damaged .*dvc repro --force train@tiny$") as error:
        read_history(path)
    assert len(str(error.value).splitlines()) == 1
    path.unlink()
    with pytest.raises(UserError, match=r"history\.csv: not found; .*dvc repro --force train@tiny$"):
        read_history(path)
