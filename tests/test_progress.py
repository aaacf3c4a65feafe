"""What a person sees: cells, times left, names as they are, and no more lines than the terminal has."""

import io
import time
from typing import get_args

import pytest
from rich.console import Console

from pipeline.progress import Line, Progress, State, clock, number
from resnet.training import Row


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock: now[0] seconds."""
    moment = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    return moment


def row(iteration: int, train: float, val: float | None) -> Row:
    return Row(iteration, 1.0, 0.1, 1.0, train, None if val is None else 1.0, val, 1.0, 0.0)


def console(height: int = 40, width: int = 120, *, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), height=height, width=width, force_terminal=terminal, color_system=None)


def text(progress: Progress) -> str:
    out = progress.console
    assert isinstance(out.file, io.StringIO)
    out.file.seek(0)
    out.file.truncate()
    out.print(progress)
    return out.file.getvalue()


def cells(progress: Progress) -> dict[str, list[str]]:
    """The table's body by the runs' names."""
    lines = [
        [cell.strip() for cell in line.strip("│").split("│")] for line in text(progress).splitlines() if "│" in line
    ]
    return {line[0]: line[1:] for line in lines}


def lines(*names: str, work: float = 1.0) -> list[Line]:
    return [Line(name, 100, work, 16) for name in names]


# The table


def test_the_cells_of_a_run_under_way(now: list[float]) -> None:
    line, other = lines("resnet-18-seed0", "plain-18-seed0")
    progress = Progress("digits on this machine", [line, other], console())
    line.begin(20, now[0])
    line.take([row(10, 88.888, 77.0), row(20, 66.666, None)])
    now[0] += 30
    line.advance(50, 10.0)
    assert cells(progress) == {
        "resnet-18-seed0": ["50/100", "66.67", "77.00", "80", "0:50"],  # 30 iterations in 30 s, 50 to go
        "plain-18-seed0": ["0/100", "", "", "", "waiting"],
    }
    assert "digits on this machine: 0 of 2 runs," in text(progress)


@pytest.mark.parametrize("state", [state for state in get_args(State) if state != "training"])
def test_every_other_state_is_named(state: State) -> None:
    line = Line("a", 100, 1.0, 16, state=state)
    assert cells(Progress("x", [line], console()))["a"][-1] == state


def test_under_way_first_and_finished_last() -> None:
    names = ["finished", "waiting", "training", "diverged", "lost", "failed", "elsewhere"]
    states: list[State] = ["finished", "waiting", "training", "diverged", "lost", "failed", "elsewhere"]
    table = Progress("x", [Line(n, 1, 1.0, 1, state=s) for n, s in zip(names, states, strict=True)], console())
    order = list(cells(table))
    assert set(order[:4]) == {"training", "lost", "failed", "elsewhere"}
    assert order[4] == "waiting"
    assert ": 3 of 7 runs" in text(table)  # with the one that failed


def test_many_rows_are_cut_to_the_height_of_the_terminal() -> None:
    names = [f"run-{i:02d}" for i in range(50)]
    for height in (10, 20, 30, 100):
        many = lines(*names)
        many[49].state = "training"
        progress = Progress("x", many, console(height))
        shown = cells(progress)
        assert next(iter(shown)) == "run-49"  # what goes on is not cut away
        assert len(text(progress).splitlines()) <= height
        assert len(shown) == min(50, height - 6)
        assert (f"and {50 - len(shown)} more" in text(progress)) == (len(shown) < 50)


def test_names_are_shown_as_they_are(now: list[float]) -> None:
    """Neither brackets nor colons mean colours or pictures."""
    odd = ["[red]a", "[/]", "x[bold]y[/bold]", ":bug:", "a\\[b"]
    progress = Progress("[b]title :bug: [/nothing]", lines(*odd), console())
    assert set(cells(progress)) == set(odd)
    assert "[b]title :bug: [/nothing]: 0 of 5 runs" in text(progress)
    plain = console()
    Progress("x", [], plain).event("[red]a", "lost its worker ([/x] :bug:)")
    assert isinstance(plain.file, io.StringIO)
    assert plain.file.getvalue() == "[red]a: lost its worker ([/x] :bug:)\n"


# Times


def test_the_time_left_of_a_run(now: list[float]) -> None:
    line = lines("a")[0]
    assert line.left_s is None  # it waits
    line.begin(40, now[0])
    assert line.left_s is None  # no pace yet
    now[0] += 10
    line.advance(60, 99.0)
    assert line.left_s == pytest.approx(20.0)  # 20 iterations in 10 s; what came before the resume does not count
    line.state = "lost"
    assert line.left_s is None


def test_the_time_left_of_all_goes_by_work(now: list[float]) -> None:
    small, big, done = Line("s", 10, 1.0, 1), Line("b", 10, 8.0, 1), Line("d", 10, 5.0, 1)
    progress = Progress("x", [small, big, done], console())
    assert progress.left_s() is None
    assert "? left" in text(progress)
    small.begin(0, now[0])
    done.begin(0, now[0])
    now[0] += 60
    small.advance(10, 1.0)
    done.advance(10, 1.0)
    small.state = done.state = "finished"
    assert progress.left_s() == pytest.approx(80.0)  # 6 units in 60 s, 8 are left
    assert "1:20 left" in text(progress)
    big.begin(5, now[0])  # half of it had been done before
    assert progress.left_s() == pytest.approx(40.0)
    big.advance(10, 1.0)
    big.state = "diverged"
    assert progress.left_s() == 0


def test_a_failed_run_is_not_waited_for(now: list[float]) -> None:
    good, bad = lines("good", "bad")
    progress = Progress("x", [good, bad], console())
    good.begin(0, now[0])
    now[0] += 10
    good.advance(50, 1.0)
    bad.state = "failed"
    assert progress.left_s() == pytest.approx(10.0)


def test_images_per_second_are_over_all_attempts() -> None:
    line = lines("a")[0]
    line.advance(50, 20.0)
    assert line.images_per_second == 50 * 16 / 20
    line.advance(0, 0.0)
    assert line.images_per_second is None


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "?"), (0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (3599.6, "1:00:00"), (90_061, "25:01:01")],
)
def test_clock(seconds: float | None, shown: str) -> None:
    assert clock(seconds) == shown


def test_numbers() -> None:
    assert [number(None), number(0.0), number(float("nan")), number(12.345, 0)] == ["", "0.00", "nan", "12"]


# Where it is shown


def test_without_a_terminal_one_line_an_event() -> None:
    out = console(width=20)
    progress = Progress("x", lines("a", "b"), out)
    with progress.shown() as shown:
        assert shown is progress
        progress.event("a", "begins")
        progress.event("b", "goes on from iteration 40, which is a line much longer than the terminal is wide")
    assert isinstance(out.file, io.StringIO)
    assert [line.partition(":")[0] for line in out.file.getvalue().splitlines()] == ["a", "b"]


def test_in_a_terminal_a_table_beside_the_events() -> None:
    out = console(terminal=True)
    progress = Progress("digits", lines("a-run"), out)
    with progress.shown():
        progress.event("a-run", "begins")
    assert isinstance(out.file, io.StringIO)
    written = out.file.getvalue()
    assert "a-run: begins" in written
    assert "digits: 0 of 1 runs" in written
    assert "0/100" in written
