"""All benchmarks, in the order of the table."""

from benchmarks.harness import Benchmark, Program

CATALOGUE: tuple[Benchmark, ...] = (
    Benchmark(
        name="training-step",
        what="training step of ResNet-20, 32x32, batch 128: channels-last, in bf16 where it is faster, against the "
        "usual script's, NCHW float32",
        unit="images/s",
        ours=Program("benchmarks.small_images:training_step"),
        baseline=Program("benchmarks.cifar_script:training_step"),
        threshold=1.1,
        threshold_fast_bf16=1.8,
        repetitions=15,
    ),
    Benchmark(
        name="input-0",
        what="pad, crop, flip and normalise 32x32 images, on two cores: batches from bytes in memory, two threads, "
        "against torchvision's transforms in a DataLoader without workers, which use one",
        unit="images/s",
        ours=Program("benchmarks.small_images:inputs", threads=2),
        baseline=Program("benchmarks.cifar_script:inputs", {"workers": 0}, threads=2),
        threshold=20.0,
    ),
    Benchmark(
        name="input-2",
        what="the same on two cores: two threads against a DataLoader with two workers that live through all epochs",
        unit="images/s",
        ours=Program("benchmarks.small_images:inputs", threads=2),
        baseline=Program("benchmarks.cifar_script:inputs", {"workers": 2}, threads=2),
        threshold=20.0,
    ),
    Benchmark(
        name="epoch",
        what="an epoch of ResNet-20 over 10,112 images of 32x32, two threads: input and training "
        "against the usual CIFAR script with two DataLoader workers",
        unit="s",
        ours=Program("benchmarks.small_images:epoch", threads=2),
        baseline=Program("benchmarks.cifar_script:epoch", threads=2),
        threshold=1.3,
        threshold_fast_bf16=2.5,
    ),
    Benchmark(
        name="digits-stage",
        what="the train stage of `digits`, 20 runs on Ray with MLflow, against a script that trains them one after "
        "another with two threads; from 6 of 150 iterations of every run, the missing ones added",
        unit="s",
        ours=Program("benchmarks.digits_stage:stage"),
        baseline=Program("benchmarks.digits_stage:script", threads=2),
        threshold=1.4,
    ),
    Benchmark(
        name="evaluation-224",
        what="evaluation of ResNet-50 at 224x224, batch 32: batch norm folded, channels-last, in bf16 where it is "
        "faster, against torchvision's, NCHW float32",
        unit="images/s",
        ours=Program("benchmarks.resnet_50:evaluation"),
        baseline=Program("benchmarks.resnet_50:torchvision_evaluation"),
        threshold=1.15,
        threshold_fast_bf16=2.0,
    ),
    Benchmark(
        name="step-224",
        what="training step of ResNet-50 at 224x224, 8 images, one thread: our network against torchvision's, both "
        "channels-last float32 with the same optimizer and operations (at most 1.02 of its time)",
        unit="images/s",
        ours=Program("benchmarks.resnet_50:step", {"ours": True}),
        baseline=Program("benchmarks.resnet_50:step", {"ours": False}),
        threshold=1 / 1.02,
        repetitions=9,
    ),
    Benchmark(
        name="photographs",
        what="JPEG files of 500x375 to batches, on one core: Arrow shards against ImageFolder and DataLoader",
        unit="images/s",
        ours=Program("benchmarks.photographs:batches"),
        baseline=Program("benchmarks.photographs:image_folder_batches"),
        threshold=1.5,
    ),
    Benchmark(
        name="construction",
        what="building ResNet-152 with its initial weights, against torchvision",
        unit="s",
        ours=Program("benchmarks.resnet_50:construction", {"ours": True}),
        baseline=Program("benchmarks.resnet_50:construction", {"ours": False}),
        threshold=1 / 1.2,
    ),
    Benchmark(
        name="mlflow",
        what="MLflow's part of the training time of a run of `digits`, SQLite: CPU time of our driver's sync, against "
        "the wall time of log_metric for each figure in the training loop",
        unit="%",
        ours=Program("benchmarks.mlflow_records:synced"),
        baseline=Program("benchmarks.mlflow_records:log_metric"),
        threshold=1.0,
        limit=1.0,
    ),
    Benchmark(
        name="repro-nothing",
        what="`dvc repro` with nothing to do: four stages whose runs/ has 50 runs, against a stage for each of the 50",
        unit="s",
        ours=Program("benchmarks.commands:repro_nothing", {"stage_for_each_run": False}),
        baseline=Program("benchmarks.commands:repro_nothing", {"stage_for_each_run": True}),
        threshold=1.0,
        limit=0.8,
    ),
    Benchmark(
        name="dvc-add",
        what="`dvc add`, in process, of one Arrow shard with 5,000 images of 4 KiB, against a folder of 5,000 files",
        unit="s",
        ours=Program("benchmarks.commands:add", {"shard": True}),
        baseline=Program("benchmarks.commands:add", {"shard": False}),
        threshold=20.0,
    ),
    Benchmark(
        name="help",
        what="`python -m pipeline train --help`, against a script that begins with `import torch, ray, mlflow`",
        unit="s",
        ours=Program("benchmarks.commands:command", {"words": ["-m", "pipeline", "train", "--help"]}),
        baseline=Program("benchmarks.commands:command", {"words": ["-c", "import torch, ray, mlflow"]}),
        limit=0.3,
    ),
    Benchmark(
        name="short-runs",
        what="runs of eleven iterations of a small network: twenty by our fan-out on Ray workers that stay alive, "
        "against one TorchTrainer.fit for each (one is timed)",
        unit="runs/h",
        ours=Program("benchmarks.short_runs:ray_tasks"),
        baseline=Program("benchmarks.short_runs:trainer_for_each_run"),
        threshold=2.0,
    ),
    Benchmark(
        name="ray-steady",
        what="an iteration of ResNet-56 on digits, 128 images on each of two workers, after the first third of 300: "
        "our train stage on TorchTrainer, against torchrun of a script that trains the same run",
        unit="ms",
        ours=Program("benchmarks.ray_and_torchrun:ray", {"steady": True}),
        baseline=Program("benchmarks.ray_and_torchrun:torchrun", {"steady": True}),
        threshold=1 / 1.05,
        repetitions=3,
        on_request=True,
    ),
    Benchmark(
        name="ray-total",
        what="the whole commands for 600 such iterations, from Ray's start to its end, with MLflow, checkpoints and "
        "records, against torchrun, which keeps only the weights",
        unit="s",
        ours=Program("benchmarks.ray_and_torchrun:ray", {"steady": False}),
        baseline=Program("benchmarks.ray_and_torchrun:torchrun", {"steady": False}),
        threshold=1 / 1.15,
        repetitions=3,
        on_request=True,
    ),
)
BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in CATALOGUE}
