"""What a person sees while runs train: a live table in a terminal, one line an event elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from resnet.training import Row

State = Literal["waiting", "training", "finished", "diverged", "failed", "lost", "elsewhere"]


@dataclass(slots=True)
class Line:
    """One run as shown."""

    name: str
    iterations: int
    work: float  # in any unit that is the same for all runs
    batch_size: int
    state: State = "waiting"
    iteration: int = 0
    train_error: float | None = None  # percent
    val_error: float | None = None
    images_per_second: float | None = None
    # since this process saw the run begin or go on
    began_iteration: int = 0
    began_at: float = 0.0

    def begin(self, iteration: int, now: float) -> None:
        self.state, self.iteration = "training", iteration
        self.began_iteration, self.began_at = iteration, now

    def advance(self, iteration: int, seconds: float) -> None:
        """`seconds` of training, over all attempts, have led to `iteration`."""
        self.iteration = iteration
        self.images_per_second = iteration * self.batch_size / seconds if seconds else None

    def take(self, rows: list[Row]) -> None:
        for row in rows:
            self.train_error = row.train_top1_error_percent
            self.val_error = self.val_error if row.val_top1_error_percent is None else row.val_top1_error_percent

    @property
    def left_s(self) -> float | None:
        """Seconds left at the pace since it began; None before there is one."""
        done = self.iteration - self.began_iteration
        if self.state != "training" or done <= 0:
            return None
        return (time.monotonic() - self.began_at) * (self.iterations - self.iteration) / done


class Progress:
    """Holds the lines; the driver changes them and calls `event`."""

    def __init__(self, title: str, lines: list[Line], console: Console) -> None:
        self.title, self.lines, self.console = title, {line.name: line for line in lines}, console
        self._live: Live | None = None
        self._began = time.monotonic()

    @contextmanager
    def shown(self) -> Iterator["Progress"]:
        if not self.console.is_terminal:
            yield self
            return
        with Live(self, console=self.console, refresh_per_second=2, transient=False) as live:
            self._live = live
            yield self

    def event(self, name: str, text: str) -> None:
        """One line for what happened to a run; beside the table in a terminal."""
        self.console.print(f"{name}: {text}", highlight=False, markup=False, emoji=False, soft_wrap=True)

    def left_s(self) -> float | None:
        """Seconds until all is done: the work that is left at the pace of the work done here."""
        done = sum(
            line.work * (line.iteration - line.began_iteration) / line.iterations for line in self.lines.values()
        )
        left = sum(line.work * (line.iterations - line.iteration) / line.iterations for line in self._open())
        return left * (time.monotonic() - self._began) / done if done > 0 else None

    def _open(self) -> list[Line]:
        return [line for line in self.lines.values() if line.state not in ("finished", "diverged", "failed")]

    def __rich__(self) -> Table:
        done = len(self.lines) - len(self._open())
        title = f"{self.title}: {done} of {len(self.lines)} runs, {clock(self.left_s())} left"
        table = Table(title=Text(title, style="table.title"), expand=False)  # Text: brackets are no markup
        for name in ("run", "iteration", "train error %", "val error %", "images/s", "left"):
            table.add_column(name, justify="left" if name == "run" else "right", no_wrap=True)
        order = {"training": 0, "lost": 0, "elsewhere": 0, "failed": 0, "waiting": 1, "diverged": 2, "finished": 2}
        rows = sorted(self.lines.values(), key=lambda line: order[line.state])
        room = max(4, self.console.height - 6)
        for line in rows[:room]:
            last = clock(line.left_s) if line.state == "training" else line.state
            table.add_row(
                Text(line.name),
                f"{line.iteration}/{line.iterations}",
                number(line.train_error),
                number(line.val_error),
                number(line.images_per_second, 0),
                last,
            )
        if len(rows) > room:
            table.caption = f"and {len(rows) - room} more"
        return table


def number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def clock(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{s:02d}" if hours else f"{minutes}:{s:02d}"
