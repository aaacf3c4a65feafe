"""Benchmarks of what stands around the training: construction of networks, MLflow, DVC, Ray, start-up, the report."""

from benchmarks.harness import Benchmark, Gate

AROUND = "slower and larger: Ray's servers start and run beside the workers, and a driver keeps what the rival does not"

TOOLING: tuple[Benchmark, ...] = (
    Benchmark(
        name="construction",
        what="to make ResNet-152 with its initial weights, against torchvision",
        unit="s",
        ours="benchmarks.sides.tooling:construction",
        rival="benchmarks.rivals.tooling:construction",
        gate=Gate.at_least(1 / 1.2),
    ),
    Benchmark(
        name="mlflow",
        what="the share of a run's training time that its MLflow records cost (mean run of `digits`, SQLite): "
        "CPU time of our driver's writer, against the wall time of log_metric per figure in the training loop",
        unit="share",
        ours="benchmarks.sides.tooling_mlflow:tracker",
        rival="benchmarks.rivals.tooling_mlflow:log_metric",
        gate=Gate.at_least(1),
        absolute=0.01,
    ),
    Benchmark(
        name="repro-nothing",
        what="the command `dvc repro` with nothing to do: four stages whose runs/ holds 50 runs, against a stage for "
        "each of the 50",
        unit="s",
        ours="benchmarks.sides.tooling_dvc:repro_nothing",
        rival="benchmarks.rivals.tooling_dvc:repro_nothing",
        gate=Gate.at_least(1),
        absolute=0.8,
    ),
    Benchmark(
        name="dvc-add",
        what="`dvc add`, in process, of one Arrow shard with 5,000 images of 4 KiB, against a folder of 5,000 files",
        unit="s",
        ours="benchmarks.sides.tooling_dvc:add_shard",
        rival="benchmarks.rivals.tooling_dvc:add_folder",
        gate=Gate.at_least(20),
    ),
    Benchmark(
        name="help",
        what="the command `python -m pipeline.train --help`, against `import torch, ray, mlflow` before the arguments "
        "are looked at",
        unit="s",
        ours="benchmarks.sides.tooling:command_help",
        rival="benchmarks.rivals.tooling:eager_imports",
        absolute=0.3,
    ),
    Benchmark(
        name="report",
        what="the report stage, with figures, on 200 made-up runs (four networks, fifty seeds)",
        unit="s",
        ours="benchmarks.sides.tooling:report",
        rival=None,
    ),
    Benchmark(
        name="warm-workers",
        what="runs of eleven iterations of a small network: twenty by our fan-out on Ray workers that live on, against "
        "one TorchTrainer.fit for each (one is timed)",
        unit="runs/h",
        ours="benchmarks.sides.tooling_ray:warm_workers",
        rival="benchmarks.rivals.tooling_ray:trainer_per_run",
        work=20,
        quick_work=2,
        rival_work=1,
        quick_rival_work=1,
        gate=Gate.at_least(2),
    ),
    Benchmark(
        name="ray-steady",
        what="an iteration of ResNet-34 on digits, 128 images on each of two workers, behind the first third of 300 "
        "and with all between two rows: our train stage against torchrun of a script that trains the same run to the "
        "same bits (three repetitions, for each is a run of its own)",
        unit="ms",
        ours="benchmarks.sides.together:steady",
        rival="benchmarks.rivals.together:steady",
        gate=Gate.at_least(1 / 1.05),
        repetitions=3,
        apart=True,
        reason=AROUND,
    ),
    Benchmark(
        name="ray-total",
        what="the whole commands for 600 such iterations, from Ray's start to its end, with MLflow, checkpoints and "
        "records, against torchrun, which keeps the weights alone (three repetitions, for each takes most of a minute)",
        unit="s",
        ours="benchmarks.sides.together:total",
        rival="benchmarks.rivals.together:total",
        gate=Gate.at_least(1 / 1.15),
        repetitions=3,
        apart=True,
        reason=AROUND,
    ),
)
