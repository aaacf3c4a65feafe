"""What a person sees while runs train: a live table in a terminal; elsewhere a line an event, and one a minute."""

import heapq
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.training.progress_line import Line

BEAT_S = 60.0  # between two lines that say how things stand
ORDER = {"training": 0, "lost": 0, "elsewhere": 0, "failed": 0, "waiting": 1, "diverged": 2, "finished": 2}
COLUMNS = ("run", "iteration", "train\nerror %", "val\nerror %", "images/s", "% of\npeak", "left")
AROUND = 8  # lines of a table that are not rows, where its title takes two


class Progress:
    """Holds the lines; the driver changes them and calls `event` and `heard`. Has no clock of its own."""

    def __init__(self, name: str, lines: list[Line], console: Console, where: str = "") -> None:
        """`lines` in the order in which the runs start; `where` goes behind the name in the table's title."""
        self.name, self.where = name, where
        self.lines, self.console = {line.name: line for line in lines}, console
        self._places = 0  # the most runs that have been seen side by side
        self._beat_at: float | None = None
        self._advised: set[str] = set()

    @contextmanager
    def shown(self) -> Iterator["Progress"]:
        if not self.console.is_terminal:
            yield self
            return
        with Live(self, console=self.console, refresh_per_second=2, transient=False):
            yield self

    def event(self, name: str, text: str) -> None:
        """One line for what happened to a run; beside the table in a terminal."""
        self.console.print(f"{name}: {text}", highlight=False, markup=False, emoji=False, soft_wrap=True)

    def advise(self, text: str) -> None:
        """The same for something that holds for many runs: once."""
        if text and text not in self._advised:
            self._advised.add(text)
            self.event(self.name, text)

    def heard(self, now: float) -> None:
        """After every message, `now` in seconds: where there is no table, says once in a while how things stand."""
        self._places = max(self._places, len(self._training()))
        if self._beat_at is None:
            self._beat_at = now + BEAT_S
        if now >= self._beat_at and not self.console.is_terminal:
            self._beat_at = now + BEAT_S
            self.event(self.name, self.summary())

    def summary(self) -> str:
        """`7 of 23 runs, 2 training, 1,240 images/s, 3:20 left`."""
        training = self._training()
        speeds = [line.images_per_second for line in training if line.images_per_second is not None]
        parts = [f"{self.done} of {len(self.lines)} runs"]
        parts += [f"{len(training)} training"] if training else []
        parts += [f"{sum(speeds):,.0f} images/s"] if speeds else []
        return ", ".join([*parts, f"{clock(self.left_s())} left"])

    @property
    def done(self) -> int:
        """Runs that have ended, well or not."""
        return sum(line.over for line in self.lines.values())

    def left_s(self) -> float | None:
        """Seconds until all is done; None before anything can be said.

        The runs under way go on at their own pace. The others take the places that become free, in their order, at
        the pace of work of all the runs seen here, as do those that have only begun. So the last runs, which leave
        places empty, are not thought faster.
        """
        lines = [line for line in self.lines.values() if not line.over]
        busy_s = sum(line.busy_s for line in self.lines.values())
        done = sum(line.work_done for line in self.lines.values())
        if not lines or not done or not busy_s:
            return None if lines else 0.0
        pace = done / busy_s  # work a second of one run
        ends = [line.settled_left_s or line.work_left / pace for line in lines if line.state == "training"]
        ends += [0.0] * max(self._places - len(ends), 0 if ends else 1)
        heapq.heapify(ends)
        for line in lines:
            if line.state != "training":
                heapq.heapreplace(ends, ends[0] + line.work_left / pace)
        return max(ends)

    def _training(self) -> list[Line]:
        return [line for line in self.lines.values() if line.state == "training"]

    def __rich__(self) -> Table:
        title = f"{self.name}{self.where}: {self.summary()}"
        table = Table(title=Text(title, style="table.title"), expand=False)  # Text: brackets are no markup
        for name in COLUMNS:
            table.add_column(name, justify="left" if name == "run" else "right", no_wrap=True)
        rows = sorted(self.lines.values(), key=lambda line: ORDER[line.state])
        room = max(2, self.console.height - AROUND)
        for line in rows[:room]:
            table.add_row(
                Text(line.name),
                f"{line.iteration}/{line.iterations}",
                number(line.train_error),
                number(line.val_error),
                number(line.images_per_second, 0),
                number(line.percent_of_peak, 1),
                clock(line.left_s) if line.state == "training" else line.state,
            )
        if len(rows) > room:
            table.caption = f"and {len(rows) - room} more"
        return table


def number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def clock(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{s:02d}" if hours else f"{minutes}:{s:02d}"
