"""The parts of the GPU benchmark: time, what is left out, bars, models, and the file that it writes."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from benchmarks.gpu import children, guard, networks, patterns
from benchmarks.gpu.clock import Effort, Timing, halving, timed
from benchmarks.gpu.loop import compiling
from benchmarks.gpu.plan import Measurement, Outcome, Skipped, carried_out
from benchmarks.gpu.report import Report, kept
from benchmarks.gpu.rows import LADDER_BAR_S, NETWORK_BAR, RUN_S, USUAL_BAR, LeftOut, Row, bars, duration, rate
from benchmarks.gpu.sections import SECTIONS, share
from benchmarks.gpu.sizes import SMALLEST
from resnet import build, count

CPU = torch.device("cpu")
H100 = {"device": "NVIDIA H100 80GB HBM3", "versions": {"torch": "2.14.1"}, "commit": "a", "date": "1", "load": 0.1}


def timing(seconds: float) -> Timing:
    return Timing(seconds, 1.1, 500.0, 2 * seconds)


def row(
    name: str,
    ours: float,
    unit: str = "images/s",
    *,
    rival: float | None = None,
    ratio: float | None = None,
    peak_mib: float | None = None,
) -> Row:
    return Row(name=name, unit=unit, ours=ours, rival=rival, ratio=ratio, peak_mib=peak_mib)


def test_rates_and_durations_against_a_rival() -> None:
    speed = rate("r", 256, timing(0.1), timing(0.4), 512)
    assert (speed.ours, speed.rival, speed.ratio) == (2560, 1280, 2)
    alone = rate("r", 256, timing(0.1))
    assert (alone.rival, alone.ratio, alone.rival_peak_mib) == (None, None, None)
    run = duration("d", RUN_S, 64_000, timing(0.001), timing(0.02))
    assert [run.ours, run.rival, run.ratio] == pytest.approx([64, 1280, 20])


def test_the_bars_are_for_the_fastest_on_these_devices_alone() -> None:
    measured = [
        row("networks-224: resnet-50 at 224, eager", NETWORK_BAR - 1),
        row("networks-224: resnet-50 at 224, compiled", NETWORK_BAR),
        row("networks-224: resnet-34 at 224, eager", 9000),
        row("cifar-ladder: resnet-20, the usual script", 1000, RUN_S),
        row("cifar-ladder: resnet-20, our loop", LADDER_BAR_S + 1, RUN_S, rival=1000, ratio=USUAL_BAR - 1),
        row("cifar-ladder: resnet-56, our loop", 1, RUN_S, rival=1000, ratio=1000),
    ]
    asked = bars(measured, "NVIDIA H200")
    assert [bar.holds for bar in asked] == [True, False, False]
    assert [bar.gate for bar in asked] == [NETWORK_BAR, LADDER_BAR_S, USUAL_BAR]
    assert asked[0].name == "bar: resnet-50 at 224 (compiled)"
    assert {bar.holds for bar in bars(measured, "NVIDIA A100")} == {None}
    assert bars(measured[2:3], "NVIDIA H100") == []


def test_time_that_is_not_used_goes_to_the_sections_that_follow() -> None:
    names = list(SECTIONS)
    first = share(names[0], names, 500)
    assert share(names[-1], names[-1:], 80) == 80
    assert share(names[1], names[1:], 500 - first) == pytest.approx(
        500 * SECTIONS[names[1]].weight / sum(part.weight for part in SECTIONS.values())
    )
    assert share(names[0], names, -3) == 0


def test_what_is_left_out_says_why_and_the_rest_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    def raising(error: Exception) -> Callable[[], list[Row]]:
        def take() -> list[Row]:
            raise error

        return take

    measurements = [
        Measurement("no compiler", raising(Skipped("none is here"))),
        Measurement("memory", raising(torch.OutOfMemoryError("80 GiB"))),
        Measurement("broken", raising(KeyError("x"))),
        Measurement("good", lambda: [row("good", 1)]),
        Measurement("late", lambda: [row("late", 1)]),
    ]
    clock = iter([0.0, 1.0, 2.0, 3.0, 4.0])
    outcomes = list(carried_out(measurements, 4.0, lambda: next(clock)))
    assert [outcome.left_out and (outcome.left_out.why, outcome.left_out.failed) for outcome in outcomes] == [
        ("none is here", False),
        ("the device has not enough memory", False),
        ("KeyError: 'x'", True),
        None,
        ("no time was left", False),
    ]
    assert outcomes[3].rows == (row("good", 1),)
    assert "Traceback" in capsys.readouterr().err


def test_a_section_that_hangs_is_cut_off_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = children.measured("tests.section_maker", CPU, replace(SMALLEST, tested="hangs"), 600.0)
    assert next(outcomes).name == "before"
    monkeypatch.setattr(children, "time", SimpleNamespace(monotonic=lambda: math.inf))
    why = "cut off: no time was left"
    assert [outcome.left_out for outcome in outcomes] == [LeftOut("wrong", why), LeftOut("behind", why)]


def test_a_section_that_dies_is_told() -> None:
    before, *others = children.measured("tests.section_maker", CPU, replace(SMALLEST, tested="dies"), 600.0)
    assert [other.ours for other in before.rows] == [1.0]
    why = "its process ended with exit code -9"
    assert [outcome.left_out for outcome in others] == [LeftOut("wrong", why, True), LeftOut("behind", why, True)]


def test_a_section_that_cannot_even_plan_is_told() -> None:
    (outcome,) = children.measured("tests.section_maker", CPU, replace(SMALLEST, tested="no plan"), 600.0)
    assert outcome.left_out == LeftOut("section_maker", "its process ended with exit code 1", failed=True)


def test_a_smaller_batch_is_tried_until_one_fits() -> None:
    tried = []

    def measure(batch: int) -> str:
        tried.append(batch)
        if batch > 60:
            raise torch.OutOfMemoryError
        return "fits"

    assert halving(256, measure) == (32, "fits")
    assert tried == [256, 128, 64, 32]
    with pytest.raises(torch.OutOfMemoryError):
        halving(4, lambda batch: measure(batch + 60))


def test_the_work_is_called_as_often_as_the_effort_says() -> None:
    calls = []
    taken = timed(lambda: calls.append(0), CPU, Effort(warm_up=3, repetitions=5, seconds=0))
    assert len(calls) == 3 + 5
    assert taken.seconds > 0
    assert taken.peak_mib is None


def test_the_models_of_the_rooflines() -> None:
    operations, moved = networks.per_image("resnet-50", 224)
    assert operations == 6 * count("resnet-50", classes=1000, size=224).multiply_adds
    outputs = 0

    def add(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal outputs
        outputs += output.numel()

    with torch.device("meta"):
        network = build("resnet-50", 1000).eval()
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(add)
        network(torch.empty(1, 3, 224, 224))
    assert moved == 14 * 2 * outputs


def test_the_compiler_is_asked_for_by_options_that_it_has() -> None:
    compiling("inductor", force_layout_optimization=True)(build("cifar-resnet-20", 10))  # compiles at the first call
    with pytest.raises(RuntimeError, match="Unexpected optimization option"):
        compiling("inductor", force_layout_optimisation=True)(build("cifar-resnet-20", 10))


def test_without_a_compiler_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(Skipped, match="none is on PATH"):
        compiling("inductor")(build("cifar-resnet-20", 10))


def test_made_up_images_can_be_learned_and_not_without_errors() -> None:
    train, test = patterns.splits(2000, 1000, CPU)
    means = torch.stack([train.images[train.labels == c].float().mean(0).flatten() for c in range(patterns.CLASSES)])
    nearest = torch.cdist(test.images.float().flatten(1), means).argmin(1)
    assert 0.005 < (nearest != test.labels).double().mean() < 0.3
    again, _ = patterns.splits(2000, 1000, CPU)
    assert torch.equal(train.images, again.images)


def test_the_guard_compares_the_difference_with_the_seeds_spread() -> None:
    rows = guard.rows("g", {"fp32": [10.0, 12.0, 14.0], "bf16": [11.0, 13.0, 15.0]}, torch.device("cuda"))
    assert (rows[0].ours, rows[0].rival) == (13, 12)
    assert (rows[1].ours, rows[1].gate, rows[1].holds) == (1, 2, True)
    far = guard.rows("g", {"fp32": [10.0, 12.0, 14.0], "bf16": [13.0, 15.0, 17.0]}, torch.device("cuda"))
    assert far[1].holds is False
    assert guard.rows("g", {"fp32": [10.0], "bf16": [11.0]}, CPU) == []


def test_the_file_keeps_other_sections_of_the_same_device(tmp_path: Path) -> None:
    path = tmp_path / "results" / "gpu.json"
    report = Report(H100, smallest=False)
    report.add("networks-224", Outcome("n", (row("networks-224: resnet-50 at 224, eager", 3500.0, peak_mib=9000.0),)))
    report.add("evaluation", Outcome("e", left_out=LeftOut("e", "no time was left")))
    report.write(path)
    content = json.loads(path.read_text())
    assert [result["name"] for result in content["results"]][1] == "bar: resnet-50 at 224 (eager)"
    assert content["left_out"] == [{"name": "evaluation: e", "why": "no time was left", "failed": False}]
    table = path.with_suffix(".md").read_text()
    assert "| bar: resnet-50 at 224 (eager) | images/s | 3,500 |" in table
    assert "* evaluation: e: no time was left" in table
    assert sorted(file.name for file in path.parent.iterdir()) == ["gpu.json", "gpu.md"]
    rows, left_out = kept(path, {**H100, "date": "2"}, ["evaluation"])
    assert [other.ours for other in rows.values()] == [3500.0]
    assert left_out == []
    assert kept(path, H100, ["networks-224"]) == ({}, report.left_out)
    with pytest.raises(ValueError, match="measured elsewhere"):
        kept(path, {**H100, "device": "NVIDIA H200"}, ["evaluation"])
    assert kept(tmp_path / "none.json", H100, []) == ({}, [])
