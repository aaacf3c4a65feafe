"""deploy/: the files parse, have the lock file's versions, run tested commands, require a token and contain none."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
from ruamel.yaml import YAML

from pipeline.__main__ import COMMANDS
from pipeline.submit import JobSpec

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
LAUNCHER, JOB = DEPLOY / "ray-cluster.yaml", DEPLOY / "kuberay-rayjob.yaml"
PINS = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
PYTHON = "3.11"


def parsed(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


def strings(value: Any) -> Iterator[str]:
    """Every text in plain values."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from (str(key), *strings(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    else:
        yield str(value)


def test_ray_accepts_the_launchers_file() -> None:
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    found = jsonschema.Draft7Validator(json.loads(schema.read_text())).iter_errors(parsed(LAUNCHER))
    assert [error.message for error in found] == []


@pytest.mark.parametrize("path", [LAUNCHER, JOB], ids=lambda path: path.name)
def test_versions_are_the_locks(path: Path) -> None:
    images = {text for text in strings(parsed(path)) if "deep-residual-learning:" in text}
    tag = f"ray{PINS['ray']}-torch{PINS['torch']}-python{PYTHON}"
    assert {image.rpartition(":")[2] for image in images} == {tag}
    assert f"deep-residual-learning:{tag}" in PAGE


def test_the_job_runs_what_submission_runs() -> None:
    spec = JobSpec(("fashion",), checkout="/shared/checkout", storage="", revision="", state="")
    entrypoint = parsed(JOB)["spec"]["entrypoint"]
    assert shlex.split(entrypoint) == ["bash", "-c", spec.entrypoint]
    assert entrypoint in PAGE


@pytest.mark.parametrize("path", [*sorted(DEPLOY.iterdir()), ROOT / "docs" / "cluster.md"], ids=lambda path: path.name)
def test_commands_that_are_named_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace('", "', " ")
    assert set(re.findall(r"python -m pipeline (\w+)", text)) <= set(COMMANDS)
    assert "-m pipeline." not in text


def test_tokens_are_required_and_none_is_written_down() -> None:
    options = parsed(LAUNCHER)["docker"]["run_options"]
    assert "--env RAY_AUTH_MODE=token" in options
    assert "--env RAY_AUTH_TOKEN_PATH=/etc/ray/auth_token" in options
    assert any(option.endswith(":/etc/ray/auth_token:ro") for option in options)
    assert parsed(JOB)["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token", "secretName": "ray-auth"}
    for path in (*DEPLOY.iterdir(), ROOT / "docs" / "cluster.md"):
        text = path.read_text(encoding="utf-8")
        secret = r"\b[0-9a-f]{32,}\b|RAY_AUTH_TOKEN=(?!\$)|PASSWORD=(?!\$|…)|://[^/\s@]+:[^/\s@]+@"
        assert re.findall(secret, text) == []
