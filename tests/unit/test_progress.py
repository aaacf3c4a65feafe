"""What a person sees while runs are trained: one line per event, a summary, and bars in a terminal."""

import io
import time

import pytest
from rich.console import Console

from pipeline.cluster import progress
from pipeline.cluster.progress import Line, Monitor


def monitor(terminal: bool = False, **lines: Line) -> Monitor:
    console = Console(file=io.StringIO(), width=120, force_terminal=terminal, color_system=None)
    return Monitor("digits on this machine", lines, console)


def text(shown: Monitor) -> str:
    assert isinstance(shown.console.file, io.StringIO)
    return shown.console.file.getvalue()


def line(work: float = 100.0) -> Line:
    return Line(work, iterations=100, batch_size=16)


def test_without_a_terminal_each_event_is_one_line() -> None:
    with monitor(a=line(), b=line()) as shown:
        shown.begins("a")
        shown.advances("a", {"iteration": 50, "seconds": 1.0, "train_error": 12.5})
        shown.says("a", "lost its worker [red]; resumes from its checkpoint")
        shown.begins("a")
        shown.ends("a")
        shown.fails("b", "ZeroDivisionError: a bug")
    assert text(shown).splitlines() == [
        "a: begins",
        "a: lost its worker [red]; resumes from its checkpoint",
        "a: finished",
        "b: failed: ZeroDivisionError: a bug",
    ]
    assert shown.summary() == "2 of 2 runs, 0 running, 0:00:00 left"


def test_a_summary_is_printed_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = monitor(a=line(), b=line())
    shown.tick()
    assert text(shown) == ""
    monkeypatch.setattr(progress, "SUMMARY_S", 0.0)
    shown.begins("a")
    shown.tick()
    assert text(shown).splitlines()[-1] == "digits on this machine: 0 of 2 runs, 1 running, ? left"
    in_terminal = monitor(terminal=True, a=line())
    in_terminal.tick()
    assert "0 of 1 runs" not in text(in_terminal)


def test_images_a_second_are_those_of_training_in_this_attempt() -> None:
    shown = monitor(a=line())
    shown.begins("a")
    shown.advances("a", {"iteration": 40, "seconds": 4.0})
    assert "images/s" not in shown.summary()
    shown.advances("a", {"iteration": 90, "seconds": 5.0})
    assert "800 images/s" in shown.summary()
    shown.advances("a", {})  # before its first iteration
    shown.ends("a")
    assert "images/s" not in shown.summary()


def test_the_time_left_is_by_work_and_leaves_out_failed_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work done by earlier attempts, before this command, says nothing about its pace."""
    shown = monitor(a=line(300.0), b=line(100.0), c=line(600.0))
    shown.begins("a")
    shown.advances("a", {"iteration": 50, "seconds": 0.0})
    assert shown.left_s() is None
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 10)
    shown.advances("a", {"iteration": 75, "seconds": 1.0})  # 75 of 1000 units of work in 10 s, 775 to go
    assert shown.left_s() == pytest.approx(775 / 7.5, rel=0.05)
    shown.fails("c", "a bug")
    assert shown.left_s() == pytest.approx(175 / 7.5, rel=0.05)
    shown.ends("a")
    shown.ends("b")
    assert shown.left_s() == 0


def test_a_terminal_has_a_bar_for_each_running_run_and_lines_above_them() -> None:
    with monitor(terminal=True, a=line(), b=line()) as shown:
        shown.begins("a")
        shown.advances("a", {"iteration": 20, "seconds": 1.0, "train_error": 66.666, "val_error": 77.0})
        shown.tick()
        shown._bars.refresh()
    assert "20/100  training error 66.67 %  validation error 77.00 %" in text(shown)
    assert "a: begins" in text(shown)
