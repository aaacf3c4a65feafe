"""What a run may take of a cluster, and a cluster that is not there."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.cluster.capacity import Capacity, share
from pipeline.config.experiment import Experiment
from pipeline.config.params import load
from pipeline.errors import LOST, EnvironmentFault
from tests.params_maker import params, write

ROOT = Path(__file__).parents[2]
HERE = Capacity(cpus=2.0, gpus=0.0, nodes=1, local=True)
THERE = Capacity(cpus=64.0, gpus=8.0, nodes=4, local=False)


@pytest.fixture
def asked(tmp_path: Path) -> Any:
    def loaded(**resources: Any) -> Experiment:
        changes = {f"tiny.resources.{key}": value for key, value in resources.items()}
        return load("tiny", write(tmp_path / "params.yaml", params(changes)))

    return loaded


@pytest.mark.parametrize(
    ("capacity", "small", "gpus"), [(HERE, True, 0.0), (HERE, False, 0.0), (THERE, True, 0.25), (THERE, False, 1.0)]
)
def test_auto_takes_a_share_where_there_is_one(capacity: Capacity, small: bool, gpus: float, asked: Any) -> None:
    assert share(capacity, asked(gpus="auto"), small=small) == gpus


@pytest.mark.parametrize("gpus", [0, 0.1, 0.5, 1])
def test_a_number_is_taken_as_it_is(gpus: float, asked: Any) -> None:
    assert share(THERE, asked(gpus=gpus), small=True) == gpus


@pytest.mark.parametrize(
    ("resources", "capacity", "words"),
    [
        ({"cpus": 3}, HERE, ["tiny.resources.cpus", "asks for 3,", "Ray has 2 ", "this machine, 2 CPUs, 0 GPUs"]),
        ({"gpus": 0.5}, HERE, ["tiny.resources.gpus", "asks for 0.5,", "Ray has 0 ", "this machine"]),
        ({"cpus": 65}, THERE, ["tiny.resources.cpus", "65", "64", "cluster of 4 nodes, 64 CPUs, 8 GPUs"]),
    ],
)
def test_what_can_never_be_had_is_refused(
    resources: dict[str, Any], capacity: Capacity, words: list[str], asked: Any
) -> None:
    with pytest.raises(EnvironmentFault) as error:
        share(capacity, asked(**resources), small=True)
    text = str(error.value)
    assert len(text.splitlines()) == 1
    assert text.startswith("params.yaml: ")
    assert [word for word in words if word not in text] == []


def test_all_that_is_there_can_be_had(asked: Any) -> None:
    assert share(HERE, asked(cpus=2), small=True) == 0.0


CONNECT = """
from pipeline.cluster import connection
from pipeline.errors import run_stage
def main():
    with connection.connected() as capacity:
        print(capacity)
run_stage(main)
"""


def connect(address: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = {**kept, "RAY_ADDRESS": address, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", CONNECT]
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("form", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "127.0.0.1:{port}000000", "nonsense"])
def test_a_cluster_that_is_not_there_is_one_line_and_soon(form: str) -> None:
    with socket.socket() as nobody:  # bound, but it does not listen
        nobody.bind(("127.0.0.1", 0))
        address = form.format(port=nobody.getsockname()[1])
        done = connect(address)
    assert done.returncode == 3, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith(f"error: RAY_ADDRESS={address}: no Ray cluster (")
    assert "unset RAY_ADDRESS" in done.stderr
    assert done.stdout == ""


WAIT = """
import time
from pipeline.cluster import connection, head
from pipeline.errors import run_stage
def main():
    with connection.connected() as capacity:
        import ray
        gcs = head.Gcs(ray.get_runtime_context().gcs_address)
        print(capacity, gcs.answers(), sep=" | ")
        gcs._missed = True
        print(gcs.answers())
        gcs._missed, gcs._session = True, b"that of a head before this one"
        print(gcs.answers())
        gcs._session = None
        print(gcs.answers(), flush=True)
        time.sleep(600)
run_stage(main)
"""


def test_the_own_ray_of_this_machine_is_lost() -> None:
    """Its processes end with the stage; two helpers of its raylet first wait a minute for the one that was killed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with subprocess.Popen(
        [sys.executable, "-c", WAIT],
        env={**kept, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        answers = [process.stdout.readline() for _ in range(4)]
        assert answers[0].startswith("this machine, ")
        assert [line.split()[-1] for line in answers] == ["True", "True", "False", "True"]
        processes = psutil.Process(process.pid).children(recursive=True)
        named = {child.name(): child for child in processes}
        named["gcs_server"].send_signal(signal.SIGKILL)
        _, said = process.communicate(timeout=300)
    assert process.returncode == LOST, said
    (line,) = said.splitlines()
    assert line.startswith("error: Ray on this machine (")
    assert line.endswith(") does not answer any more; finished runs and checkpoints are kept: the same command goes on")
    assert psutil.wait_procs([named["raylet"]], timeout=60)[1] == []
    for child in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
