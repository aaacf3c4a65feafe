"""Runs experiments as a job on a Ray cluster, shows its log, and ends with its exit code.

The job runs all stages in a checkout that all nodes share. With --working-dir it trains in an upload of the tracked
files and of the data that are prepared here; when it has ended, the runs are in the run store, where the stages at home
find them. A second submission of the same experiments joins the running job.
"""

import argparse
import hashlib
import logging
import os
import shlex
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from pipeline import config
from pipeline.cluster.shared_storage import DELETED
from pipeline.errors import FAILED, TERMINATED, ClusterLost, EnvironmentFault, UserError
from pipeline.git_revision import VARIABLE, WRITTEN_BY_STAGES, git, revision
from pipeline.paths import DATA, PARAMS

T = TypeVar("T")
DEFAULT_ADDRESS = "http://127.0.0.1:8265"
UPLOAD_BYTES = 100 * 2**20  # Ray's dashboard takes no larger request
CONNECT_S = 20.0
ANSWER_S = 10.0  # for one answer of the dashboard
UPLOAD_S = 600.0  # for the upload and the start of a job
SILENCE_S = 30.0  # without an answer, after which the head is lost
POLL_S = 1.0
KEPT = "finished runs and checkpoints are kept"
STOP_S = 60  # from SIGTERM, at which a stage ends by itself, to SIGKILL; Ray's default of 3 s is too short


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a job runs, and where."""

    experiments: tuple[str, ...]
    checkout: str | None  # on the cluster; None: in an upload of this one
    storage: str  # the run store of an upload; empty for a checkout
    revision: str  # the commit, for people
    state: str  # digest of commit and changes; empty where they cannot be seen from here

    @property
    def name(self) -> str:
        """The job's name. Jobs of one name would write the same files, so only one of them runs at a time."""
        where = "\0".join([self.checkout or self.storage, *self.experiments])
        return f"{'+'.join(self.experiments)[:40]}-{hashlib.sha256(where.encode()).hexdigest()[:8]}"

    @property
    def entrypoint(self) -> str:
        """The job's shell command, which everybody can read who sees the dashboard."""
        stage = "train" if self.checkout is None else "report"  # report depends on all other stages
        command = shlex.join(["dvc", "repro", *(f"{stage}@{name}" for name in self.experiments)])
        if self.checkout is None:
            return f"dvc config --local core.no_scm true && exec {command}"
        return f"cd {shlex.quote(self.checkout)} && exec {command}"


def main(arguments: argparse.Namespace) -> None:
    """Submits, joins, follows or stops the job. Raises UserError before anything is started, and ClusterLost."""
    spec = read(arguments.experiment, arguments.checkout, upload=arguments.working_dir)
    client = connect(arguments.address)
    if arguments.stop:
        stop(client, spec)
        return
    name = start(client, spec)
    if arguments.no_follow:
        return
    try:
        job = follow(client, name)
    except KeyboardInterrupt:
        print(f"{name}: keeps running; the same command follows it, --stop stops it", file=sys.stderr)
        raise
    code = exit_code(job)
    print(f"{name}: {job.status.lower()}, exit code {code}", flush=True)
    if code == 0 and spec.checkout is None:
        stages = shlex.join(f"report@{name}" for name in spec.experiments)
        print(f"the runs are in {spec.storage}: `dvc repro {stages}` here evaluates them and trains nothing")
    sys.exit(code)


def read(experiments: list[str], checkout: str | None = None, *, upload: bool = False, root: Path = Path()) -> JobSpec:
    """Returns the job that the command line describes; `root` is this checkout. Raises UserError."""
    folder = Path(checkout) if checkout else root.absolute()
    names, storage = tuple(sorted(set(experiments))), ""
    if (folder / PARAMS).is_file():
        storage = _storage(names, folder / PARAMS, upload)
    elif checkout is None:
        raise UserError(f"{folder / PARAMS}: not found; run this from the top of the checkout, where dvc.yaml is")
    at, changes = revision(folder), git(folder, "diff", "HEAD", "--", ".", *WRITTEN_BY_STAGES)
    state = "" if at is None or changes is None else hashlib.sha256(f"{at.commit}\n{changes}".encode()).hexdigest()
    return JobSpec(names, None if upload else str(folder), storage if upload else "", str(at or "unknown"), state)


