"""Checks this checkout, MLflow, the cluster and each of its nodes: one line each, `ok` or `fix` and how to fix it."""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch

from pipeline import config, data
from pipeline.cluster import connect
from pipeline.cluster.capacity import Capacity, check_ranks, gpu_fraction
from pipeline.cluster.shared_storage import CHECKOUT, Node, differences, nodes, on_each
from pipeline.config import Experiment
from pipeline.errors import ENVIRONMENT, UserError
from pipeline.git_revision import revision
from pipeline.paths import DATA
from pipeline.storage import open_store, storage_errors
from pipeline.tracking import client

LOCK = Path("requirements.lock")
PACKAGES = ("torch", "torchvision", "ray", "numpy", "scipy", "pyarrow", "pillow", "safetensors", "pydantic")
INSTALL = "pip install -r requirements.lock"
TEMPORARY_FREE = 0.05  # of the disk: with less free space, Ray starts no objects
FREE_BYTES = 2**30  # that a data set, its next shard, or the checkpoints of a network may take
TOKEN = "RAY_AUTH_MODE=token"  # noqa: S105 - a setting


@dataclass(frozen=True, slots=True)
class Line:
    """What was checked, what was found and, where that is a problem, how to fix it."""

    what: str
    found: str
    fix: str = ""

    @property
    def ok(self) -> bool:
        return not self.fix

    def __str__(self) -> str:
        text = f"ok: {self.what}: {self.found}" if self.ok else f"fix: {self.what}: {self.found}; {self.fix}"
        return " ".join(text.split())


def refused(what: str, message: object) -> Line:
    """Returns the line for a message of the form `what is wrong; how to fix it`."""
    found, _, fix = str(message).rpartition("; ")
    return Line(what, found, fix) if found else Line(what, fix, "fix what it names")


def main(arguments: argparse.Namespace) -> None:
    """Prints a line for each check; ends with exit code 3 if there is a problem."""
    problems = 0
    for line in lines(arguments.experiment):
        print(line, flush=True)
        problems += not line.ok
    if problems:
        print(f"{problems} to fix", flush=True)
        sys.exit(ENVIRONMENT)


def lines(names: Sequence[str]) -> Iterator[Line]:
    """Yields the lines of all checks, for these experiments or those that params.yaml lists."""
    parameters, experiments = check_params(names)
    yield from parameters
    for check in (check_git, check_dvc, check_versions, check_mlflow, check_token):
        yield check()
    yield free_space("data", DATA)
    if experiments and "://" not in experiments[0].storage:
        yield free_space("storage", Path(experiments[0].storage))
    try:
        with connect.connected() as cluster:
            yield Line("Ray", str(cluster.capacity))
            for experiment in experiments:
                yield check_resources(cluster.capacity, experiment)
            for answer in on_each(nodes(), look, versions()):
                nothing = f"nothing runs there: {answer.fault}"
                yield from answer.value or [Line(f"versions on {answer.node.name}", nothing, CHECKOUT)]
            if experiments:
                yield from check_storage(nodes(), experiments)
    except UserError as error:
        line = refused("Ray", error)
        yield Line(line.what, line.found, f"{line.fix}; if it runs, give this machine its token")


# This machine


def check_params(names: Sequence[str]) -> tuple[list[Line], list[Experiment]]:
    """Returns the experiments, and a line for each or for the first mistake."""
    try:
        experiments = [config.load(name) for name in names or config.listed()]
    except UserError as error:
        return [refused("params.yaml", error)], []
    if not experiments:
        return [Line("params.yaml", "no experiment is listed", "list one under `experiments`, or name it here")], []
    return [Line("params.yaml", f"{one.name}, {len(one.runs)} runs") for one in experiments], experiments


def check_git() -> Line:
    """Checks that runs can record which code they ran."""
    if (at := revision(Path())) is None:
        return Line("git", "no checkout with a commit", "git clone the project, or git init and commit")
    return Line("git", f"{at.commit[:12]}, {'changed since' if at.dirty else 'clean'}")


def check_dvc() -> Line:
    """Checks that `dvc status` works, which says what `dvc repro` would run."""
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [text for text in done.stderr.splitlines() if text.startswith("ERROR: ")] or ["it fails"]
        return Line("DVC", errors[0].removeprefix("ERROR: "), "run `dvc status` and fix what it reports")
    stages = ", ".join(json.loads(done.stdout))
    return Line("DVC", f"dvc repro would run {stages}" if stages else "up to date")


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the installed packages that results depend on."""
    installed = {one.name.lower(): one.version for one in metadata.distributions()}
    return {"python": platform.python_version(), **{name: installed[name] for name in PACKAGES if name in installed}}


def changes(found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Writes the versions that are not the wanted ones; empty where all are."""
    others = [name for name, version in wanted.items() if found.get(name) != version]
    return ", ".join(f"{name} {found.get(name, 'missing')} instead of {wanted[name]}" for name in others)


def check_versions(lock: Path = LOCK) -> Line:
    """Compares this Python with the lock file, without the build of a version such as +cpu."""
    try:
        pins = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text(encoding="utf-8").lower(), re.MULTILINE))
    except OSError as error:
        return Line("versions", f"{lock}: {error.strerror}", "run this from the top of the checkout")
    here = {name: version.partition("+")[0] for name, version in versions().items()}
    if others := changes(here, {name: pins[name] for name in PACKAGES if name in pins}):
        return Line("versions", others, INSTALL)
    return Line("versions", f"python {here['python']}, torch {here['torch']}, ray {here['ray']}, as in {lock}")


