"""Refusals as a user sees them: the exit code, one line that says where and what, and nothing on the disk changed."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.__main__ import main
from pipeline.data.digits import Digits, prepare
from pipeline.errors import UserError
from pipeline.messages import MAX_CHARACTERS, one_line, redact_userinfo
from pipeline.records import Manifest, write_json
from pipeline.run_store import run_key
from resnet.architectures import Architecture
from resnet.distributed import ALONE, use_ghost_batch_norm
from resnet.network import build
from tests.factories.params import REMOVE, params, write
from tests.factories.stores import SPEC
from tests.factories.workspace import ROOT

NAN, INFINITE = float("nan"), float("inf")
REFUSED_S = 60  # for a whole process, on a machine under load


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/tiny of the experiment `tiny`."""
    folder = tmp_path_factory.mktemp("prepared") / "tiny"
    manifest = prepare(Digits(dataset="digits", validation=100, test=100), folder, "tiny.data")
    write_json(folder / "manifest.json", manifest)
    return folder


@pytest.fixture
def checkout(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml and the prepared data, in which commands run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("pipeline.train.connected", pytest.fail)  # a refusal comes before Ray starts
    write(tmp_path / "params.yaml", params())
    target = tmp_path / "data" / "tiny"
    target.mkdir(parents=True)
    for file in prepared.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return tmp_path


def state(folder: Path) -> dict[str, str]:
    """Kind, permissions and content of everything in a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path)] = f"{status.st_mode:o} {hashlib.sha256(content).hexdigest()}"
    return found


def refusal(folder: Path, capsys: pytest.CaptureFixture[str], *words: str, code: int = 2) -> str:
    """Runs a command that must be refused; returns its one line."""
    before = state(folder)
    with pytest.raises(SystemExit) as end:
        main(list(words))
    assert end.value.code == code
    assert state(folder) == before
    output = capsys.readouterr()
    (line,) = output.err.splitlines()
    assert output.out == ""
    assert line.startswith("error: ")
    assert ": " in line.removeprefix("error: ")  # where it is, and what it is
    assert line.isprintable()
    assert len(line) < MAX_CHARACTERS + 100
    return line


# Parameters

COUNTS = [f"tiny.train.{name}" for name in ("batch_size", "iterations", "record_every", "validate_every", "pad")]
COUNTS += ["tiny.resources.cpus", "tiny.resources.retries", "tiny.data.test", "tiny.data.validation"]
NUMBERS = [f"tiny.train.{name}" for name in ("lr", "momentum", "weight_decay", "max_relative_step")]
NUMBERS += [f"tiny.resources.{name}" for name in ("checkpoint_s", "wait_s", "price_per_hour", "gpus")]
NUMBERS += ["tiny.trial.odds_ratio"]
BAD_NUMBERS: list[Any] = ["1", -1, NAN, [1], {"a": 1}]
BAD_PARAMETERS: dict[str, dict[str, Any]] = {
    **{f"{key}={value}": {key: value} for key in COUNTS for value in [*BAD_NUMBERS, 1.5]},
    **{f"{key}={value}": {key: value} for key in NUMBERS for value in BAD_NUMBERS},
    **{f"{key} is missing": {key: REMOVE} for key in ("tiny.train", "tiny.seeds", "tiny.networks", "tiny.data")},
    **{f"{key} is null": {key: None} for key in ("tiny", "tiny.train", "tiny.seeds", "tiny.data", "storage")},
    "lr infinite": {"tiny.train.lr": INFINITE},
    "seeds negative": {"tiny.seeds": [-1]},
    "seeds of other kinds": {"tiny.seeds": [0, "1"]},
    "no networks": {"tiny.networks": {}},
    "networks as a list": {"tiny.networks": ["plain-18"]},
    "a network without end": {"tiny.networks.mine": {"network": "x" * 10**5}},
    "a key without end": {f"tiny.train.{'x' * 10**5}": 1},
    "a key of two lines": {"tiny.train.a\nb\x1b[31m": 1},
    "a list without end": {"tiny.train.lr_drops": list(range(9000, 0, -1))},
    "groups": {"tiny.train.batch_norm_groups": 3},
    "workers": {"tiny.train.workers": 5},
    "a key that is a number": {"tiny.networks": {18: None}},
    "data set of another kind": {"tiny.data.dataset": ["digits"]},
}


@pytest.mark.parametrize("case", BAD_PARAMETERS)
def test_a_bad_parameter(case: str, checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(checkout / "params.yaml", params(BAD_PARAMETERS[case]))
    line = refusal(checkout, capsys, "train", "tiny")
    assert line.startswith(("error: params.yaml: tiny", "error: params.yaml: storage", "error: params.yaml: key 18"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tiny.seeds": list(range(1000)), "tiny.networks": {f"n{i}": {"network": "plain-18"} for i in range(50)}},
         "params.yaml: tiny.seeds: 50,000 runs, must be at most 10,000; list fewer seeds or networks"),
        ({"tiny.pilot": {"seeds": list(range(1000)), "lr": [n / 100 for n in range(1, 11)]}},
         "params.yaml: tiny.pilot: 20,000 runs, must be at most 10,000; list fewer seeds or networks"),
        ({"tiny.train.batch_size": 1, "tiny.architecture.stem": "imagenet"},
         "params.yaml: tiny.networks.plain-18: batch normalisation needs more than one value per channel"),
    ],
)  # fmt: skip
def test_what_no_worker_could_train_is_refused_before_one_starts(
    changes: dict[str, Any], words: str, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(checkout / "params.yaml", params(changes))
    assert words in refusal(checkout, capsys, "train", "tiny")


@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("stages", [1, 3, 4])
@pytest.mark.parametrize(("batch", "groups", "workers"), [(1, None, 1), (4, None, 1), (4, 4, 1), (4, 2, 2), (4, 4, 2)])
def test_batch_normalisation_over_one_value_is_refused_where_torch_refuses_it(
    size: int, stem: Any, stages: int, batch: int, groups: int | None, workers: int, prepared: Path
) -> None:
    """On each rank, with its own part of the batch and of the groups."""
    network = Architecture(stem=stem, block="basic", blocks=(1,) * stages, width=2, shortcut="A")
    recipe = replace(SPEC.recipe, batch_size=batch, batch_norm_groups=groups, workers=workers)
    built = build(network, classes=10, channels=1)
    use_ghost_batch_norm(built, recipe.groups // workers, ALONE)
    try:
        built.train()(torch.rand(batch // workers, 1, size, size))
        trains = True
    except ValueError:
        trains = False
    manifest = manifest_in(prepared).model_copy(update={"size": size})
    experiment: Any = type("Experiment", (), {"runs": [replace(SPEC, architecture=network, recipe=recipe)]})
    with nullcontext() if trains else pytest.raises(UserError, match="more than one value per channel"):
        run_key.plan(experiment, manifest)


# Files that changed under its feet


def manifest_in(folder: Path) -> Manifest:
    return Manifest.model_validate_json((folder / "manifest.json").read_bytes())


ABSURD: list[tuple[str, Any]] = [
    *((key, value) for key in ("channels", "size") for value in (0, -1, 10**6, 10**30, "eight", None, [8], 1.5)),
    *((f"{split}.images", value) for split in ("train", "val", "test") for value in (0, -5, 10**12, 3, "many")),
    ("train.per_class", {"0": -1}),
    ("train.per_class", {"0": 10**9}),
    ("train.per_class", {"ten": 1}),
    ("val.files.0.bytes", -1),
    ("val.files.0.bytes", 10**18),
    ("val.files.0.sha256", 5),
    ("train.files.0.path", "/etc/hostname"),
    ("train.files.0.path", "../tiny/train.images.npy"),
    ("classes", []),
    ("classes", ["0"] * 10),
    ("classes", "0123456789"),
    ("storage", "pickles"),
    ("train", None),
    ("extra", 1),
]


@pytest.mark.parametrize(("key", "value"), ABSURD)
def test_absurd_numbers_of_a_manifest(key: str, value: Any, checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = checkout / "data" / "tiny" / "manifest.json"
    content = table = json.loads(path.read_text())
    *parents, last = key.split(".")
    for parent in parents:
        table = table[int(parent) if isinstance(table, list) else parent]
    table[last] = value
    path.write_text(json.dumps(content))
    line = refusal(checkout, capsys, "train", "tiny")
    assert line.startswith("error: data/tiny/manifest.json: damaged (")
    assert line.endswith("prepare@tiny")


@pytest.mark.parametrize("name", ["train.images.npy", "val.labels.npy", "mean.npy"])
@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", None])
def test_damaged_data(name: str, damage: bytes | None, checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = checkout / "data" / "tiny" / name
    path.unlink() if damage is None else path.write_bytes(damage)
    line = refusal(checkout, capsys, "train", "tiny")
    assert line.startswith(
        f"error: data/tiny/{name}: missing, or not of the manifest's size and SHA-256; make it again"
    )


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE_TEXTS: dict[str, tuple[bytes, str]] = {
    "aliases of aliases": (BOMB.encode(), "more than 100,000 values"),
    "an alias of itself": (b"tiny: &a {data: *a}\n", "more than 100,000 values"),
    "a list of itself": (b"tiny: &a [*a]\n", "more than 100,000 values"),
    "too large": (b"tiny: {seeds: [" + b"1, " * 50_000 + b"1]}\n", "must be at most 131,072 bytes, got"),
    "a key that is a list": (b"tiny: {networks: {? [a, b] : 1}}\n", "keys must be text"),
    "a key that is a date": (b"tiny: {2020-01-01: 1}\n", "keys must be text"),
    "a key that is null": (b"tiny: {~: 1}\n", "keys must be text"),
    "an object of Python": (b"tiny: !!python/object/apply:os.mkdir [made]\n", "could not determine a constructor"),
    "an own tag": (b"tiny: !make {a: 1}\n", "could not determine a constructor"),
    "NUL": (b"tiny: \0\n", "params.yaml: "),
    "a tab": (b"tiny:\n\tdata: 1\n", "params.yaml: "),
    "two documents": (b"a: 1\n---\nb: 1\n", "params.yaml: "),
    "a list": (b"- tiny\n", "must have keys and values"),
    "UTF-16": ("tiny: 1\n".encode("utf-16"), "params.yaml: "),
    "a number of 5,000 digits": (b"tiny: {seeds: [" + b"1" * 5000 + b"]}\n", "params.yaml: "),
    "nested deeply": (b"tiny: " + b"[" * 30_000 + b"\n", "nested too deeply"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE_TEXTS)
def test_a_hostile_params_yaml(case: str, checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, words = HOSTILE_TEXTS[case]
    (checkout / "params.yaml").write_bytes(text)
    line = refusal(checkout, capsys, "train", "tiny")
    assert words in line
    assert line.startswith("error: params.yaml: ")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink(path, path)])
def test_params_yaml_is_no_file(
    make: Callable[[str], None], checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / "params.yaml").unlink()
    make("params.yaml")
    line = refusal(checkout, capsys, "train", "tiny")
    assert line.startswith("error: params.yaml: ")
    assert "; " in line


@pytest.mark.parametrize("experiments", [5, "tiny", {"tiny": 1}, [["tiny"]], [None], [5]])
def test_a_list_of_experiments_that_is_none(
    experiments: Any, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(checkout / "params.yaml", params({"experiments": experiments}))
    line = refusal(checkout, capsys, "plan")
    assert line.startswith("error: params.yaml: experiments must be a list of names, got ")


# Command lines and the environment: whole processes


def run(script: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Runs a line of bash in which $PIPELINE is this project's command."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "LOG_"))}
    variables = {"PIPELINE": f"{sys.executable} -m pipeline", "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "1"}
    words, pipes = ["bash", "-c", script], {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    all_of_them: Any = {"cwd": folder, "env": {**kept, **variables, **environment}, "timeout": REFUSED_S, **pipes}
    return subprocess.run(words, check=False, **all_of_them)


LOST = "error: standard output: No space left on device; free some space and run the same command again\n"
STREAMS: dict[str, tuple[str, int, str]] = {  # script, exit code, standard error
    "one line of the help": ("set -o pipefail; $PIPELINE --help | head -1", 0, ""),
    "no line of the help": ("set -o pipefail; $PIPELINE train --help | true", 0, ""),
    "a full disk": ("$PIPELINE --help > /dev/full", 3, LOST),
    "a full disk for both": ("$PIPELINE --help > /dev/full 2>&1", 3, ""),
    "no output": ("$PIPELINE --help >&-", 0, ""),
    "no stream at all": ("$PIPELINE --help <&- >&- 2>&-", 0, ""),
    "a wrong command, unread": ("$PIPELINE trian 2>&1 | true; exit ${PIPESTATUS[0]}", 2, ""),
    "a wrong command, nowhere to say it": ("$PIPELINE trian 2> /dev/full", 2, ""),
    "a refusal without standard error": ("$PIPELINE plan none 2>&-", 2, ""),
    "a refusal on a full disk": ("$PIPELINE plan none > /dev/full 2>&1", 2, ""),
}


@pytest.mark.parametrize("case", STREAMS)
def test_lost_streams_end_no_command_and_show_no_traceback(case: str, tmp_path: Path) -> None:
    script, code, messages = STREAMS[case]
    done = run(script, tmp_path)
    assert (done.returncode, done.stderr) == (code, messages)
    assert list(tmp_path.iterdir()) == []


WORK = """
import os, sys
from pathlib import Path
from pipeline.cluster.progress import Line, Monitor
from pipeline.errors import run_command
def work():
    with Monitor("digits", {"a": Line(1.0)}) as shown:
        shown.begins("a")
        for number in range(3000):
            print(f"row {number} of a log", flush=True)
            shown.says("a", "a line of progress")
            print("a warning", file=sys.stderr)
        shown.ends("a")
    Path("opened").write_text("only this")  # gets no standard descriptor
    os.system("echo a child writes; echo a child warns >&2")
    Path("finished").touch()
run_command(work)
"""


@pytest.mark.parametrize(
    ("pipe", "code"),
    [
        ("| head -1", 0),
        ("2>&1 | true", 0),
        (">&- 2>&-", 0),
        ("<&- >&- 2>&-", 0),
        ("> /dev/full", 3),
        ("2> /dev/full", 0),
    ],
)
def test_work_is_finished_although_no_process_reads_its_log(pipe: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(WORK)
    done = run(f"{sys.executable} work.py {pipe}; exit ${{PIPESTATUS[0]}}", tmp_path)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "finished").exists()
    assert (tmp_path / "opened").read_text() == "only this"


@pytest.mark.parametrize("level", ["debug", "Info", " WARNING ", "warn", "error", "10", "0", ""])
def test_log_level_in_any_spelling(level: str, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("LOG_LEVEL", level)
    assert "no experiment 'none'" in refusal(checkout, capsys, "plan", "none")


@pytest.mark.parametrize("level", ["loud", "-1", "99", "1e1", "verbose\n", "DEBUG,INFO"])
def test_another_log_level(level: str, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("LOG_LEVEL", level)
    line = refusal(checkout, capsys, "plan", "tiny")
    assert line.startswith("error: LOG_LEVEL: must be DEBUG, INFO, WARNING, ERROR, CRITICAL or a number up to 50, got ")
    assert line.endswith("; set one of them, or unset it")


# Passwords

SECRET = "hidden"
ADDRESSES = [
    f"http://me:{SECRET}@127.0.0.1:9",
    f"http://me:a@{SECRET}@127.0.0.1:9/path",
    f"http://me:a/{SECRET}@127.0.0.1:9",
    f"http://{SECRET}@127.0.0.1:9",
    f"me:{SECRET}@127.0.0.1:9",
    f"ray://me:{SECRET}@127.0.0.1:9",
    f"postgresql://me:{SECRET}@127.0.0.1:9/db?password={SECRET}",
]
SHOWING: dict[str, tuple[list[str], str]] = {  # words of a command and a variable, one of which gets the address
    "--address": (["submit", "tiny", "--address", "{}"], ""),
    "RAY_API_SERVER_ADDRESS": (["submit", "tiny"], "RAY_API_SERVER_ADDRESS"),
    "RAY_ADDRESS of submit": (["submit", "tiny"], "RAY_ADDRESS"),
    "MLFLOW_TRACKING_URI": (["sync", "tiny"], "MLFLOW_TRACKING_URI"),
    "merge": (["merge", "{}"], ""),
    "an experiment": (["train", "{}"], ""),
    "--only": (["train", "tiny", "--only", "{}"], ""),
    "--compare": (["report", "--compare", "{}", "x"], ""),
    "--weights": (["evaluate", "--weights", "{}", "--data", "x"], ""),
    "weights": (["weights", "check", "{}"], ""),
    "LOG_LEVEL": (["plan", "tiny"], "LOG_LEVEL"),
}


@pytest.mark.parametrize("address", [one for one in ADDRESSES if not one.startswith("ray:")])  # Ray waits for those
@pytest.mark.parametrize("case", SHOWING)
def test_no_message_shows_a_password(
    case: str, address: str, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words, variable = SHOWING[case]
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, address)
    with pytest.raises(SystemExit) as end:
        main([word.format(address) for word in words])
    assert end.value.code in (2, 3)
    shown = "".join(capsys.readouterr())
    assert shown.startswith("error: ")
    assert SECRET not in shown


@pytest.mark.parametrize("key", ["storage", "tiny.data.source", "tiny.networks.plain-18.network", "tiny.data.dataset"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_no_refused_parameter_shows_a_password(
    key: str, address: str, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(checkout / "params.yaml", params({"tiny.networks.plain-18": {}, key: address}))
    if "://" in address or key != "storage":  # otherwise it is a folder
        assert SECRET not in refusal(checkout, capsys, "train", "tiny")


SHOWS = """
import logging, sys
from pipeline.errors import run_command
def work():
    print(sys.argv[1])
    logging.error(sys.argv[1])
    raise ValueError(f"no answer of {sys.argv[1]}")
run_command(work)
"""


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_is_printed_and_raised_shows_no_password(address: str, tmp_path: Path) -> None:
    """Of a wrong command line, which argparse prints, of a log, and of a traceback."""
    (tmp_path / "work.py").write_text(SHOWS)
    for script in ("$PIPELINE", f"{sys.executable} work.py"):
        done = run(f"{script} {address!r}", tmp_path)
        assert done.returncode in (1, 2)
        assert SECRET not in done.stdout + done.stderr
        assert "127.0.0.1:9" in done.stderr


def test_other_texts_stay_as_they_are() -> None:
    for text in (
        "dvc repro -f prepare@tiny",
        "git@github.com:a/b",
        "12:30: mail a@b",
        "http://host:8265/x",
        "HEAD@{1}:x",
    ):
        assert redact_userinfo(text) == text
        assert one_line(text) == text


def test_a_very_long_message_keeps_its_begin_and_its_end() -> None:
    line = one_line(f"params.yaml: {'x' * 10**6} {'y ' * 10**6}; list fewer")
    assert line.startswith("params.yaml: xxx")
    assert line.endswith("y ; list fewer")
    assert len(line) < MAX_CHARACTERS