def _storage(experiments: tuple[str, ...], path: Path, upload: bool) -> str:
    """Returns the run store. Raises UserError for what the job would refuse later."""
    (storage,) = {config.load(name, path).storage for name in experiments}  # a key of the whole file
    listed = config.listed(path)
    if missing := [name for name in experiments if name not in listed]:
        what = f"{missing[0]!r} is not among {', '.join(listed) or 'none'}{config.nearest(missing[0], listed)}"
        raise UserError(f"{path}: experiments: {what}; add it, because dvc.yaml has stages for the listed ones only")
    if upload and "://" not in storage and not Path(storage).is_absolute():
        raise UserError(f"{path}: storage: {storage} {DELETED}")
    return storage


def connect(address: str | None) -> JobSubmissionClient:
    """Returns a client of the dashboard, with the token of the environment. Raises EnvironmentFault."""
    url = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS") or DEFAULT_ADDRESS
    os.environ["RAY_API_SERVER_ADDRESS"] = url  # Ray prefers the variable to the argument
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # otherwise Ray sends no token
    logging.disable(logging.INFO)  # Ray's client logs every upload and every end of a log
    try:
        return answered(lambda: JobSubmissionClient(url), CONNECT_S)
    except AuthenticationError:
        how = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to a file with the cluster's token"
        raise EnvironmentFault(f"{url}: the cluster refused the token; {how}") from None
    except Exception as error:  # requests, aiohttp and Ray have many kinds
        how = "give the head's with --address http://HEAD:8265, or by RAY_API_SERVER_ADDRESS"
        raise EnvironmentFault(f"{url}: no Ray dashboard ({brief(error)}); {how}") from None


def answered(call: Callable[[], T], seconds: float = ANSWER_S) -> T:
    """Returns or raises what `call` does; TimeoutError after `seconds`, because Ray's client has no time limit."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return outcome.result(seconds)


def patiently(client: JobSubmissionClient, call: Callable[..., T], *arguments: str) -> T:
    """Returns what `call` returns, once it does. Raises ClusterLost after SILENCE_S without an answer."""
    silent_from = time.monotonic()
    while True:
        try:
            return answered(lambda: call(*arguments))
        except (RuntimeError, OSError):  # an HTTP status; errors of requests and TimeoutError are OSErrors
            if time.monotonic() - silent_from > SILENCE_S:
                what = f"{client.get_address()}: the head of the cluster does not answer any more; {KEPT}"
                raise ClusterLost(f"{what}: the same command follows the job, or starts it on a new cluster") from None
            time.sleep(POLL_S)


def brief(error: Exception) -> str:
    """Returns the first line of an error's text, or its type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def start(client: JobSubmissionClient, spec: JobSpec) -> str:
    """Returns the name of the job, new or running. Raises UserError if the running one has other code."""
    running, ended = jobs_of(client, spec)
    if not running:
        name = f"{spec.name}-{len(ended) + 1}" if ended else spec.name  # Ray takes a name once
        try:
            _submit(client, spec, name)
        except (RuntimeError, OSError) as error:
            running, _ = jobs_of(client, spec)  # another submission may have taken the name at the same moment
            if not running:
                what = f"{client.get_address()}: the cluster refused the job ({brief(error)})"
                raise EnvironmentFault(f"{what}; see its dashboard's log") from None
        else:
            print(f"{name}: submitted to {client.get_address()}, commit {spec.revision}", flush=True)
            return name
    job = running[0]
    state = (job.metadata or {}).get("state", "")
    if state and spec.state and state != spec.state:
        what = f"{job.submission_id}: runs {', '.join(spec.experiments)} with other code or parameters"
        raise UserError(f"{what}; wait for it, or stop it with --stop")
    print(f"{job.submission_id}: runs already; joins it", flush=True)
    return str(job.submission_id)


