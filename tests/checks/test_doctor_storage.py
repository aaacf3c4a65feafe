"""A folder that some node does not share is noticed before training, and named. Nodes are stood in for by folders."""

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.checks import storage
from pipeline.checks.nodes import Answer, Node
from pipeline.cluster.capacity import Capacity
from pipeline.errors import EnvironmentFault

NEAR, FAR = Node("a1", "10.0.0.2", 4.0, 0.0), Node("b2", "10.0.0.3", 4.0, 0.0)
TWO = Capacity(cpus=8.0, gpus=0.0, nodes=2, local=False)


@dataclasses.dataclass
class Mounts:
    """Each node runs the function with the paths that its mounts make of this machine's."""

    root: Path
    elsewhere: dict[str, Path]  # by node: what it has in place of `root`
    before: Callable[[Node], None] = lambda _: None

    def __call__(self, nodes: Sequence[Node], function: Callable[..., Any], *arguments: Any) -> list[Answer[Any]]:
        answers = []
        for node in nodes:
            self.before(node)
            answers.append(Answer(node, function(*(self.seen(node, value) for value in arguments))))
        return answers

    def seen(self, node: Node, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(self.seen(node, one) for one in value)
        if isinstance(value, Path) and value.is_relative_to(self.root):
            return self.elsewhere.get(node.id, self.root) / value.relative_to(self.root)
        return value


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "here" / "runs").mkdir(parents=True)
    (tmp_path / "here" / "data").mkdir()
    (tmp_path / "here" / "data" / "manifest.json").write_text("{}")
    return tmp_path / "here"


def said(root: Path, ask: Mounts) -> list[str]:
    reading = [root / "data" / "manifest.json"]
    return [str(line) for line in storage.lines(root / "runs", reading, [NEAR, FAR], ask)]


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".probe*")]


def test_one_folder_for_all_is_well_and_left_as_it_was(root: Path) -> None:
    lines = said(root, Mounts(root, {}))
    assert lines == [
        f"ok storage on {name}: {root}/runs is written, read and locked together with this machine"
        for name in ("10.0.0.2", "10.0.0.3")
    ]
    assert left(root) == []


def test_a_node_with_a_folder_of_its_own_is_named(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "there")
    lines = said(root, Mounts(root, {"b2": tmp_path / "there"}))
    assert lines[0].startswith("ok storage on 10.0.0.2")
    assert lines[1:] == [
        f"mend storage on 10.0.0.3: {root}/runs: another folder: what is written here is not seen there; "
        "mount one folder there on all nodes, or set `storage` to one that they share"
    ]
    assert left(root) + left(tmp_path / "there") == []


def test_a_node_whose_writing_stays_with_it_is_named(root: Path, tmp_path: Path) -> None:
    """As with an overlay, or a folder that is copied to the nodes: what is there can be read by all."""
    there = tmp_path / "there"
    copied: list[str] = []

    def copy(node: Node) -> None:
        if node is FAR and not copied:
            shutil.copytree(root, there)
            copied.extend(left(there))

    lines = said(root, Mounts(root, {"b2": there}, copy))
    assert "another folder: what is written there is not seen here" in lines[1]
    assert left(there) == copied  # its own file is gone; what it was given is not its to remove
    assert left(root) == []


def test_locks_that_do_not_reach_a_node_are_named(root: Path) -> None:
    class NoLocks(Mounts):
        def __call__(self, *arguments: Any) -> list[Answer[Any]]:
            answers = super().__call__(*arguments)
            return [
                Answer(a.node, storage.Echo(a.value.word, a.value.back, digests=a.value.digests))
                for a in answers
                if a.value
            ]

    lines = said(root, NoLocks(root, {}))
    assert len(lines) == 2
    assert all("a lock that is held here does not bar that node; mount it by NFSv4" in line for line in lines)


def test_data_that_a_node_lacks_or_has_otherwise_are_named(root: Path, tmp_path: Path) -> None:
    def without_data(node: Node) -> None:
        (tmp_path / "there" / "data" / "manifest.json").unlink(missing_ok=True)

    (tmp_path / "there" / "data").mkdir(parents=True)
    (tmp_path / "there" / "runs").symlink_to(root / "runs")
    elsewhere = Mounts(root, {"b2": tmp_path / "there"}, without_data)
    (line,) = said(root, elsewhere)[1:]
    assert line.startswith(f"mend storage on 10.0.0.3: {root}/data/manifest.json: not there; let all nodes share")
    (tmp_path / "there" / "data" / "manifest.json").write_text("[]")
    elsewhere.before = lambda _: None
    (line,) = said(root, elsewhere)[1:]
    assert f"{root}/data/manifest.json: another file there; " in line


def test_a_node_that_cannot_run_our_code_is_named(root: Path) -> None:
    def ask(nodes: Sequence[Node], *_: Any) -> list[Answer[Any]]:
        return [Answer(node, None, "No module named 'pipeline'") for node in nodes]

    lines = [str(line) for line in storage.lines(root / "runs", [], [FAR], ask)]
    assert len(lines) == 1
    assert f"{Path.cwd()}: nothing runs there: No module named 'pipeline'; let all nodes share the checkout" in lines[0]


def test_a_folder_that_cannot_be_written_here(root: Path) -> None:
    (root / "file").touch()
    (line,) = storage.lines(root / "file", [], [NEAR], Mounts(root, {}))
    assert str(line) == f"mend storage: {root}/file: Not a directory; set `storage` to a folder you can write"


def test_training_on_two_nodes_is_refused_in_one_line(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "alive", lambda: [NEAR, FAR])
    (tmp_path / "there").mkdir()
    apart = Mounts(root, {"b2": tmp_path / "there"})
    with pytest.raises(
        EnvironmentFault, match=r"^\S+/runs on node 10\.0\.0\.3: another folder: .*; mount one"
    ) as error:
        storage.require_shared(TWO, str(root / "runs"), root / "data", apart)
    assert len(str(error.value).splitlines()) == 1
    assert left(root) + left(tmp_path / "there") == []
    storage.require_shared(TWO, str(root / "runs"), root / "data", Mounts(root, {}))
    with pytest.raises(EnvironmentFault, match="No such file or directory; set it to a folder you can write"):
        storage.require_shared(TWO, str(root / "nowhere"), root / "data", apart)


@pytest.mark.parametrize("capacity", [None, dataclasses.replace(TWO, nodes=1)])
def test_one_machine_has_nothing_to_share(capacity: Capacity | None, root: Path) -> None:
    def nobody(*_: Any) -> list[Answer[Any]]:
        raise AssertionError("asked")

    storage.require_shared(capacity, str(root / "nowhere"), root / "data", nobody)
