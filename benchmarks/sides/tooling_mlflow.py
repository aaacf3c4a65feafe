"""What training loses to our tracker."""

import tempfile
import time
from itertools import count
from pathlib import Path

from benchmarks.digits_runs import Digits
from benchmarks.harness import Work
from pipeline.tracking import Invocation
from pipeline.tracking.address import address
from pipeline.tracking.ledger import Ledger
from pipeline.tracking.parent import Parent
from pipeline.tracking.service import Service
from pipeline.tracking.tracker import FLUSH_S
from pipeline.tracking.writer import Writer
from resnet.history import Row
from tests import tracking_maker

RUNS, QUICK_RUNS = 5, 1  # of one invocation


def tracker(quick: bool) -> Work:
    """The share of the training time of a run of `digits` that its MLflow records cost, on a SQLite file.

    The cost is the CPU time, of all threads, of everything that the driver's writer does: the invocation, five runs
    with their params, their rows in as many batches as the writer makes of a run of this length (one every two
    seconds), their files and their end; over five. Runs have all cores, so that this is what they lose; they do not
    wait for the disk, as the writer does. The training time is the mean over the experiment's runs on one thread,
    from an iteration of each of its networks in the same call. Tables and imports are made before.
    """
    digits = Digits(quick=quick)
    history = digits.history()
    holder = tempfile.TemporaryDirectory(prefix="benchmark-mlflow-")
    folder = Path(holder.name)
    uri = f"sqlite:///{tracking_maker.fresh_database(folder).path}"
    numbers = count()

    def log() -> float:
        run_s = digits.mean_run_s()
        runs = [next(numbers) for _ in range(QUICK_RUNS if quick else RUNS)]
        return _cost_s(uri, Path(tempfile.mkdtemp(dir=holder.name)), runs, history, run_s) / len(runs) / run_s

    return log


def _cost_s(uri: str, folder: Path, runs: list[int], history: list[Row], run_s: float) -> float:
    """CPU seconds for the whole invocation. The writer's steps as its thread takes them, without the pauses."""
    finished = [tracking_maker.finished(folder, number, history) for number in runs]
    batches = min(len(history), max(1, round(run_s / FLUSH_S)))
    began = time.process_time()
    service, ledger = Service(address(uri), "digits"), Ledger()
    invocation = Invocation(command="python -m pipeline.train digits", asked=[record.run for record, _ in finished])
    parent = Parent(service, ledger, invocation, "")
    writer = Writer(service, ledger, parent, lambda: False)
    parent.begin()
    for number, (record, path) in zip(runs, finished, strict=True):
        facts = tracking_maker.facts(number)
        ledger.begin(facts)
        for batch in range(batches):
            ledger.rows(record.key, history[len(history) * batch // batches : len(history) * (batch + 1) // batches])
            writer.send()
        ledger.finish(record, path, facts)
        writer.send()
    parent.end()
    assert not ledger.unsent()
    assert not ledger.stopped()
    return time.process_time() - began
