"""Benchmarks of training, input and evaluation on the CPU."""

from benchmarks.harness import Benchmark, Gate

_IMAGES = 10_112.0  # 79 batches of 128
_QUICK_IMAGES = 8.0

COMPUTE: tuple[Benchmark, ...] = (
    Benchmark(
        name="training-step",
        what="training step of ResNet-20, 32x32, batch 128, one thread: channels-last, in bf16 where it is faster, "
        "against the usual script's step, NCHW float32",
        unit="images/s",
        ours="benchmarks.sides.small:training_step",
        rival="benchmarks.rivals.cifar_script:training_step",
        work=4 * 128.0,
        quick_work=4.0,
        gate=Gate(fast_bf16=1.8, otherwise=1.1),
        repetitions=15,
    ),
    Benchmark(
        name="input-0",
        what="pad, crop, flip and normalise 32x32 images, on two cores: batches from bytes in memory, two threads, "
        "against torchvision's transforms in a DataLoader without workers, which use one",
        unit="images/s",
        ours="benchmarks.sides.small:inputs",
        rival="benchmarks.rivals.cifar_script:inputs_0",
        work=_IMAGES,
        quick_work=_QUICK_IMAGES,
        threads=2,
        gate=Gate.at_least(20.0),
    ),
    Benchmark(
        name="input-2",
        what="the same on two cores: two threads against a DataLoader with two workers that stay from epoch to epoch",
        unit="images/s",
        ours="benchmarks.sides.small:inputs",
        rival="benchmarks.rivals.cifar_script:inputs_2",
        work=_IMAGES,
        quick_work=_QUICK_IMAGES,
        threads=2,
        gate=Gate.at_least(20.0),
    ),
    Benchmark(
        name="epoch",
        what="an epoch of ResNet-20 over 10,112 images of 32x32, two threads: input and training "
        "against the usual CIFAR script with two DataLoader workers",
        unit="s",
        ours="benchmarks.sides.small:epoch",
        rival="benchmarks.rivals.cifar_script:epoch",
        threads=2,
        gate=Gate(fast_bf16=2.5, otherwise=1.3),
    ),
    Benchmark(
        name="digits-stage",
        what="the train stage of `digits`, 23 runs side by side on Ray with MLflow, against a script that trains them "
        "one after another with two threads, NCHW; told from 6 of 400 iterations of every run, the missing ones added",
        unit="s",
        ours="benchmarks.sides.digits:stage",
        rival="benchmarks.rivals.digits_stage:script",
        rival_threads=2,
        gate=Gate.at_least(1.4),
        reason="larger: a torch in each of the processes that train side by side, and the servers of Ray",
    ),
    Benchmark(
        name="evaluation-224",
        what="evaluation of ResNet-50 at 224x224, batch 32, one thread: batch norm folded, channels-last, "
        "in bf16 where it is faster, against torchvision's network eager, NCHW float32",
        unit="images/s",
        ours="benchmarks.sides.large:evaluation",
        rival="benchmarks.rivals.torchvision_networks:evaluation",
        work=32.0,
        quick_work=2.0,
        gate=Gate(fast_bf16=2.0, otherwise=1.15),
    ),
    Benchmark(
        name="step-224",
        what="training step of ResNet-50 at 224x224, 8 images, one thread: our network against torchvision's, "
        "both channels-last float32 with the same optimizer (at most 1.02 of its time)",
        unit="images/s",
        ours="benchmarks.sides.large:step",
        rival="benchmarks.rivals.torchvision_networks:step",
        work=8.0,
        quick_work=2.0,
        gate=Gate.at_least(1 / 1.02),
        repetitions=9,
        reason="slower, where it is: by what one measurement differs from the next; the operations are the same",
    ),
    Benchmark(
        name="compiled",
        what="training step of ResNet-20, batch 128, one thread, channels-last float32: torch.compile (Inductor) "
        "against eager; no gate, it tells whether train.compile pays",
        unit="images/s",
        ours="benchmarks.sides.compiled:compiled",
        rival="benchmarks.sides.compiled:eager",
        work=4 * 128.0,
        quick_work=4.0,
        reason="whether it is faster and how much larger is what this row tells",
    ),
)
