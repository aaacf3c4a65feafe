"""What a person sees: cells, speeds, times left, names as they are, and no more lines than the terminal has."""

import io
from typing import get_args

import pytest
from rich.console import Console

from pipeline.training.progress import AROUND, BEAT_S, Progress, clock, number
from pipeline.training.progress_line import Line, State
from resnet.history import Row


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


def test_the_cells_of_a_run_under_way() -> None:
    line, other = lines("resnet-18-seed0", "plain-18-seed0")
    progress = Progress("digits", [line, other], console(), " on this machine")
    line.begin(20, 4.0, 1000.0, roofline=640.0)
    line.take([row(10, 88.888, 77.0), row(20, 66.666, None)])
    line.advance(50, 10.0, 1030.0)
    assert cells(progress) == {
        # 30 iterations in 30 s, 6 of which were training, 50 to go
        "resnet-18-seed0": ["50/100", "66.67", "77.00", "80", "12.5", "0:50"],
        "plain-18-seed0": ["0/100", "", "", "", "", "waiting"],
    }
    assert "digits on this machine: 0 of 2 runs, 1 training, 80 images/s," in text(progress)


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
        assert len(shown) == min(50, max(2, height - AROUND))
        assert (f"and {50 - len(shown)} more" in text(progress)) == (len(shown) < 50)


def test_names_are_shown_as_they_are() -> None:
    """Neither brackets nor colons mean colours or pictures."""
    odd = ["[red]a", "[/]", "x[bold]y[/bold]", ":bug:", "a\\[b"]
    progress = Progress("[b]title :bug: [/nothing]", lines(*odd), console())
    assert set(cells(progress)) == set(odd)
    assert "[b]title :bug: [/nothing]: 0 of 5 runs" in text(progress)
    plain = console()
    Progress("x", [], plain).event("[red]a", "lost its worker ([/x] :bug:)")
    assert isinstance(plain.file, io.StringIO)
    assert plain.file.getvalue() == "[red]a: lost its worker ([/x] :bug:)\n"


# Speeds


def test_images_a_second_are_those_of_the_last_seconds() -> None:
    line = lines("a")[0]
    assert line.images_per_second is None
    line.begin(40, 100.0, 0.0)  # it goes on; what came before does not count
    assert line.images_per_second is None
    line.advance(40, 100.0, 1.0)
    assert line.images_per_second is None
    for second in range(1, 6):  # one iteration a second
        line.advance(40 + second, 100.0 + second, second + 0.0)
        assert line.images_per_second == 16.0
    for second in range(1, 6):  # four iterations a second
        line.advance(45 + 4 * second, 105.0 + second, 5.0 + second)
        assert line.images_per_second == pytest.approx(16 * (4 * second + 5 - second) / 5)
    assert line.images_per_second == 64.0
    line.advance(75, 120.0, 30.0)  # a message that was long in coming stands for itself
    assert line.images_per_second == 16 * 10 / 10


def test_messages_that_are_kept_are_few() -> None:
    line = Line("a", 10**6, 1.0, 16)
    line.begin(0, 0.0, 0.0)
    for i in range(1, 1000):
        line.advance(i, i / 2, i / 2)
    assert len(line._marks) == 11  # half a second apart, over five seconds


def test_the_share_of_the_peak() -> None:
    line = lines("a")[0]
    line.begin(0, 0.0, 0.0, roofline=320.0)
    assert line.percent_of_peak is None
    line.advance(10, 2.0, 3.0)
    assert line.percent_of_peak == 25.0
    line.roofline = None
    assert line.percent_of_peak is None


def test_a_run_that_is_lost_has_no_speed_and_one_that_ends_has_that_of_the_whole() -> None:
    line = lines("a")[0]
    line.begin(0, 0.0, 0.0, roofline=320.0)
    line.advance(50, 50.0, 60.0)
    line.leave("lost")
    assert (line.images_per_second, line.percent_of_peak, line.left_s) == (None, None, None)
    line.begin(40, 40.0, 70.0, roofline=160.0)
    line.advance(100, 60.0, 100.0)
    line.end("finished", 100, 60.0)
    assert line.images_per_second == pytest.approx(100 * 16 / 60)
    assert line.percent_of_peak == pytest.approx(100 * (1600 / 60) / 160)


# Times


def test_the_time_left_of_a_run() -> None:
    line = lines("a")[0]
    assert line.left_s is None  # it waits
    line.begin(40, 99.0, 1000.0)
    assert line.left_s is None  # no pace yet
    line.advance(60, 104.0, 1010.0)
    assert line.left_s == pytest.approx(20.0)  # 20 iterations in 10 s; what came before the resume does not count
    line.leave("lost")
    assert line.left_s is None


