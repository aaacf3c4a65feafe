"""deploy/: the files parse, have the versions of the lock file, run tested commands, ask for a token and hold none."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.autoscaler._private.util import prepare_config, validate_config
from ruamel.yaml import YAML

from pipeline.checks.versions import locked
from pipeline.submission.order import Order

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
LAUNCHER, JOB = DEPLOY / "ray-cluster.yaml", DEPLOY / "kuberay-rayjob.yaml"
CHECKOUT = "/shared/checkout"
PINS = locked(ROOT / "requirements.lock")
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


def pods() -> list[Any]:
    cluster = parsed(JOB)["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_ray_accepts_the_launchers_file() -> None:
    config = parsed(LAUNCHER)
    filled = prepare_config(config)
    validate_config(filled)
    assert set(config) <= set(filled)


@pytest.mark.parametrize("path", [LAUNCHER, JOB], ids=lambda path: path.name)
def test_versions_are_the_locks(path: Path) -> None:
    images = {text for text in strings(parsed(path)) if "deep-residual-learning:" in text}
    tag = f"ray{PINS['ray']}-torch{PINS['torch']}-python{PYTHON}"
    assert {image.rpartition(":")[2] for image in images} == {tag}
    assert f"deep-residual-learning:{tag}" in PAGE


def test_ray_is_the_locks_and_python_the_projects() -> None:
    assert parsed(JOB)["spec"]["rayClusterSpec"]["rayVersion"] == PINS["ray"]
    (base,) = re.findall(r"^FROM (.+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert base == f"python:{PYTHON}-slim"
    assert f'requires-python = ">={PYTHON}"' in (ROOT / "pyproject.toml").read_text()


def test_the_job_runs_what_submission_runs() -> None:
    order = Order(experiments=("digits",), folder=CHECKOUT, bundled=False, state="")
    entrypoint = parsed(JOB)["spec"]["entrypoint"]
    assert shlex.split(entrypoint) == ["bash", "-c", order.entrypoint()]
    assert entrypoint in PAGE


@pytest.mark.parametrize("path", [*sorted(DEPLOY.iterdir()), ROOT / "docs" / "cluster.md"], ids=lambda path: path.name)
def test_commands_that_are_named_exist(path: Path) -> None:
    for name in re.findall(r"python -m (pipeline\.[\w.]+)", path.read_text(encoding="utf-8")):
        assert importlib.util.find_spec(name) is not None, name


def test_the_launchers_ray_commands_are_the_pages() -> None:
    config = parsed(LAUNCHER)
    for command in (*config["head_start_ray_commands"], *config["worker_start_ray_commands"]):
        assert command.split()[:2] in (["ray", "start"], ["ray", "stop"])
    for command in re.findall(r"^#     (ray \w+ \S+)", LAUNCHER.read_text(encoding="utf-8"), re.MULTILINE):
        assert command in PAGE
    for command in re.findall(r"^#     (kubectl .+)$", JOB.read_text(encoding="utf-8"), re.MULTILINE):
        assert command in PAGE


def test_tokens_are_asked_for_and_none_is_written_down() -> None:
    options = parsed(LAUNCHER)["docker"]["run_options"]
    assert "--env RAY_AUTH_MODE=token" in options
    assert "--env RAY_AUTH_TOKEN_PATH=/etc/ray/auth_token" in options
    assert any(option.endswith(":/etc/ray/auth_token:ro") for option in options)
    assert parsed(JOB)["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token", "secretName": "ray-auth"}
    for path in (*DEPLOY.iterdir(), ROOT / "docs" / "cluster.md"):
        text = path.read_text(encoding="utf-8")
        assert (
            re.findall(r"\b[0-9a-f]{32,}\b|RAY_AUTH_TOKEN=(?!\$)|PASSWORD=(?!\$|…)|://[^/\s@]+:[^/\s@]+@", text) == []
        )


def test_memory_and_folder_are_shared() -> None:
    docker = parsed(LAUNCHER)["docker"]["run_options"]
    assert any(option.startswith("--shm-size=") for option in docker)
    assert any(option.startswith("--volume ") and option.endswith(":/shared") for option in docker)
    for pod in pods():
        (container,) = pod["containers"]
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
        assert volumes[mounts["/shared"]]["persistentVolumeClaim"]["claimName"]
        assert set(container["resources"]) == {"requests", "limits"}
    *_, worker = pods()
    assert worker["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_values_to_fill_in_are_marked() -> None:
    """Whatever belongs to one user's machines is a placeholder, which nothing accepts by mistake."""
    provider = parsed(LAUNCHER)["provider"]
    own = [provider["head_ip"], *provider["worker_ips"], *parsed(LAUNCHER)["auth"].values()]
    claims = [
        v["persistentVolumeClaim"]["claimName"] for pod in pods() for v in pod["volumes"] if v["name"] == "shared"
    ]
    assert [value for value in (*own, *claims) if not value.startswith("FILL_IN_")] == []


def test_the_image_gets_the_lock_and_no_root() -> None:
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert any("pip install" in line and "--requirement /tmp/requirements.lock" in line for line in lines)
    assert any("git" in line.split() and "g++" in line.split() for line in lines)
    assert lines.index("USER runner") > lines.index("COPY --chown=runner:runner . /home/runner/project")
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {".git", ".dvc/config.local", "**/*token*", ".venv", ".runs"} <= set(ignored)
