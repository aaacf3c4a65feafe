"""Ray on this machine for one driver: what it starts, and what it leaves out."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private import utils
from ray._private.node import Node

from pipeline.cluster import own_ray

ROOT = Path(__file__).parents[2]
START = """
import logging
from pipeline.cluster import own_ray
own_ray.prepare()
import psutil
import ray
own_ray.start(logging_level=logging.ERROR, log_to_driver=False)
print(ray.get(ray.remote(lambda: 6 * 7).remote()))
for child in psutil.Process().children(recursive=True):
    print("process", " ".join(child.cmdline()))
"""


def test_it_computes_and_starts_no_servers_that_nobody_asks() -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    words = [sys.executable, "-c", START]
    done = subprocess.run(words, env={**kept, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    answer, *processes = done.stdout.splitlines()
    assert answer == "42"
    assert any("gcs_server" in line for line in processes)
    assert any("raylet" in line for line in processes)
    servers = ("dashboard.py", "monitor.py")
    assert [word for line in processes for word in line.split() if word.endswith(servers)] == []
    assert any("raylet" in line and "agent.py" in line and "--minimal" in line for line in processes)  # opens no ports


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of Ray; nothing is started."""
    asked: list[str] = []
    monkeypatch.setattr(ray, "shutdown", lambda: asked.append("shutdown"))
    return asked


def failing(times: int, asked: list[str]) -> Any:
    def init(**options: Any) -> None:
        asked.append(f"init {options['address']}")
        node: Any = Node
        for name in own_ray.SERVERS:
            assert getattr(node, name)(None, include_dashboard=False) is None
        if asked.count("init local") <= times:
            raise RuntimeError("timed out")

    return init


@pytest.mark.parametrize("times", [0, 1])
def test_a_machine_that_was_too_busy_is_asked_again(
    times: int, starts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "init", failing(times, starts))
    own_ray.start()
    assert starts == ["init local", "shutdown"] * times + ["init local"]


def test_but_not_for_ever_and_ray_is_left_as_it_was(starts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    before = [getattr(Node, name) for name in own_ray.SERVERS] + [utils.get_dashboard_dependency_error]
    monkeypatch.setattr(ray, "init", failing(2, starts))
    with pytest.raises(RuntimeError, match="timed out"):
        own_ray.start()
    assert starts == ["init local", "shutdown"] * 2
    assert [getattr(Node, name) for name in own_ray.SERVERS] + [utils.get_dashboard_dependency_error] == before


def test_a_token_of_ones_own_unless_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", *own_ray.SETTINGS):
        monkeypatch.setenv(name, "")  # so that it is as before afterwards
        monkeypatch.delenv(name)
    own_ray.prepare()
    assert (os.environ["RAY_AUTH_MODE"], len(os.environ["RAY_AUTH_TOKEN"])) == ("token", 64)
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    own_ray.prepare()
    assert "RAY_AUTH_MODE" not in os.environ
    assert (os.environ["RAY_AUTH_TOKEN"], os.environ["RAY_USAGE_STATS_ENABLED"]) == ("mine", "1")
