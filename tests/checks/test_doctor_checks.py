"""What the doctor says of versions, devices, space, clocks and tokens, well and not so."""

import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.checks import authentication, clocks, devices, examination, nodes, room, versions
from pipeline.checks.devices import Devices
from pipeline.checks.line import Line, refused, size
from pipeline.checks.nodes import Answer, Node
from pipeline.checks.room import Room
from pipeline.cluster.capacity import Capacity
from pipeline.config.params import load
from pipeline.errors import UserError
from tests.params_maker import params, write

GPU_NODE, CPU_NODE = Node("a1", "10.0.0.2", 8.0, 2.0), Node("b2", "10.0.0.3", 8.0, 0.0)
CANARY = "canary-7d1f02-passphrase"
LOCK = Path(__file__).parents[2] / "requirements.lock"
GIB = 2**30


def test_a_line_is_one_line() -> None:
    assert str(Line("git", "clean\nand\tgood")) == "ok git: clean and good"
    assert str(Line("git", "none", "make one")) == "mend git: none; make one"
    assert refused("x", UserError("a: b; c; do d")) == Line("x", "a: b; c", "do d")
    assert not refused("x", UserError("without a way to mend it")).ok
    assert [size(value) for value in (0, 1023, 1536, 5 * GIB, 2**41)] == [
        "0 B",
        "1.02e+03 B",
        "1.5 KiB",
        "5 GiB",
        "2 TiB",
    ]


def test_nodes_that_share_an_address_are_told_apart() -> None:
    found: list[dict[str, Any]] = [
        {"NodeID": f"{i}" * 56, "NodeManagerAddress": address, "Resources": {"CPU": 2.0}, "Alive": True}
        for i, address in enumerate(["10.0.0.9", "10.0.0.2", "10.0.0.9"])
    ]
    assert [node.name for node in nodes.named(found)] == ["10.0.0.2", "10.0.0.9/00000000", "10.0.0.9/22222222"]
    assert {(node.cpus, node.gpus) for node in nodes.named(found)} == {(2.0, 0.0)}


def test_versions_of_this_environment_are_the_locks() -> None:
    assert versions.of_driver(versions.installed(), LOCK).ok


