"""What a person sees while tasks run: bars in a terminal; elsewhere one line per event, and one per minute."""

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SUMMARY_S = 60.0
ERRORS = (("train_error", "training error"), ("val_error", "validation error"))


@dataclass(slots=True)
class Line:
    """One task as the driver knows it."""

    work: float  # in any unit that is the same for all tasks
    iterations: int = 0
    batch_size: int = 0
    iteration: int = 0
    first: tuple[int, float] | None = None  # iteration and seconds of training at the first report of this attempt
    images_per_second: float | None = None
    state: str = "waiting"

    @property
    def work_done(self) -> float:
        """The part of the work that is done, finished or under way."""
        if self.state == "ended":
            return self.work
        return self.work * self.iteration / self.iterations if self.iterations else 0.0


class Monitor:
    """Shows tasks; the driver calls its methods. Use as a context manager."""

    def __init__(self, title: str, lines: dict[str, Line], console: Console | None = None) -> None:
        self.title, self.lines, self.console = title, lines, console or Console()
        self._started = self._said = time.monotonic()
        self._done_before = 0.0
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
        times, hidden = (TimeElapsedColumn(), TimeRemainingColumn()), not self.console.is_terminal
        self._bars = Progress(*columns, *times, console=self.console, disable=hidden)
        self._whole = self._bars.add_task(title, total=sum(line.work for line in lines.values()), text="")
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> "Monitor":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def begins(self, name: str) -> None:
        """A worker has begun the task."""
        line = self.lines[name]
        line.state, line.first = "running", None
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=line.work, text="")
            self.says(name, "begins")

    def advances(self, name: str, progress: dict[str, Any]) -> None:
        """The worker reported its progress: iteration, seconds, train_error, val_error."""
        line = self.lines[name]
        iteration, seconds = progress.get("iteration"), progress.get("seconds")
        if iteration is None or seconds is None:
            return
        line.iteration = iteration
        if line.first is None:
            line.first = iteration, seconds
            self._done_before += line.work_done  # by earlier attempts
        elif seconds > line.first[1]:
            line.images_per_second = (iteration - line.first[0]) * line.batch_size / (seconds - line.first[1])
        parts = [f"{iteration}/{line.iterations}"]
        parts += [f"{label} {progress[key]:.2f} %" for key, label in ERRORS if progress.get(key) is not None]
        parts += [f"{line.images_per_second:,.0f} images/s"] if line.images_per_second else []
        if name in self._tasks:
            self._bars.update(self._tasks[name], completed=line.work_done, text="  ".join(parts))

    def ends(self, name: str) -> None:
        """The task is done."""
        line = self.lines[name]
        line.state, line.images_per_second = "ended", None
        self._remove(name)
        self.says(name, "finished")

    def fails(self, name: str, reason: str) -> None:
        """The task is given up."""
        self.lines[name].state = "failed"
        self._remove(name)
        self.says(name, f"failed: {reason}")

    def says(self, name: str, text: str) -> None:
        """Prints one line; above the bars in a terminal."""
        self.console.print(f"{name}: {text}", highlight=False, markup=False, emoji=False, soft_wrap=True)

    def tick(self) -> None:
        """Updates the bar of the whole; prints a summary once a minute where there are no bars."""
        self._bars.update(self._whole, completed=sum(line.work_done for line in self.lines.values()))
        now = time.monotonic()
        if now >= self._said + SUMMARY_S and not self.console.is_terminal:
            self._said = now
            self.says(self.title, self.summary())

    def summary(self) -> str:
        """`7 of 23 runs, 2 running, 1,240 images/s, 0:03:20 left`."""
        running = [line for line in self.lines.values() if line.state == "running"]
        over = sum(line.state in ("ended", "failed") for line in self.lines.values())
        speed = sum(line.images_per_second or 0.0 for line in running)
        parts = [f"{over} of {len(self.lines)} runs", f"{len(running)} running"]
        parts += [f"{speed:,.0f} images/s"] if speed else []
        left_s = self.left_s()
        return ", ".join([*parts, "? left" if left_s is None else f"{timedelta(seconds=round(left_s))} left"])

    def left_s(self) -> float | None:
        """Seconds until all is done, at the pace so far; None before anything is done."""
        done = sum(line.work_done for line in self.lines.values())
        here = done - self._done_before
        left = sum(line.work for line in self.lines.values() if line.state != "failed") - done
        return left * (time.monotonic() - self._started) / here if here > 0 else None

    def _remove(self, name: str) -> None:
        if name in self._tasks:
            self._bars.remove_task(self._tasks.pop(name))