def check_mlflow() -> Line:
    """Asks MLflow for an experiment as the stages do; a database that does not exist is not created."""
    start = "start it, or set MLFLOW_TRACKING_URI; `python -m pipeline sync EXPERIMENT` sends later what was missed"
    try:
        where = client.address()
    except UserError as error:
        return refused("MLflow", error)
    if where.database is not None and not where.database.exists():
        return Line("MLflow", f"{where.shown}: will be created")
    try:
        client.connect(where.uri).search_experiments(max_results=1)
    except Exception as error:  # of MLflow, requests, the driver of the database
        found, _, fix = str(client.translated(error, where)).partition("; ")
        return Line("MLflow", f"{where.shown}: {found}", fix or start)
    return Line("MLflow", f"{where.shown}: answers")


def check_token(environment: Mapping[str, str] = os.environ) -> Line:
    """Checks that only holders of a token can run code on the cluster. Shows no token."""
    what = "authentication"
    if environment.get("RAY_AUTH_MODE", "").lower() != "token":
        if not {"RAY_ADDRESS", "RAY_AUTH_MODE"} & set(environment):
            return Line(what, "Ray on this machine, with its own token")
        how = f"export {TOKEN} and RAY_AUTH_TOKEN_PATH here, and start every node of the cluster with them"
        return Line(what, "no token is required: whoever reaches Ray can run code", how)
    if environment.get("RAY_AUTH_TOKEN"):
        return Line(what, "token from RAY_AUTH_TOKEN")
    path = Path(environment.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not path.is_file() or not path.stat().st_size:
        create = f"create it: (umask 077; python -c 'import secrets; print(secrets.token_hex(32))' > {path})"
        return Line(what, f"{path}: missing or empty", create)
    if path.stat().st_mode & 0o077:
        return Line(what, f"{path}: others may read it", f"chmod 600 {path}")
    return Line(what, f"token from {path}")


def free_space(what: str, folder: Path) -> Line:
    """Checks the free space of the disk of a folder, which need not exist."""
    parent = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(parent).free
    fix = "free some space, or use a folder on a larger disk" if free < FREE_BYTES else ""
    return Line(f"space for {what}", f"{free / 2**30:.1f} GiB free in {parent}", fix)


# The cluster


def check_resources(capacity: Capacity, experiment: Experiment) -> Line:
    """Checks that the cluster can hold what one run takes."""
    what, in_memory = f"resources of {experiment.name}", not data.of(experiment.data.dataset).photographs
    try:
        gpus = gpu_fraction(capacity, experiment, in_memory=in_memory)
        check_ranks(capacity, experiment.runs, experiment.resources.cpus, gpus)
    except UserError as error:
        return refused(what, error)
    return Line(what, f"a run takes {experiment.resources.cpus} CPUs and {gpus:g} GPUs")


def look(node: Node, wanted: Mapping[str, str]) -> list[Line]:
    """Returns, on a node, its lines. Ray hides the GPUs from a task that takes none, so they are shown again."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden == "":
        del os.environ["CUDA_VISIBLE_DEVICES"]
    files, gpus = 0 if hidden else len(list(Path("/dev").glob("nvidia[0-9]*"))), torch.cuda.device_count()
    others = changes(versions(), wanted)  # with their builds: another build of torch rounds differently
    token = os.environ.get("RAY_AUTH_MODE", "").lower() == "token"
    disk = shutil.disk_usage(tempfile.gettempdir())
    larger = "free some space, or start Ray with --temp-dir on a larger disk"
    on = f"on {node.name}"
    return [
        Line(f"versions {on}", others or "as here", f"{INSTALL} there" if others else ""),
        Line(f"authentication {on}", *(["token"] if token else ["off", f"start Ray there with {TOKEN} and the token"])),
        Line(
            f"GPUs {on}",
            f"{files or gpus} in the machine, {gpus} in torch, {node.gpus:g} in Ray",
            gpu_fix(node, files, gpus),
        ),
        Line(
            f"temporary files {on}",
            f"{disk.free / disk.total:.0%} of the disk is free",
            larger if disk.free < TEMPORARY_FREE * disk.total else "",
        ),
    ]


def gpu_fix(node: Node, files: int, gpus: int) -> str:
    """Returns what to do where the machine (by its device files, 0: unknown), torch and Ray have not the same GPUs."""
    if gpus < files:
        return "install a torch built for CUDA, and a driver that is new enough for it"
    if gpus < node.gpus:
        return "start Ray there with as many --num-gpus as torch sees, or give the GPUs to its container"
    if node.cpus and gpus and not node.gpus:
        return "start Ray there without --num-gpus=0, where torch sees them too"
    return ""


def check_storage(found: Sequence[Node], experiments: Sequence[Experiment]) -> Iterator[Line]:
    """Checks that all nodes share the run store and the data that are prepared."""
    storage = experiments[0].storage
    manifests = [(DATA / experiment.name / "manifest.json").absolute() for experiment in experiments]
    try:
        store = open_store(storage)
        with storage_errors(store):
            for node, texts in differences(store, [path for path in manifests if path.is_file()], found):
                what = f"storage on {node.name}"
                yield from [refused(what, text) for text in texts] or [Line(what, f"{storage} is shared")]
    except UserError as error:
        yield refused("storage", error)
