"""A folder that a node does not share is found before training, and named. Nodes are stood in for by folders."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster import shared_storage
from pipeline.cluster.capacity import Capacity
from pipeline.cluster.shared_storage import Answer, Node
from pipeline.errors import EnvironmentFault, UserError
from pipeline.storage import create

NEAR, FAR = Node("a1", "10.0.0.2", 4.0, 0.0), Node("b2", "10.0.0.3", 4.0, 0.0)
TWO = Capacity(nodes=((4.0, 0.0), (4.0, 0.0)), local=False)


@dataclasses.dataclass
class Mounts:
    """Runs the function on each node with the paths that the node's mounts make of this machine's."""

    root: Path
    elsewhere: dict[str, Path]  # by node: what it has in the place of `root`

    def __call__(self, nodes: Sequence[Node], function: Callable[..., Any], *arguments: Any) -> list[Answer]:
        answers = []
        for node in nodes:
            answers.append(Answer(node, function(node, *(self.seen(node, value) for value in arguments))))
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


def found(root: Path, ask: Mounts) -> dict[str, list[str]]:
    files = [root / "data" / "manifest.json"]
    return {node.id: texts for node, texts in shared_storage.differences(root / "runs", files, [NEAR, FAR], ask)}


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".probe*")]


def test_one_folder_for_all_is_fine_and_left_as_it_was(root: Path) -> None:
    assert found(root, Mounts(root, {})) == {"a1": [], "b2": []}
    assert left(root) == []


def test_a_node_that_creates_what_exists_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_storage, "create", lambda path, content: create(path, content) or True)
    for (text,) in found(root, Mounts(root, {})).values():
        assert text.startswith(f"{root}/runs: that node creates a file that exists, so two workers would train")


@pytest.mark.parametrize("manifest", [None, "[]"])
def test_data_that_a_node_does_not_have(manifest: str | None, root: Path, tmp_path: Path) -> None:
    (tmp_path / "there" / "data").mkdir(parents=True)
    (tmp_path / "there" / "runs").symlink_to(root / "runs")
    if manifest is not None:
        (tmp_path / "there" / "data" / "manifest.json").write_text(manifest)
    texts = found(root, Mounts(root, {"b2": tmp_path / "there"}))["b2"]
    path = tmp_path / "there" / "data" / "manifest.json"
    assert texts == [f"{path}: not the same file there; let all nodes share the checkout with its data/"]


def test_training_on_two_nodes_is_refused_in_one_line(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_storage, "nodes", lambda: [NEAR, FAR])
    (tmp_path / "there").mkdir()
    apart = Mounts(root, {"b2": tmp_path / "there"})
    with pytest.raises(EnvironmentFault, match=r"^node 10\.0\.0\.3: \S+/runs: what is written here .*; mount one"):
        shared_storage.require_shared(TWO, str(root / "runs"), root / "data", apart)
    shared_storage.require_shared(TWO, str(root / "runs"), root / "data", Mounts(root, {}))
    with pytest.raises(EnvironmentFault, match=r"^storage \S+/nowhere: No such file or directory; "):
        shared_storage.require_shared(TWO, str(root / "nowhere"), root / "data", apart)
    one = Capacity(nodes=((4.0, 0.0),), local=True)
    shared_storage.require_shared(one, str(root / "nowhere"), root / "data", apart)


def test_a_run_store_in_an_upload_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = dataclasses.replace(TWO, nodes=TWO.nodes[:1])
    monkeypatch.setattr(shared_storage, "is_upload", lambda: True)
    for storage in (str(root / "runs"), "s3://bucket/runs"):
        shared_storage.require_shared(one, storage, root / "data")
    with pytest.raises(
        UserError, match=r"params\.yaml: storage: \.runs would be deleted with the job's folder; set it"
    ):
        shared_storage.require_shared(one, ".runs", root / "data")
    monkeypatch.setattr(shared_storage, "is_upload", lambda: False)
    shared_storage.require_shared(one, ".runs", root / "data")
