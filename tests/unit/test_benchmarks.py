"""The benchmarks' harness: thresholds, the table, interleaving, and what is refused."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from benchmarks import __main__ as program
from benchmarks import command, machine
from benchmarks.catalogue import BENCHMARKS, CATALOGUE
from benchmarks.command import row
from benchmarks.harness import Benchmark, Samples, interleave, measure
from benchmarks.results_file import HEAD, ResultsFile, Row
from pipeline.errors import ThresholdMissed
from tests.factories.benchmarks import MEASURED, SELF_TIMED_S, benchmark

NAMES = ["a", "b", "c"]


def made_row(ours: list[float], baseline: list[float], one: Benchmark | None = None, *, quick: bool = False) -> Row:
    """Returns the row of a benchmark whose programs took so many seconds."""
    samples = Samples(ours, 100.0), Samples(baseline, 200.0)
    return row(one or benchmark(), *samples, quick=quick, measured=MEASURED)


def test_the_catalogue() -> None:
    assert len(BENCHMARKS) == len(CATALOGUE)
    for one in CATALOGUE:
        assert one.repetitions >= (3 if one.on_request else 5), one.name
        assert one.threshold or one.limit, f"{one.name}: nothing is required"
        assert not set("\n|") & set(one.what), one.name


@pytest.mark.parametrize(
    ("changes", "ours", "baseline", "holds"),
    [
        ({}, 1.0, 1.1, True),
        ({}, 1.0, 1.09, False),
        ({"threshold": None}, 1.0, 0.5, None),
        ({"threshold": None, "limit": 0.3}, 0.3, 9.0, True),
        ({"threshold": None, "limit": 0.3}, 0.31, 9.0, False),
        ({"threshold": None, "limit": 100.0, "unit": "images/s"}, 0.01, 9.0, True),
        ({"threshold": None, "limit": 100.0, "unit": "images/s"}, 0.011, 9.0, False),
        ({"threshold": 2.0, "limit": 0.3}, 0.3, 0.5, False),
        ({"threshold": 2.0, "limit": 0.3}, 0.2, 0.5, True),
    ],
)
def test_thresholds(changes: dict[str, Any], ours: float, baseline: float, holds: bool | None) -> None:
    assert made_row([ours], [baseline], benchmark(**changes)).holds is holds
    assert made_row([ours], [baseline], benchmark(**changes), quick=True).holds is None


def cells(text: str) -> list[list[str]]:
    """Returns the first table, as a renderer of markdown sees it."""
    found: list[list[str]] = []
    tokens = MarkdownIt().enable("table").parse(text)
    for before, token in itertools.pairwise(tokens):
        if before.type == "tr_open":
            found.append([])
        if before.type in ("th_open", "td_open"):
            found[-1].append("".join(child.content for child in token.children or ()))
    return found


def test_the_file_keeps_rows_in_order_and_replaces_them(tmp_path: Path) -> None:
    path = tmp_path / "results" / "kind.json"
    ResultsFile(path, NAMES, "T").add(made_row([4.0], [8.0], benchmark("b", unit="images/s")))
    ResultsFile(path, NAMES, "T").add(made_row([0.5, 0.25, 1.0], [1.25]))
    ResultsFile(path, NAMES, "T").add(made_row([1.0], [0.5], benchmark("b", unit="images/s")))
    text = path.with_suffix(".md").read_text()
    assert cells(text) == [
        list(HEAD),
        ["a", "0.500 s", "0.250 – 1.00", "1.25 s", "1.25 – 1.25", "2.50×", "≥ 1.10×", "yes", "100", "200"],
        ["b", "1.00 images/s", "1.00 – 1.00", "2.00 images/s", "2.00 – 2.00", "0.500×", "≥ 1.10×", "no", "100", "200"],
    ]
    for part in ("what b measures", "2 cores of A CPU; torch 2.0; 2026-01-02; commit c: `a`, `b`"):
        assert part in text
    assert [row["name"] for row in json.loads(path.read_text())] == ["a", "b"]
    assert list(ResultsFile(path, NAMES, "T").rows.values()) == [
        made_row([0.5, 0.25, 1.0], [1.25]),
        made_row([1.0], [0.5], benchmark("b", unit="images/s")),
    ]
    fewer = ResultsFile(path, ["a"], "T")
    fewer.add(made_row([1.0], [2.0]))
    assert list(fewer.rows) == ["a"]


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A catalogue of three, of which `b` is as slow as the baseline and `c` is measured only when it is named."""
    monkeypatch.setattr(program, "BENCHMARKS", {name: benchmark(name, on_request=name == "c") for name in NAMES})
    monkeypatch.setattr(machine, "cpu", lambda: ("kind", "A CPU"))
    monkeypatch.setattr(machine, "now", lambda _: MEASURED)
    monkeypatch.setattr(program, "bf16_gain", lambda _: 1.0)

    def measured(one: Benchmark, *, repetitions: int, quick: bool) -> tuple[Samples, Samples]:
        baseline = 1.0 if one.name == "b" else 2.0
        return Samples([1.0] * repetitions, 1.0), Samples([baseline] * repetitions, 1.0)

    monkeypatch.setattr(command, "measure", measured)
    return tmp_path / "results"


def names(folder: Path) -> list[str]:
    return [row["name"] for row in json.loads((folder / "kind.json").read_text())]


def test_the_command(made_up: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program.main(["--output", str(made_up)])
    assert names(made_up) == ["a", "b"]
    program.main(["--output", str(made_up), "--repetitions", "2", "c"])
    assert names(made_up) == NAMES
    assert [row["repetitions"] for row in json.loads((made_up / "kind.json").read_text())] == [5, 5, 2]
    assert "a: 1.00 s against 2.00 s, 2.00× (required ≥ 1.10×: holds)\n" in capsys.readouterr().out
    program.main(["--output", str(made_up), "--check", "a"])
    with pytest.raises(ThresholdMissed, match=r"^1 benchmarks missed their thresholds: b: "):
        program.main(["--output", str(made_up), "--check"])
    assert ThresholdMissed("").exit_code == 5


def test_quick_records_nothing(made_up: Path) -> None:
    program.main(["--output", str(made_up), "--quick"])
    assert not made_up.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--check", "--quick"], "measure nothing"),
        (["--repetitions", "0"], "at least 1"),
        (["nothing"], "no benchmark 'nothing'; there are: a, b, c"),
    ],
)
def test_refusals(words: list[str], said: str, made_up: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_programs_take_turns_and_the_warm_up_is_left_out() -> None:
    called: list[str] = []

    def recorded(name: str) -> Callable[[], tuple[float, float]]:
        def call() -> tuple[float, float]:
            called.append(name)
            return [9.0, 1.0, 3.0, 2.0][called.count(name) - 1], 10.0 * len(called)

        return call

    ours, baseline = interleave([recorded("ours"), recorded("baseline")], 3)
    assert " ".join(called) == "ours baseline baseline ours ours baseline baseline ours"
    assert ours.seconds == baseline.seconds == [1.0, 3.0, 2.0]
    assert (ours.peak_mib, baseline.peak_mib) == (80.0, 70.0)


def test_answers_are_not_disturbed(capfd: pytest.CaptureFixture[str]) -> None:
    """`loud` prints, starts a process that does, and both read standard input."""
    ours, baseline = measure(benchmark(), repetitions=2, quick=True)
    assert ours.seconds == [SELF_TIMED_S / 3, SELF_TIMED_S / 3]  # for one unit of its work
    assert all(0 < seconds < 60 for seconds in baseline.seconds)
    assert min(ours.peak_mib, baseline.peak_mib) > 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("noise") == 3
