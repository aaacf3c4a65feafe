"""The folders of the code, and its single files, import one way: none needs, by any round, one that needs it."""

import ast
from collections import defaultdict
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for folder in ("resnet", "pipeline") for path in (ROOT / folder).rglob("*.py"))
MODULES = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path for path in SOURCES}


def room(module: str, depth: int) -> str:
    """The first `depth` names: `pipeline.store` of `pipeline.store.keys`."""
    return ".".join(module.split(".")[:depth])


def imported(module: str) -> Iterable[str]:
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & set(MODULES)
            yield from inner or ({node.module} & set(MODULES))


def needs(depth: int) -> dict[str, set[str]]:
    """Which rooms each room imports from. The packages' own `__init__` are left out."""
    found: dict[str, set[str]] = defaultdict(set)
    for module in MODULES:
        if not module.endswith("__init__"):
            here = room(module, depth)
            found[here] |= {room(other, depth) for other in imported(module)} - {here}
    return found


def circle(rooms: dict[str, set[str]]) -> list[str]:
    """Rooms of which each is needed by the next one, and the first is the last; nothing where there is no circle."""
    try:
        TopologicalSorter(rooms).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_rooms_import_one_way(depth: int) -> None:
    """Of 1 the two packages, of 2 the folders in them, of 3 single files."""
    assert circle(needs(depth)) == []


def test_a_circle_is_seen() -> None:
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"b"}})) == {"b", "c"}
    assert circle({"a": {"b"}, "b": {"c"}}) == []


def test_the_walk_sees_imports() -> None:
    assert "resnet" in needs(1)["pipeline"]
    assert "pipeline.storage" in needs(2)["pipeline.store"]
    assert "pipeline.storage.paths" in needs(3)["pipeline.config.params"]
