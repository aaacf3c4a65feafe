"""Python and the packages that a result depends on: the same on every node, and those that the lock file names."""

import platform
import re
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from pipeline.checks.line import Line
from pipeline.checks.nodes import Answer

LOCK = Path("requirements.lock")
PACKAGES = ("torch", "torchvision", "ray", "numpy", "scipy", "pyarrow", "pillow", "safetensors", "pydantic")
INSTALL = "pip install -r requirements.lock"


def installed() -> dict[str, str]:
    """Of this process, by name; empty where a package is not there."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def locked(path: Path) -> dict[str, str]:
    """The pinned version of every package, by name in lower case. Raises OSError."""
    pins = re.findall(r"^([\w.-]+)==([^\s;]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {name.lower(): version for name, version in pins}


def of_driver(here: dict[str, str], path: Path = LOCK) -> Line:
    """This process against the lock file; a suffix such as +cpu is the build, not the version."""
    try:
        pins = locked(path)
    except OSError as error:
        return Line("versions", f"{path}: {error.strerror}", "run from the top of the checkout")
    others = [
        f"{name} {here[name] or 'missing'} in place of {pins[name]}"
        for name in PACKAGES
        if name in pins and here[name].partition("+")[0] != pins[name]
    ]
    if others:
        return Line("versions", ", ".join(others), INSTALL)
    shown = ", ".join(f"{name} {here[name]}" for name in ("python", "torch", "ray", "numpy"))
    return Line("versions", f"{shown}, as in {path}")


def of_nodes(here: dict[str, str], answers: Sequence[Answer[dict[str, str]]]) -> Iterator[Line]:
    """Each node against this process, to the letter: another build of torch rounds in another way."""
    for answer in answers:
        what, there = f"versions on {answer.node.name}", answer.value
        if there is None:
            mend = "share the checkout with it, at the same path, and start Ray on it with the same environment"
            yield Line(what, f"nothing runs there: {answer.fault}", mend)
            continue
        others = [
            f"{name} {there.get(name) or 'missing'} in place of {version or 'none'}"
            for name, version in here.items()
            if there.get(name) != version
        ]
        yield Line(what, ", ".join(others), f"{INSTALL} there") if others else Line(what, "as here")
