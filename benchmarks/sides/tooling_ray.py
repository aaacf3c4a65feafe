"""Short runs by this project's fan-out."""

import atexit
from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.harness import Work

RUNS, QUICK_RUNS = 20, 2


def short_run(seed: int) -> Iterator[float]:
    """Eleven iterations of a small network on forty small images; yields the last training loss."""
    from tests.tiny_run import begin, going

    run = begin(seed=seed)
    for _ in going(run):
        pass
    yield run.rows[-1].train_loss


def warm_workers(quick: bool) -> Work:
    """Twenty short runs, one CPU each, side by side on a local Ray whose workers live from one run to the next.

    From the first task that is sent to the last result. Ray and its workers are started before, the workers by the
    warm-up.
    """
    from pipeline.cluster.connection import connected
    from pipeline.cluster.fanout import Fanout, Task

    connection = ExitStack()
    connection.enter_context(connected())
    atexit.register(connection.close)
    runs = QUICK_RUNS if quick else RUNS

    def train() -> None:
        fanout: Fanout[int, float] = Fanout(short_run, cpus=1, gpus=0, retries=0)
        losses = [event for _, event in fanout.run([Task(str(seed), seed) for seed in range(runs)])]
        assert not fanout.failed, fanout.failed
        assert len(losses) == runs

    return train