def test_a_version_that_is_not_the_locks(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text('# pins\ntorch==9.9.9 ; platform_system == "Linux"\nray==0.1\nAbsent==1\n')
    here = versions.installed() | {"torch": "9.9.9+cpu", "ray": ""}
    line = str(versions.of_driver(here, tmp_path / "lock"))
    assert line == "mend versions: ray missing in place of 0.1; pip install -r requirements.lock"
    assert "No such file" in str(versions.of_driver(here, tmp_path / "none"))


def test_a_node_with_another_version_or_none_of_ours() -> None:
    here = versions.installed()
    other = here | {"torch": "1.0", "python": "3.9.1"}
    answers = [Answer(GPU_NODE, here), Answer(CPU_NODE, other), Answer(CPU_NODE, None, "No module named 'pipeline'")]
    well, differs, silent = [str(line) for line in versions.of_nodes(here, answers)]
    assert well == "ok versions on 10.0.0.2: as here"
    assert differs.startswith(
        f"mend versions on 10.0.0.3: python 3.9.1 in place of {here['python']}, torch 1.0 in place"
    )
    assert silent.startswith("mend versions on 10.0.0.3: nothing runs there: No module named 'pipeline'; share the")


@pytest.mark.parametrize(
    ("node", "files", "torch_gpus", "text"),
    [
        (GPU_NODE, 2, 2, "ok GPUs on 10.0.0.2: torch sees 2, Ray has 2"),
        (CPU_NODE, 0, 0, "ok GPUs on 10.0.0.3: torch sees 0, Ray has 0"),
        (Node("c", "head", 0.0, 0.0), 1, 1, "ok GPUs on head: torch sees 1, Ray has 0"),
        (GPU_NODE, 2, 0, "mend GPUs on 10.0.0.2: the machine has 2, torch sees 0, Ray has 2; install a torch"),
        (GPU_NODE, 0, 1, "mend GPUs on 10.0.0.2: torch sees 1, Ray has 2; start Ray there with --num-gpus"),
        (CPU_NODE, 4, 4, "mend GPUs on 10.0.0.3: torch sees 4, Ray has 0; start Ray there without --num-gpus=0"),
    ],
)
def test_gpus_as_the_machine_torch_and_ray_see_them(node: Node, files: int, torch_gpus: int, text: str) -> None:
    first, *_ = devices.lines(node, Devices(files, torch_gpus, "some GPU", True, None), compiling=False)
    assert str(first).startswith(text)


def test_a_compiler_is_asked_for_where_a_recipe_compiles() -> None:
    without = Devices(0, 0, "some CPU", False, "a C++ compiler (g++) on PATH")
    assert len(list(devices.lines(CPU_NODE, without, compiling=False))) == 2
    *_, line = devices.lines(CPU_NODE, without, compiling=True)
    assert str(line) == (
        "mend compiler on 10.0.0.3: lacks a C++ compiler (g++) on PATH; install it, or set train.compile: false"
    )
    *_, line = devices.lines(CPU_NODE, Devices(0, 0, "some CPU", False, None), compiling=True)
    assert str(line) == "ok compiler on 10.0.0.3: there"


def test_this_machines_devices_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # as Ray sets it for a task without GPUs
    seen = devices.look()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert seen.kind
    _, line = devices.lines(CPU_NODE, seen, compiling=False)
    assert "measured to be" in str(line)


def test_shared_memory_that_the_loaders_need(tmp_path: Path) -> None:
    data = {"dataset": "folder", "source": "photographs", "validation": 0.1, "test": 0.1}
    changes = {"tiny.data": data, "tiny.train.batch_size": 256, "tiny.resources.cpus": 4}
    experiment = load("tiny", write(tmp_path / "params.yaml", params(changes)))
    need = 2 * 3 * 4 * 256 * 3 * 224 * 224  # runs, workers of each, batches ahead of each, a batch's bytes
    assert room.loader_bytes(experiment, GPU_NODE) == need
    short, _ = room.of_node(GPU_NODE, Room(64 * 2**20, GIB, GIB), [experiment])
    assert str(short).startswith("mend shared memory on 10.0.0.2: 64 MiB free, DataLoader workers need ")
    assert "--shm-size" in str(short)
    enough, _ = room.of_node(GPU_NODE, Room(need, GIB, GIB), [experiment])
    assert enough.ok
    small = load("tiny", write(tmp_path / "params.yaml", params()))
    assert room.loader_bytes(small, GPU_NODE) == 0  # whole on the device


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "ok resources of tiny: a run takes 1 CPUs and 0 GPUs"),
        ({"tiny.resources.cpus": 3}, "mend resources of tiny: params.yaml: tiny.resources.cpus: a run asks for 3,"),
        ({"tiny.train.workers": 4}, "mend resources of tiny: params.yaml: tiny.networks.plain-18: train.workers: 4 "),
    ],
)
def test_what_the_cluster_can_never_hold(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    experiment = load("tiny", write(tmp_path / "params.yaml", params(changes)))
    assert str(examination.resources(Capacity(cpus=2.0, gpus=0.0, nodes=1, local=True), experiment)).startswith(words)


def test_disks_that_are_full(tmp_path: Path) -> None:
    _, full = room.of_node(CPU_NODE, Room(None, GIB, 100 * GIB), [])
    assert str(full).startswith("mend temporary files on 10.0.0.3: 1 GiB of 100 GiB free; free some")
    assert room.of_folder("space for data", tmp_path / "not" / "yet", 1).ok
    line = str(room.of_folder("space for data", tmp_path / "not" / "yet", 2**60))
    assert line.startswith("mend space for data: ")
    assert f"free in {tmp_path}, may take" in line
    seen = room.look()
    assert 0 < seen.temp <= seen.temp_total


def test_the_store_has_room_for_every_run_once(tmp_path: Path) -> None:
    """Experiments that share runs need their room once."""
    tiny = load("tiny", write(tmp_path / "params.yaml", params()))
    assert room.store_bytes([tiny]) == room.store_bytes([tiny, tiny])
    alone = load("tiny", write(tmp_path / "params.yaml", params({"tiny.seeds": [0]})))
    assert room.store_bytes([alone]) < room.store_bytes([tiny])


def test_clocks() -> None:
    def ask(asked: Any, *_: Any) -> list[Answer[Any]]:
        ahead = {"10.0.0.2": 0.0, "10.0.0.3": 60.0}[asked[0].name]
        return [Answer(asked[0], clocks.now() + ahead)]

    well, off = [str(line) for line in clocks.lines([GPU_NODE, CPU_NODE], ask)]
    assert well == "ok clock on 10.0.0.2: as this machine's"
    assert off.startswith("mend clock on 10.0.0.3: ")
    assert "run NTP" in off
    assert (clocks.off_s(10, 3, 11), clocks.off_s(10, 10.5, 11), clocks.off_s(10, 15, 11)) == (7, 0, 4)


def test_authentication(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{CANARY}\n")
    token.chmod(0o600)
    (tmp_path / "empty").touch()
    by_file = {"RAY_ADDRESS": "h:1", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    assert authentication.of_driver({}).ok
    assert authentication.of_driver(by_file).ok
    assert authentication.of_driver({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": CANARY}).ok
    token.chmod(0o644)
    bad = [
        authentication.of_driver({"RAY_ADDRESS": "h:1"}),
        authentication.of_driver({"RAY_AUTH_MODE": "disabled"}),
        authentication.of_driver(by_file),
        authentication.of_driver(by_file | {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")}),
        authentication.of_driver(by_file | {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "empty")}),
        authentication.of_node(CPU_NODE, token=False),
    ]
    assert [line for line in bad if line.ok] == []
    assert "chmod 600" in bad[2].mend
    assert [line for line in bad if CANARY in str(line)] == []
    assert authentication.of_node(CPU_NODE, token=True).ok
