"""Figures, gates, the table, the file of results, and what is refused."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from benchmarks import hardware, kept, turns
from benchmarks.catalogue import BENCHMARKS, CATALOGUE
from benchmarks.harness import SHARE, Benchmark, Gate
from benchmarks.kept import Kept, missed
from benchmarks.results import Results, row
from benchmarks.table import HEAD, digits, figure, markdown, sentence
from pipeline import benchmark as command
from pipeline.errors import GateMissed, UserError
from tests import benchmark_maker as maker
from tests.benchmark_maker import HARDWARE, benchmark, made_row

NAMES = ["a", "b", "c"]


def results(*rows: object, quick: bool = False) -> Results:
    return Results.model_validate({"hardware": HARDWARE, "quick": quick, "results": rows})


def test_the_catalogue() -> None:
    assert len(BENCHMARKS) == len(CATALOGUE)
    assert {"construction", "mlflow", "repro-nothing", "dvc-add", "help", "report", "warm-workers"} <= set(BENCHMARKS)
    for one in CATALOGUE:
        assert one.repetitions >= 5 or (one.repetitions == 3 and "three repetitions, for" in one.what), one.name
        assert one.rival or one.gate is None, f"{one.name}: a ratio to nothing"
        assert one.what, one.name
        assert not set("\n|") & set(one.what + one.reason), one.name


def test_units() -> None:
    assert benchmark().shown(0.5, 1) == 0.5
    assert benchmark(unit="ms").shown(0.5, 1) == 500
    assert benchmark(unit="images/s").shown(0.5, 128) == 256
    assert benchmark(unit="runs/h").shown(36.0, 20) == 2000
    assert benchmark(unit=SHARE).shown(0.004, 1) == 0.004
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="a: "):
            benchmark().shown(wrong, 1)


def test_ratio_is_for_the_same_work() -> None:
    one = benchmark(unit="runs/h", work=20, rival_work=2, quick_work=3)
    made = made_row(10.0, 8.0, one)  # half a second a run, against four
    assert made.ratio == pytest.approx(8)
    assert made.ours == pytest.approx(7200)
    assert made.rival == pytest.approx(900)
    assert one.amounts(quick=True) == (3, 3)
    assert benchmark(quick_work=3, quick_rival_work=1).amounts(quick=True) == (3, 1)


@pytest.mark.parametrize(
    ("changes", "ours", "rival", "holds"),
    [
        ({}, 1.0, 1.1, True),  # without bf16 the gate is 1.1
        ({}, 1.0, 1.09, False),
        ({"gate": None}, 1.0, 0.5, None),
        ({"gate": None, "absolute": 0.3}, 0.3, 9.0, True),
        ({"gate": None, "absolute": 0.3}, 0.31, 9.0, False),
        ({"gate": Gate.at_least(2), "absolute": 0.3}, 0.3, 0.5, False),
        ({"gate": Gate.at_least(2), "absolute": 0.3}, 0.2, 0.5, True),
        ({"gate": None, "absolute": 0.3, "rival": None}, 0.4, None, False),
    ],
)
def test_gates(changes: dict[str, Any], ours: float, rival: float | None, holds: bool | None) -> None:
    assert made_row(ours, rival, benchmark(**changes)).holds is holds


def test_the_gate_depends_on_the_cpu() -> None:
    sides = maker.turns(1.0), maker.turns(1.5)
    for fast, gate, holds in ((True, 1.8, False), (False, 1.1, True)):
        made = row(benchmark(), *sides, quick=False, fast_bf16=fast, measured=maker.MEASURED)
        assert (made.gate, made.holds) == (gate, holds)
    assert row(benchmark(), *sides, quick=True, fast_bf16=True, measured=maker.MEASURED).holds is None


def test_slower_or_larger_needs_a_reason() -> None:
    free = benchmark(gate=None)
    assert made_row(1.0, 0.9, free).unexplained == "slower"
    assert made_row(1.0, 1.1, free, peaks=(106.0, 100.0)).unexplained == "larger"
    assert made_row(1.0, 1.1, free, peaks=(105.0, 100.0)).unexplained == ""
    assert made_row(1.0, None, benchmark(gate=None, rival=None)).unexplained == ""
    assert made_row(1.0, 0.9, benchmark(gate=None, reason="it does more")).unexplained == ""


def test_what_is_missed() -> None:
    rows = [
        made_row(1.0, 2.0),
        made_row(1.0, 1.05, benchmark("b")),
        made_row(1.0, 2.0, benchmark("c"), peaks=(200.0, 100.0)),
        made_row(0.02, 0.5, benchmark("d", unit=SHARE, absolute=0.01)),
    ]
    assert missed(rows) == [
        "b: 1.00 s against 1.05 s, 1.05× (≥ 1.10× is asked: MISSED)",
        "c: larger than the rival, and no reason is given",
        "d: 2.00 % against 50.0 %, 25.0× (≥ 1.10×, ≤ 1.00 % is asked: MISSED)",
    ]
    command.check(rows[:1])
    with pytest.raises(GateMissed, match=r"^3 of 4 benchmarks .*: b: .*; c: larger .*; d: "):
        command.check(rows)
    assert GateMissed("").exit_code == 5


def test_figures() -> None:
    values = (0.00004, 0.01234, 0.5, 1.234, 12.34, 123.4, 1234.6)
    assert [digits(value) for value in values] == ["0.0000400", "0.0123", "0.500", "1.23", "12.3", "123", "1,235"]
    assert figure(0.0123, SHARE) == "1.23 %"
    assert sentence(made_row(2.0, None, benchmark(rival=None, gate=None))) == "2.00 s"


def cells(text: str) -> list[list[str]]:
    """Of the first table, as a renderer of markdown sees it."""
    found: list[list[str]] = []
    tokens = MarkdownIt().enable("table").parse(text)
    for before, token in itertools.pairwise(tokens):
        if before.type == "tr_open":
            found.append([])
        if before.type in ("th_open", "td_open"):
            found[-1].append("".join(child.content for child in token.children or ()))
    return found


def test_the_table() -> None:
    reason = "it checks every byte"
    rows = [
        made_row(0.5, 1.25),
        made_row(1.0, 0.5, benchmark("b", unit="images/s", work=128, reason=reason), peaks=(2048.0, 100.0)),
        made_row(0.25, None, benchmark("c", rival=None, gate=None, absolute=0.3)),
    ]
    text = markdown(results(*rows))
    assert cells(text) == [
        list(HEAD),
        ["a", "0.500 s", "1.25 s", "2.50×", "≥ 1.10×", "yes", "1.00", "100", "100"],
        ["b", "128 images/s", "256 images/s", "0.500×", "≥ 1.10×", "no", "1.00", "2,048", "100"],
        ["c", "0.250 s", "–", "–", "≤ 0.300 s", "yes", "1.00", "100", "–"],
    ]
    for needed in (
        "what b measures",
        f"* `b`: {reason}",
        "A CPU",
        "avx2",
        "torch 2.0",
        "2 cores",
        "2026-01-02",
        "c" * 40,
    ):
        assert needed in text
    assert "Smallest sizes" not in text
    assert "Smallest sizes" in markdown(results(*rows, quick=True))


def test_commits_are_told_apart() -> None:
    other = made_row(1.0, 2.0, benchmark("b"))
    other = other.model_copy(update={"measured": other.measured.model_copy(update={"commit": "d" * 40, "load": 3.0})})
    text = markdown(results(made_row(1.0, 2.0), other))
    assert [line.split()[-1] for line in text.splitlines() if "load average" in line] == ["`a`", "`b`"]
    assert f"commit {'c' * 40}, load average at most 0.25 at the start, matrix products in bf16 1.25×" in text
    assert f"commit {'d' * 40}, load average at most 3 at the start, matrix products in bf16 1.25×" in text


def keep(folder: Path, *, everything: bool = False, quick: bool = False, **machine: Any) -> Kept:
    here = HARDWARE.model_copy(update=machine)
    return Kept(folder, here, quick=quick, names=NAMES, everything=everything)


def names(folder: Path) -> list[str]:
    return [one["name"] for one in json.loads((folder / "cpu.json").read_text())["results"]]


def test_rows_join_those_of_the_same_machine(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    keep(folder).add(made_row(1.0, 2.0, benchmark("b")))
    keep(folder).add(made_row(1.0, 2.0, benchmark("a")))
    assert names(folder) == ["a", "b"]
    keep(folder).add(made_row(4.0, 8.0, benchmark("b")))
    assert names(folder) == ["a", "b"]
    assert [one["ours"] for one in json.loads((folder / "cpu.json").read_text())["results"]] == [1.0, 4.0]
    assert [line[0] for line in cells((folder / "cpu.md").read_text())[1:]] == ["a", "b"]


def test_a_row_without_a_benchmark_goes(tmp_path: Path) -> None:
    keep(tmp_path).add(made_row(1.0, 2.0, benchmark("b")))
    smaller = Kept(tmp_path, HARDWARE, quick=False, names=["a"], everything=False)
    smaller.add(made_row(1.0, 2.0, benchmark("a")))
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("machine", "word"),
    [
        ({"cpu": "Another"}, "cpu A CPU there, Another here"),
        ({"flags": ["avx2", "amx_bf16"]}, "flags"),
        ({"cores": 4}, "cores 2 there, 4 here"),
        ({"versions": {"torch": "2.1", "numpy": "2.1"}}, "torch"),
    ],
)
def test_machines_are_not_mixed(machine: dict[str, Any], word: str, tmp_path: Path) -> None:
    keep(tmp_path).add(made_row(1.0, 2.0, benchmark("b")))
    before = (tmp_path / "cpu.json").read_bytes()
    with pytest.raises(UserError, match=word) as refused:
        keep(tmp_path, **machine)
    assert "\n" not in str(refused.value)
    assert (tmp_path / "cpu.json").read_bytes() == before
    keep(tmp_path, everything=True, **machine).add(made_row(1.0, 2.0, benchmark("a")))  # takes the place of the file
    assert names(tmp_path) == ["a"]


def test_smallest_sizes_are_not_mixed_with_measurements(tmp_path: Path) -> None:
    keep(tmp_path).add(made_row(1.0, 2.0))
    with pytest.raises(UserError, match="smallest sizes here"):
        keep(tmp_path, quick=True)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "cpu.json").write_text("{}")
    with pytest.raises(UserError, match="damaged"):
        keep(tmp_path)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A catalogue of three, whose sides take what they are told: of `b` ours is as slow as the rival."""
    catalogue = {name: benchmark(name) for name in NAMES}
    monkeypatch.setattr("benchmarks.catalogue.BENCHMARKS", catalogue)
    monkeypatch.setattr(hardware, "here", lambda: HARDWARE)
    monkeypatch.setattr(hardware, "now", lambda _: maker.MEASURED)

    def take(one: Benchmark, *, repetitions: int, quick: bool, said: object) -> tuple[turns.Turns, turns.Turns]:
        assert callable(said)
        return maker.turns(*[1.0] * repetitions), maker.turns(*[1.0 if one.name == "b" else 2.0] * repetitions)

    monkeypatch.setattr(turns, "take", take)
    return tmp_path / "results"


