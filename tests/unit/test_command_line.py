"""The command line: help that imports nothing heavy, several names after one --only, a Python without the packages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.__main__ import COMMANDS, main, parser

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "ray", "mlflow", "pydantic", "numpy", "dvc")
HELP = """
import sys
from pipeline.__main__ import main
try:
    main(sys.argv[1:])
finally:
    print([name for name in {heavy!r} if name in sys.modules])
"""


def test_help_of_every_command_imports_nothing_heavy() -> None:
    for words in ([], *([name] for name in COMMANDS), ["weights", "export"]):
        command = [sys.executable, "-c", HELP.format(heavy=HEAVY), *words, "--help"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.startswith(f"usage: python -m pipeline {' '.join(words)}".rstrip())
        assert done.stdout.endswith("\n[]\n")


@pytest.mark.parametrize(
    ("words", "only"),
    [
        ("", []),
        ("--only plain-18", ["plain-18"]),
        ("--only plain-18 resnet-18", ["plain-18", "resnet-18"]),
        ("--only plain-18 --fresh --only resnet-18", ["plain-18", "resnet-18"]),
    ],
)
def test_networks_of_train(words: str, only: list[str]) -> None:
    parsed = parser().parse_args(["train", "digits", *words.split()])
    assert (parsed.experiment, parsed.only, parsed.fresh) == ("digits", only, "--fresh" in words)


@pytest.mark.parametrize("words", ["", "report", "report digits --compare a b", "report --compare a", "trian digits"])
def test_a_wrong_command_line_ends_with_exit_code_2(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2
    assert "usage: python -m pipeline" in capsys.readouterr().err


@pytest.mark.parametrize("ready", [True, False])
def test_a_python_without_the_packages_gets_one_line_that_helps(ready: bool, tmp_path: Path) -> None:
    if ready:
        (tmp_path / ".venv" / "bin").mkdir(parents=True)
        (tmp_path / ".venv" / "bin" / "activate").touch()
    bare = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-S", "-m", "pipeline", "train", "digits"]  # -S: without the installed packages
    done = subprocess.run(command, cwd=tmp_path, env=bare, capture_output=True, text=True, timeout=60, check=False)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 3
    assert line.startswith(f"error: {sys.executable} has no psutil and no pydantic and no ruamel and no torch")
    assert ("run `make setup` first, then activate .venv" in line) != ready


@pytest.mark.parametrize("words", ["--only plain-18", "--fresh"])
def test_whole_looks_exclude_only_and_fresh(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["train", "digits", "--until-decided", *words.split()])
    assert end.value.code == 2
    assert (
        capsys.readouterr().err == "error: --until-decided: trains all runs of a look; leave out --only and --fresh\n"
    )
