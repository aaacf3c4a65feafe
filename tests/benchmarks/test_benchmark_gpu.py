"""The GPU benchmark at its smallest on the CPU, whole, in a process as a user starts it."""

import ast
import json
import math
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import __main__ as program
from benchmarks.gpu import ladder
from benchmarks.gpu.rows import RUN_S
from benchmarks.gpu.sections import SECTIONS
from benchmarks.gpu.sizes import FULL, SMALLEST

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "benchmarks" / "gpu").glob("*.py"))


def measure(*words: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s)


def check(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every figure is one; rows by section and name."""
    rows = {f"{row['name']} [{row['unit']}]": row for row in content["results"]}
    assert len(rows) == len(content["results"])
    for name, row in rows.items():
        assert math.isfinite(row["ours"]), name
        assert row["ours"] > 0 or row["unit"] in ("points", "% error"), name
        assert row["rival"] is None or row["rival"] > 0, name
        assert row["spread"] is None or 1 <= row["spread"] < math.inf, name
        if row["ratio"] is not None:
            better = row["ours"] / row["rival"]
            assert row["ratio"] == pytest.approx(better if row["unit"] == "images/s" else 1 / better), name
    return rows


@pytest.fixture(scope="module")
def smallest() -> dict[str, Any]:
    done = measure("--device", "cpu", "--smallest", timeout_s=600)
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def test_every_measurement_of_every_section_is_made(smallest: dict[str, Any]) -> None:
    rows = check(smallest)
    assert smallest["left_out"] == []
    assert smallest["smallest"] is True
    assert {name.partition(": ")[0] for name in rows} == set(SECTIONS)
    assert {name for name in rows if name.startswith("calibrate: ")} == {
        *(f"calibrate: matrix product in {precision} [TFLOP/s]" for precision in ("fp32", "tf32", "bf16")),
        "calibrate: copy [GB/s]",
    }
    for network, _ in SMALLEST.networks:
        for what in (
            " [images/s]",
            ": share of the compute roofline [share]",
            ": share of the memory roofline [share]",
        ):
            assert f"networks-224: {network} at 32, eager{what}" in rows
    for rung in ladder.RUNGS:
        assert {f"cifar-ladder: resnet-8, {rung.name} [{unit}]" for unit in ("ms/step", RUN_S)} <= rows.keys()
    assert rows["side-by-side: resnet-8, 2 at once [images/s]"]["ratio"] > 0
    assert rows["evaluation: 10-crop of resnet-18 at 32, folded, bf16, channels last [images/s]"]["ratio"] > 0
    assert rows["precision-guard: resnet-8, seeds of each [seeds]"]["ours"] == SMALLEST.seeds


def test_a_rung_is_told_in_both_units_and_against_both_rivals(smallest: dict[str, Any]) -> None:
    rows = check(smallest)
    usual = rows[f"cifar-ladder: resnet-8, {ladder.USUAL.name} [{RUN_S}]"]
    assert usual["rival"] is None
    for rung in ladder.RUNGS[1:]:
        step, run = (rows[f"cifar-ladder: resnet-8, {rung.name} [{unit}]"] for unit in ("ms/step", RUN_S))
        assert run["ours"] == pytest.approx(step["ours"] / 1e3 * 64_000)
        below = rows[f"cifar-ladder: resnet-8, {ladder.BELOW[rung.name]} [ms/step]"]
        assert step["rival"] == below["ours"]
        assert run["rival"] == usual["ours"]


def test_each_rung_changes_one_thing() -> None:
    rungs = {rung.name: rung for rung in ladder.RUNGS}
    for name, below in ladder.BELOW.items():
        ours, theirs = (asdict(replace(rungs[rung], name="", below="")) for rung in (name, below))
        changed = {field for field in ours if ours[field] != theirs[field]}
        assert len(changed) == 1 or changed == {"data", "precision"}, name


def test_nothing_is_asked_of_a_cpu(smallest: dict[str, Any]) -> None:
    assert {row["holds"] for row in smallest["results"]} == {None}
    assert smallest["hardware"]["device"] == smallest["hardware"]["cpu"]
    assert smallest["hardware"]["versions"]["torch"] == torch.__version__.partition("+")[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
def test_the_real_one_in_a_minute(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    done = measure("--minutes", "1", "--output", str(output), timeout_s=120)
    assert done.returncode == 0, done.stderr
    rows = check(json.loads(output.read_text()))
    assert rows["calibrate: copy [GB/s]"]["peak_mib"] >= 2 * FULL.copied_mib
    assert (tmp_path / "gpu.md").read_text().startswith("# Benchmarks on ")


ALLOWED = sys.stdlib_module_names | {"torch", "torchvision", "numpy", "resnet"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_it_needs_torch_torchvision_numpy_and_the_science_alone(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or "." * node.level] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert name.startswith("benchmarks.gpu") or name.partition(".")[0] in ALLOWED, name
    assert len(path.read_text().splitlines()) <= 200


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--device", "cpu", "--output", "benchmarks/results/gpu.json"],
            "only what was measured on a GPU belongs there",
        ),
        (["--device", "cpu", "--minutes", "0"], "more than 0"),
        (["--device", "cpu", "--minutes", "nan"], "more than 0"),
        (["--device", "cpu", "--only", "training"], "invalid choice"),
    ],
)
def test_refusals(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        program.main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_without_a_gpu_it_says_what_can_be_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        program.main([])
    assert ended.value.code == 2
    assert "--device cpu --smallest" in capsys.readouterr().err
