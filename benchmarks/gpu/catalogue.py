"""The benchmarks on a GPU, in the order of the table; what needs to be compiled is last."""

from typing import Any

from benchmarks.harness import Benchmark, Program

MEASURED_FOR = ("H100", "H200")  # thresholds are for these; nothing is required of other devices
RESNET_50_IMAGES_S = 3000.0
RESNET_20_IMAGES_S = 64_000 * 128 / 60.0  # Sec. 4.2's 64,000 iterations of 128 images in a minute
OURS = "ResNet-50 at 224x224 in bf16, channels-last, by our loop with deterministic kernels"


def _program(function: str, batch: int, **options: Any) -> Program:
    return Program(f"benchmarks.gpu.programs:{function}", {"batch": batch, **options}, threads=4)


def _usual(batch: int, precision: str, *, channels_last: bool) -> Program:
    return _program("torchvision_step", batch, precision=precision, channels_last=channels_last)


def _benchmark(name: str, what: str, ours: Program, baseline: Program, **required: Any) -> Benchmark:
    return Benchmark(name=name, what=what, unit="images/s", ours=ours, baseline=baseline, **required)


CATALOGUE: tuple[Benchmark, ...] = (
    *(
        _benchmark(
            f"step-224-{batch}",
            f"training step of {batch} images: {OURS}, against torchvision's network in the same format and layout",
            _program("resnet_50_step", batch),
            _usual(batch, "bf16", channels_last=True),
        )
        for batch in (64, 128, 256)
    ),
    _benchmark(
        "usual-224-256",
        f"training step of 256 images: {OURS}, against torchvision's network as torch is set up, tf32, channels first",
        _program("resnet_50_step", 256),
        _usual(256, "tf32", channels_last=False),
    ),
    *(
        _benchmark(
            name,
            f"training step of torchvision's ResNet-50, 256 images: {what}",
            _usual(256, "bf16", channels_last=True),
            other,
        )
        for name, what, other in (
            ("channels-last", "channels-last against channels first, bf16", _usual(256, "bf16", channels_last=False)),
            ("bf16", "bf16 against tf32, channels-last", _usual(256, "tf32", channels_last=True)),
        )
    ),
    *(
        _benchmark(
            f"train-32-{batch}",
            f"training of ResNet-20 on 32x32, batch {batch}, with its input: our loop in bf16 with the images on the "
            "device, against the usual script with four DataLoader workers, tf32",
            _program("resnet_20_step", batch),
            _program("cifar_script_step", batch),
            **required,
        )
        for batch, required in ((128, {"threshold": 20.0, "limit": RESNET_20_IMAGES_S}), (512, {}), (2048, {}))
    ),
    _benchmark(
        "evaluation-224-256",
        "evaluation of ResNet-50 at 224x224, 256 images: batch norm folded, bf16, channels-last, against torchvision's "
        "network eager, float32",
        _program("evaluation", 256),
        _program("torchvision_evaluation", 256),
    ),
    _benchmark(
        "compiled-224-256",
        f"training step of 256 images: {OURS} and torch.compile, against torchvision's network eager, bf16, "
        "channels-last",
        _program("resnet_50_step", 256, compiled=True),
        _usual(256, "bf16", channels_last=True),
        limit=RESNET_50_IMAGES_S,
    ),
)
BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in CATALOGUE}
