"""One run of the digits on two workers: our train stage on Ray Train's TorchTrainer, against torchrun of a script.

The script, `main` of this module, trains the same run with nothing around it: no Ray, records or checkpoints.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist

from benchmarks.digits_stage import forget_training, python, temporary_folder, write_params
from benchmarks.harness import Work
from pipeline import config, worker
from pipeline.data.loader import load_splits
from pipeline.data.prepared import manifest_of
from pipeline.paths import DATA
from pipeline.run_store.tables import HISTORY, encode_history, read_history
from resnet.distributed import TorchProcessGroup
from resnet.history import Row
from resnet.training import start, train

NAME, WORKERS = "data-parallel", 2
IMAGES = 128  # of a batch, on each worker
NETWORK, RUN = "cifar-resnet-56", "cifar-resnet-56-seed0"
STEADY, TOTAL = 300, 600  # iterations; `TOTAL`: most of a minute, so that start-up counts fairly
SHORT = 10  # iterations of the first call, which is not counted
QUICK = 4
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(WORKERS))


def ray(quick: bool, steady: bool) -> Work:
    """Our train stage: the whole command, or with `steady` an iteration."""
    return _calls(quick, steady, ("-m", "pipeline", "train", NAME), Path("runs", NAME, RUN, HISTORY))


def torchrun(quick: bool, steady: bool) -> Work:
    """The same of the script."""
    return _calls(quick, steady, (*TORCHRUN, "-m", "benchmarks.ray_and_torchrun"), Path(HISTORY))


def _calls(quick: bool, steady: bool, words: Sequence[str], history: Path) -> Work:
    """Starts Python with `words` in a folder; counts an iteration, or the whole command."""
    folder = temporary_folder(f"{NAME}-")
    write(folder, SHORT, quick=quick)
    python(folder, "-m", "pipeline", "prepare", NAME)
    counts = iter([SHORT])  # the first call only warms up

    def call() -> float:
        write(folder, next(counts, STEADY if steady else TOTAL), quick=quick)
        wall_s = python(folder, *words)
        seconds = pace(read_history(folder / history)) if steady else wall_s
        if not quick:  # which starts Ray once only: its second call finds the run finished
            forget_training(folder)
        return seconds

    return Work(call)


def write(folder: Path, iterations: int, *, quick: bool) -> None:
    """Writes params.yaml with the run as the only one."""
    rows = {"record_every": 2, "validate_every": 4} if quick or iterations == SHORT else {}
    network = {"seeds": [0], "architecture": {"width": 16}}
    count, images = QUICK if quick else iterations, {"batch_size": WORKERS * IMAGES, "workers": WORKERS}
    write_params(folder, NAME, count, {NETWORK: network}, **images, **rows)


def pace(rows: Sequence[Row]) -> float:
    """Returns the seconds of the clock for an iteration, with all work between two, after the first third of the run.

    In the first seconds of ours MLflow creates its tables: that is in the time of the whole command.
    """
    first, last = next(row for row in rows if 3 * row.iteration >= rows[-1].iteration), rows[-1]
    return (last.unix_time_s - first.unix_time_s) / (last.iteration - first.iteration)


def main() -> None:
    """Trains the run on the processes of torchrun, in a folder with params.yaml and data; keeps weights and history."""
    dist.init_process_group("gloo")
    ranks, device = TorchProcessGroup.of_this_process(), worker.set_up(1, 0)
    (spec,), manifest = config.load(NAME).runs, manifest_of(NAME)
    splits = load_splits(DATA / NAME, manifest, device, ranks=ranks)
    run = start(
        spec.architecture, spec.recipe, classes=len(manifest.classes), channels=manifest.channels, seed=spec.seed,
        device=device, workers=ranks,
    )  # fmt: skip
    for _ in train(run, spec.recipe, spec.seed, splits.train, splits.val):
        pass
    if ranks.rank == 0:
        torch.save(run.network.state_dict(), "weights.pt")
        Path(HISTORY).write_bytes(encode_history(run.rows))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
