"""What a submission is called and runs, what goes up, and what is refused; on a cluster that is only a list of jobs."""

import subprocess
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.job_submission import JobStatus

from pipeline import submit
from pipeline.errors import ClusterLost, EnvironmentFault, UserError
from tests.factories.params import params, write

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@t")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small git checkout."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "checkout"
    (folder / "pipeline").mkdir(parents=True)
    write(folder / "params.yaml", params({"storage": "/shared/runs", "other": params()["tiny"]}))
    (folder / "pipeline" / "code.py").write_text("1\n")
    (folder / "dvc.lock").write_text("schema: '2.0'\n")
    (folder / "untracked").write_text("not for the cluster\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "params.yaml", "pipeline", "dvc.lock")
    git(folder, "commit", "--quiet", "--message", "all")
    return folder


def git(folder: Path, *words: str) -> str:
    return subprocess.run([*GIT, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def spec(root: Path, *experiments: str, checkout: str | None = None, upload: bool = False) -> submit.JobSpec:
    return submit.read(list(experiments or ("tiny",)), checkout, upload=upload, root=root)


def test_equal_jobs_have_equal_names_and_different_places_different_ones(root: Path, tmp_path: Path) -> None:
    write(root / "params.yaml", params({"experiments": ["tiny", "other"], "other": params()["tiny"]}))
    assert spec(root, "other", "tiny", "tiny").name == spec(root, "tiny", "other").name
    write(root / "params.yaml", params({"storage": "/shared/runs"}))
    places = [spec(root), spec(root, upload=True), spec(root, checkout="/elsewhere")]
    write(root / "params.yaml", params({"storage": "s3://bucket/runs"}))
    assert len({place.name for place in [*places, spec(root, upload=True)]}) == 4


@pytest.mark.parametrize(
    ("file", "matters"), [("params.yaml", True), ("pipeline/code.py", True), ("dvc.lock", False), ("untracked", False)]
)
def test_code_and_parameters_change_the_state_and_what_stages_write_does_not(
    file: str, matters: bool, root: Path
) -> None:
    before = spec(root)
    (root / file).write_text((root / file).read_text() + "# new\n")
    after = spec(root)
    assert before.name == after.name
    assert (before.state != after.state) == matters


def test_entrypoints(root: Path) -> None:
    assert spec(root).entrypoint == f"cd {root} && exec dvc repro report@tiny"
    assert spec(root, "b", "a", checkout="/a b").entrypoint == "cd '/a b' && exec dvc repro report@a report@b"
    up = spec(root, upload=True).entrypoint
    assert up == "dvc config --local core.no_scm true && exec dvc repro train@tiny"


def test_refusals(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no experiment 'tinny', did you mean 'tiny'\?"):
        spec(root, "tiny", "tinny")
    with pytest.raises(UserError, match=r"'other' is not among tiny.*dvc\.yaml has stages for the listed ones only"):
        spec(root, "other")
    with pytest.raises(UserError, match="run this from the top of the checkout"):
        spec(tmp_path)
    write(root / "params.yaml", params())
    with pytest.raises(UserError, match=r"storage: \.runs would be deleted with the job's folder; set it to a bucket"):
        spec(root, upload=True)
    assert spec(root).storage == ""
    with pytest.raises(UserError, match="no git checkout with tracked files"):
        submit.pack(tmp_path, ("tiny",), tmp_path / "upload.zip")


def test_tracked_files_and_prepared_data_go_up(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def names() -> list[str]:
        with zipfile.ZipFile(submit.pack(root, ("tiny",), tmp_path / "upload.zip")) as archive:
            return sorted(archive.namelist())

    tracked = ["dvc.lock", "params.yaml", "pipeline/code.py"]
    assert names() == tracked
    (root / "data" / "tiny").mkdir(parents=True)
    (root / "data" / "tiny" / "train.npy").write_bytes(bytes(1000))
    assert names() == ["data/tiny/train.npy", *tracked]
    monkeypatch.setattr(submit, "UPLOAD_BYTES", 1000)
    assert names() == tracked


class Cluster:
    """A job server: its jobs by name, with their states and the state of their code."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobStatus] = {}
        self.states: dict[str, str] = {}
        self.at_the_same_moment = ""  # a name that another submission takes

    def list_jobs(self) -> list[Any]:
        return [
            SimpleNamespace(submission_id=name, status=status, metadata={"state": self.states.get(name, "")})
            for name, status in self.jobs.items()
        ]

    def submit_job(self, *, submission_id: str, metadata: dict[str, str], **_: Any) -> str:
        if self.at_the_same_moment:
            self.jobs[self.at_the_same_moment], self.at_the_same_moment = JobStatus.RUNNING, ""
        if submission_id in self.jobs:
            raise RuntimeError("Request failed with status code 500: a job of this name exists")
        self.jobs[submission_id], self.states[submission_id] = JobStatus.PENDING, metadata["state"]
        return submission_id

    def get_address(self) -> str:
        return "http://head:8265"


def test_a_job_is_joined_while_it_runs_and_started_again_afterwards(root: Path) -> None:
    server: Any = Cluster()
    job = spec(root)
    for name in (job.name, f"{job.name}-2", f"{job.name}-3"):
        assert submit.start(server, job) == name
        assert submit.start(server, job) == name
        server.jobs[name] = JobStatus.FAILED
    assert len(server.jobs) == 3


def test_of_two_submissions_at_once_one_starts_the_job(root: Path) -> None:
    server: Any = Cluster()
    server.at_the_same_moment = spec(root).name
    assert submit.start(server, spec(root)) == spec(root).name


@pytest.mark.parametrize(
    ("status", "driver", "code"),
    [("SUCCEEDED", 0, 0), ("STOPPED", None, 143), ("FAILED", 255, 255), ("FAILED", 2, 2), ("FAILED", -9, 137)],
)
def test_exit_codes(status: str, driver: int | None, code: int) -> None:
    job: Any = SimpleNamespace(status=status, driver_exit_code=driver)
    assert submit.exit_code(job) == code


def test_a_job_that_never_began_is_the_clusters_fault() -> None:
    job: Any = SimpleNamespace(status="FAILED", driver_exit_code=None, message="no node\n...", submission_id="tiny-1")
    with pytest.raises(EnvironmentFault, match="tiny-1: no node; the same command submits it again"):
        submit.exit_code(job)


def test_the_log_is_printed_once_whatever_breaks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(submit, "POLL_S", 0.0)
    logs: Iterator[Any] = iter(
        ["", "one\ntw", ConnectionError("refused"), "one\ntwo\n", RuntimeError("503"), "one\ntwo\nthree\n"]
    )

    def log(_: str) -> Any:
        answer = next(logs)
        if isinstance(answer, Exception):
            raise answer
        return answer

    states = iter([JobStatus.PENDING, JobStatus.RUNNING, JobStatus.RUNNING, JobStatus.SUCCEEDED])
    client: Any = SimpleNamespace(get_job_logs=log, get_job_info=lambda _: SimpleNamespace(status=next(states)))
    assert submit.follow(client, "tiny-1").status == JobStatus.SUCCEEDED
    assert capsys.readouterr().out == "one\ntwo\nthree\n"


def test_a_head_that_refuses_or_hangs_is_lost_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("POLL_S", 0.01), ("SILENCE_S", 0.1)):
        monkeypatch.setattr(submit, name, seconds)
    for hangs in (False, True):
        answer = threading.Event().wait if hangs else (lambda: (_ for _ in ()).throw(ConnectionError("refused")))
        monkeypatch.setattr(submit.answered, "__defaults__", (0.05,))
        client: Any = SimpleNamespace(get_address=lambda: "http://head:8265", list_jobs=answer)
        with pytest.raises(ClusterLost, match="http://head:8265: the head of the cluster does not answer any more"):
            submit.patiently(client, client.list_jobs)