def test_the_time_left_of_all_goes_by_work() -> None:
    small, big, done = Line("s", 10, 1.0, 1), Line("b", 10, 8.0, 1), Line("d", 10, 5.0, 1)
    progress = Progress("x", [small, done, big], console())
    assert progress.left_s() is None
    assert "? left" in text(progress)
    small.begin(0, 0.0, 0.0)
    done.begin(0, 0.0, 0.0)
    progress.heard(0.0)
    assert progress.left_s() is None
    small.advance(10, 1.0, 60.0)
    done.advance(10, 1.0, 60.0)
    small.end("finished", 10, 1.0)
    done.end("finished", 10, 1.0)
    assert progress.left_s() == pytest.approx(160.0)  # one run did 3 units in 60 s, 8 are left for one run
    assert "2 of 3 runs, 2:40 left" in text(progress)
    big.begin(5, 0.0, 60.0)  # half of it had been done before
    assert progress.left_s() == pytest.approx(80.0)
    big.advance(6, 1.0, 64.0)
    assert progress.left_s() == pytest.approx(4 * 0.8 / (6.8 / 124))  # the first iterations say little
    big.advance(7, 1.0, 70.0)
    assert progress.left_s() == pytest.approx(15.0)  # from now on by its own pace
    big.end("diverged", 7, 2.0)
    assert progress.left_s() == 0


@pytest.mark.parametrize(("waiting", "left"), [(0, 50.0), (1, 110.0), (2, 150.0), (3, 210.0), (4, 250.0)])
def test_waiting_runs_take_the_places_that_become_free(waiting: int, left: float) -> None:
    """Two side by side, each a percent a second; one has 10 s to go, the other 50 s."""
    first, second, *others = lines("a", "b", *"cdefgh"[:waiting])
    progress = Progress("x", [first, second, *others], console())
    first.begin(0, 0.0, 0.0)
    second.begin(0, 0.0, 40.0)
    progress.heard(40.0)
    first.advance(90, 90.0, 90.0)
    second.advance(50, 50.0, 90.0)
    assert progress.left_s() == pytest.approx(left)


def test_a_place_that_is_free_for_a_moment_is_counted() -> None:
    first, second, *others = lines("a", "b", "c", "d")
    progress = Progress("x", [first, second, *others], console())
    for line in (first, second):
        line.begin(0, 0.0, 0.0)
        progress.heard(0.0)
        line.advance(100, 100.0, 100.0)
        line.end("finished", 100, 100.0)
        progress.heard(100.0)
    assert progress.left_s() == pytest.approx(200.0)  # they were never seen side by side
    for line in (first, second):
        line.state = "training"
    progress.heard(100.0)
    for line in (first, second):
        line.end("finished", 100, 100.0)
    assert progress.left_s() == pytest.approx(100.0)


def test_work_that_a_lost_worker_took_with_it_was_work() -> None:
    line, other = lines("a", "b")
    progress = Progress("x", [line, other], console())
    line.begin(0, 0.0, 0.0)
    progress.heard(0.0)
    line.advance(80, 80.0, 80.0)
    line.leave("lost")
    assert progress.left_s() == pytest.approx(120.0)  # 20 of this run, then all of the other
    line.begin(60, 60.0, 90.0)  # from its checkpoint
    assert progress.left_s() == pytest.approx(140.0)
    line.advance(100, 100.0, 130.0)
    line.end("finished", 100, 100.0)
    assert progress.left_s() == pytest.approx(100.0)


def test_a_failed_run_is_not_waited_for() -> None:
    good, bad = lines("good", "bad")
    progress = Progress("x", [good, bad], console())
    good.begin(0, 0.0, 1000.0)
    good.advance(50, 1.0, 1010.0)
    bad.leave("failed")
    assert progress.left_s() == pytest.approx(10.0)
    assert progress.done == 1


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


def test_without_a_terminal_a_line_a_minute() -> None:
    line, *_ = two = lines("a", "b")
    out = console()
    progress = Progress("digits", two, out, " on this machine")
    line.begin(0, 0.0, 0.0)
    for second in range(0, 3 * int(BEAT_S), 5):
        if second:
            line.advance(second // 5, second / 2, float(second))
        progress.heard(float(second))
    assert isinstance(out.file, io.StringIO)
    assert out.file.getvalue().splitlines() == [
        "digits: 0 of 2 runs, 1 training, 6 images/s, 15:40 left",  # 188 iterations of both, 5 s each
        "digits: 0 of 2 runs, 1 training, 6 images/s, 14:40 left",
    ]


def test_in_a_terminal_no_line_a_minute() -> None:
    out = console(terminal=True)
    progress = Progress("digits", lines("a"), out)
    for second in (0.0, 100.0, 200.0):
        progress.heard(second)
    assert isinstance(out.file, io.StringIO)
    assert out.file.getvalue() == ""


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
