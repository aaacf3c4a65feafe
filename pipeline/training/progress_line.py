"""One run as the driver sees it: where it is, how fast it goes now, and how long it still takes."""

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resnet.history import Row

State = Literal["waiting", "training", "finished", "diverged", "failed", "lost", "elsewhere"]
OVER: tuple[State, ...] = ("finished", "diverged", "failed")
WINDOW_S = 5.0  # of training, that the images a second are measured over


@dataclass(slots=True)
class Line:
    """Times come with the calls: `now` in seconds of the driver's clock, `seconds` of training over all attempts."""

    name: str
    iterations: int
    work: float  # in any unit that is the same for all runs
    batch_size: int
    state: State = "waiting"
    iteration: int = 0
    train_error: float | None = None  # percent
    val_error: float | None = None
    roofline: float | None = None  # images a second at the device's peak
    trained: int = 0  # iterations that this process saw, those that a lost worker took with it too
    busy_s: float = 0.0  # that they took, with validation and checkpoints
    _began: tuple[int, float] = (0, 0.0)  # iteration and time of the first message of this attempt
    _heard: float = 0.0  # time of the last message
    _marks: deque[tuple[int, float]] = field(default_factory=deque)  # iterations and seconds of the last messages

    def begin(self, iteration: int, seconds: float, now: float, roofline: float | None = None) -> None:
        self.state, self.iteration, self.roofline = "training", iteration, roofline
        self._began, self._heard = (iteration, now), now
        self._marks = deque([(iteration, seconds)])

    def advance(self, iteration: int, seconds: float, now: float) -> None:
        self.trained += iteration - self.iteration
        self.busy_s += now - self._heard
        self.iteration, self._heard = iteration, now
        self._marks.append((iteration, seconds))
        while len(self._marks) > 2 and seconds - self._marks[1][1] >= WINDOW_S:
            self._marks.popleft()

    def leave(self, state: State) -> None:
        """It is not trained here now."""
        self.state = state
        self._marks.clear()

    def end(self, state: State, iteration: int, seconds: float) -> None:
        """From now on its images a second are those of the whole run."""
        self.state, self.iteration = state, iteration
        self._marks = deque([(0, 0.0), (iteration, seconds)])

    def take(self, rows: "Sequence[Row]") -> None:
        for row in rows:
            self.train_error = row.train_top1_error_percent
            self.val_error = self.val_error if row.val_top1_error_percent is None else row.val_top1_error_percent

    @property
    def over(self) -> bool:
        return self.state in OVER

    @property
    def images_per_second(self) -> float | None:
        """In the training iterations of the last WINDOW_S seconds, or since it began where that is less."""
        if len(self._marks) < 2:
            return None
        (first, since), (last, until) = self._marks[0], self._marks[-1]
        return (last - first) * self.batch_size / (until - since) if until > since else None

    @property
    def percent_of_peak(self) -> float | None:
        """Share of the device's compute roofline."""
        if self.images_per_second is None or self.roofline is None:
            return None
        return 100.0 * self.images_per_second / self.roofline

    @property
    def left_s(self) -> float | None:
        """Seconds left at the pace since this attempt began, as of the last message; None before there is one."""
        iteration, at = self._began
        done = self.iteration - iteration
        if self.state != "training" or done <= 0:
            return None
        return (self._heard - at) * (self.iterations - self.iteration) / done

    @property
    def settled_left_s(self) -> float | None:
        """The same; None too while the first iterations, which are slow, make up much of the pace."""
        return self.left_s if self._heard - self._began[1] >= WINDOW_S else None

    @property
    def work_done(self) -> float:
        """In this process."""
        return self.work * self.trained / self.iterations

    @property
    def work_left(self) -> float:
        return self.work * (self.iterations - self.iteration) / self.iterations