def test_the_command(made_up: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["--output", str(made_up), "c", "a"])
    assert names(made_up) == ["a", "c"]
    out = capsys.readouterr().out
    assert "a: 1.00 s against 2.00 s, 2.00× (≥ 1.10× is asked: holds)\n" in out
    assert f"{made_up}/cpu.md: 2 of 3 benchmarks" in out
    first = json.loads((made_up / "cpu.json").read_text())["results"][0]
    assert first["repetitions"] == 5
    command.main(["--output", str(made_up), "--check", "a"])


def test_check_measures_keeps_and_then_fails(made_up: Path) -> None:
    with pytest.raises(GateMissed, match=r"1 of 3 benchmarks missed .*: b: "):
        command.main(["--output", str(made_up), "--check", "--repetitions", "2"])
    assert names(made_up) == NAMES


@pytest.fixture
def one_apart(made_up: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`c` takes too long for a pass over all."""
    monkeypatch.setattr("benchmarks.catalogue.BENCHMARKS", {n: benchmark(n, apart=n == "c") for n in NAMES})
    return made_up


def test_the_longest_are_measured_when_they_are_named(one_apart: Path) -> None:
    command.main(["--output", str(one_apart)])
    assert names(one_apart) == ["a", "b"]
    command.main(["--output", str(one_apart), "c"])
    assert names(one_apart) == ["a", "b", "c"]


def test_a_pass_without_the_longest_takes_the_place_of_another_machines(
    one_apart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command.main(["--output", str(one_apart), "c"])
    monkeypatch.setattr(hardware, "here", lambda: HARDWARE.model_copy(update={"cpu": "another"}))
    with pytest.raises(UserError, match="measured elsewhere"):
        command.main(["--output", str(one_apart), "a"])
    command.main(["--output", str(one_apart)])
    assert names(one_apart) == ["a", "b"]


def test_the_list_says_which_are_the_longest(one_apart: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["--list"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if "(when named)" in line] == ["c"]
    assert not one_apart.exists()


def test_quick_keeps_nothing_unless_told(made_up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "Kept", None)
    command.main(["--quick", "a"])
    assert not made_up.exists()


@pytest.mark.parametrize(
    "words", [["--check", "--quick"], ["--repetitions", "0"], ["--repetitions", "many"], ["--nothing"]]
)
def test_arguments_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(words)
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_an_unknown_name_is_refused(made_up: Path) -> None:
    with pytest.raises(UserError, match="'nothing'; there are: a, b, c"):
        command.main(["--output", str(made_up), "nothing"])


def test_the_list(made_up: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["--list"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == NAMES
    assert not made_up.exists()


def test_this_machine() -> None:
    here = hardware.here()
    assert here.cores >= 1
    assert here.memory_gib >= 1
    assert set(here.versions) == set(hardware.PACKAGES)
    assert set(here.flags) <= set(hardware.FLAGS)
    assert here.differs_from(here) == []
    now = hardware.now(turns.ROOT)
    assert len((now.commit or "no commit").split()[0]) in (40, 2)
    assert now.bf16_over_fp32 > 0