def jobs_of(client: JobSubmissionClient, spec: JobSpec) -> tuple[list[JobDetails], list[JobDetails]]:
    """Returns the jobs of the spec's name that run or wait, and those that have ended."""
    jobs = [job for job in patiently(client, client.list_jobs) if (job.submission_id or "").startswith(spec.name)]
    ended = [job for job in jobs if job.status.is_terminal()]
    return [job for job in jobs if job not in ended], ended


def _submit(client: JobSubmissionClient, spec: JobSpec, name: str) -> None:
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S), "DVC_NO_ANALYTICS": "true"}
    environment: dict[str, Any] = {"env_vars": variables}
    with tempfile.TemporaryDirectory() as scratch:
        if spec.checkout is None:
            environment["working_dir"] = str(pack(Path(), spec.experiments, Path(scratch) / "upload.zip"))
            variables[VARIABLE] = spec.revision
        named = {"submission_id": name, "metadata": {"commit": spec.revision, "state": spec.state}}
        submit_job = partial(client.submit_job, entrypoint=spec.entrypoint, runtime_env=environment, **named)
        answered(submit_job, UPLOAD_S)


def pack(root: Path, experiments: tuple[str, ...], target: Path) -> Path:
    """Writes the tracked files, and the experiments' prepared data if they fit, as a zip file; returns its path."""
    names = [root / name for name in (git(root, "ls-files", "-z") or "").split("\0") if name]
    files = [path for path in names if path.is_file()]
    if not files:
        raise UserError(f"{root.absolute()}: no git checkout with tracked files; git add them first")
    for name in experiments:
        data = [path for path in (root / DATA / name).rglob("*") if path.is_file()]
        if sum(path.stat().st_size for path in [*files, *data]) <= UPLOAD_BYTES:
            files += data
        else:
            print(f"{DATA / name}: too large to upload; the job prepares it, which serves a cluster of one node")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path in sorted(files):
            archive.write(path, path.relative_to(root))
    return target


def follow(client: JobSubmissionClient, name: str) -> JobDetails:
    """Prints the job's log as it grows, until the job has ended. Raises ClusterLost."""
    printed = 0  # characters
    while True:
        job, began = patiently(client, client.get_job_info, name), time.monotonic()
        log = patiently(client, client.get_job_logs, name)  # after the state, so that an ended job's log is complete
        print(log[printed:], end="", flush=True)
        printed = len(log)
        if job.status.is_terminal():
            return job
        time.sleep(max(POLL_S, 10 * (time.monotonic() - began)))  # Ray sends all of the log, which may be long


def stop(client: JobSubmissionClient, spec: JobSpec) -> None:
    """Stops the running job, whatever its code, and waits for its end."""
    running, _ = jobs_of(client, spec)
    if not running:
        print("no such job runs")
        return
    name = str(running[0].submission_id)
    print(f"{name}: stops, which may take {STOP_S} s", flush=True)
    patiently(client, client.stop_job, name)
    while not patiently(client, client.get_job_status, name).is_terminal():  # Ray kills it after STOP_S
        time.sleep(POLL_S)
    print(f"{name}: stopped; {KEPT}", flush=True)


def exit_code(job: JobDetails) -> int:
    """Returns the job's exit code, as a shell gives it where a signal ended it. Raises EnvironmentFault without one."""
    if job.status == JobStatus.SUCCEEDED:
        return 0
    if job.status == JobStatus.STOPPED:
        return TERMINATED
    code = job.driver_exit_code
    if code is None:  # the job never began, or its node is lost
        what = (job.message or "no reason given").strip().splitlines()[0]
        raise EnvironmentFault(f"{job.submission_id}: {what}; the same command submits it again")
    return 128 - code if code < 0 else code or FAILED
