"""`python -m pipeline.weights`: what goes in comes out, and what a file is called is what it is."""

import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from resnet.architectures import ARCHITECTURES
from resnet.weights import load, save, to_torchvision
from resnet.weights.keras import theirs as in_keras
from tests.weights_maker import LINE_18, SMALL, lively, refusal, run, theirs

ROOT = Path(__file__).parents[2]
State = dict[str, Tensor]


def equal(a: State, b: State) -> bool:
    return list(a) == list(b) and all(a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def resnet18() -> State:
    return theirs(18).state_dict()


@pytest.fixture(scope="module")
def imported(resnet18: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torchvision's resnet18 as a file of ours."""
    folder = tmp_path_factory.mktemp("imported")
    torch.save(resnet18, folder / "r18.pth")
    run("import", folder / "r18.pth", folder / "r18.safetensors")
    return folder / "r18.safetensors"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    save(lively(SMALL), tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


@pytest.mark.parametrize("depth", [18, 50])
def test_from_torchvision_and_back(depth: int, tmp_path: Path) -> None:
    before = theirs(depth)
    torch.save(before.state_dict(), tmp_path / "in.pth")
    run("import", tmp_path / "in.pth", tmp_path / "ours.safetensors")
    network = load(tmp_path / "ours.safetensors")
    assert equal(to_torchvision(network), before.state_dict())
    run("export", tmp_path / "ours.safetensors", tmp_path / "out.pth")
    run("export", tmp_path / "ours.safetensors", tmp_path / "out.safetensors", "--format", "torchvision")
    exported = torch.load(tmp_path / "out.pth", weights_only=True)
    assert {type(tensor) for tensor in exported.values()} == {Tensor}
    after = theirs(depth)
    after.load_state_dict(exported)
    assert equal(after.state_dict(), before.state_dict())
    run("import", tmp_path / "out.safetensors", tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "ours.safetensors").read_bytes()


def parallel(state: State) -> State:
    return {f"module.{name}": tensor for name, tensor in state.items()}


FORMS: dict[str, Callable[[State, Path], Any]] = {
    "state_dict": lambda state, path: torch.save({"state_dict": state, "epoch": 90, "arch": "resnet18"}, path),
    "model": lambda state, path: torch.save({"model": parallel(state)}, path),
    "parameters": lambda state, path: torch.save(parallel({n: nn.Parameter(t, False) for n, t in state.items()}), path),
    "before torch 1.6": lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
    "safetensors": lambda state, path: save_file(state, path, {"format": "pt"}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_state_dict(
    form: str, resnet18: State, imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All under a suffix that says something else."""
    FORMS[form](resnet18, tmp_path / "file.h5")
    run("import", tmp_path / "file.h5", tmp_path / "out.safetensors")
    assert (tmp_path / "out.safetensors").read_bytes() == imported.read_bytes()
    assert capsys.readouterr().out == f"{tmp_path}/out.safetensors: {LINE_18.format('from torchvision')}"


def test_files_from_before_batches_were_counted(resnet18: State, tmp_path: Path) -> None:
    """torch before 0.4.1 had no num_batches_tracked, and neither have the files that torchvision first published."""
    old = {name: tensor for name, tensor in resnet18.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    run("import", tmp_path / "old.pth", tmp_path / "new.safetensors")
    state = to_torchvision(load(tmp_path / "new.safetensors"))
    assert all(torch.equal(state[name], tensor) for name, tensor in old.items())
    assert {int(state[name]) for name in resnet18 if name not in old} == {0}


@pytest.fixture(scope="module")
def keras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keras's ResNet50 for 3 classes, layer by layer, as its older .h5 files are."""
    path = tmp_path_factory.mktemp("keras") / "resnet50.h5"
    network = lively(ARCHITECTURES["keras-resnet50"], classes=3).half()
    names = [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]
    layers = {in_keras(name).partition("/")[0]: None for name in names}
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for name in names:
            layer, _, variable = in_keras(name).partition("/")
            tensor = network.state_dict()[name]
            axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[tensor.dim()]
            file[f"{layer}/{layer}/{variable}:0"] = tensor.permute(axes).numpy()
    return path


@pytest.mark.parametrize("form", ["h5", "keras"])
def test_from_keras(form: str, keras: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file.pth"
    if form == "h5":
        file.symlink_to(keras)
    else:
        with zipfile.ZipFile(file, "w") as archive:
            archive.write(keras, "model.weights.h5")
    run("import", file, tmp_path / "out.safetensors")
    line = "keras-resnet50, 3 classes, 23,540,739 parameters, 3,855,931,392 multiply-adds at 224 pixels; "
    assert capsys.readouterr().out == f"{tmp_path}/out.safetensors: {line}from Keras\n"
    read, made = load(tmp_path / "out.safetensors"), lively(ARCHITECTURES["keras-resnet50"], classes=3).half()
    counted = {name: torch.zeros_like(t) if "num_batches" in name else t for name, t in made.state_dict().items()}
    assert equal(read.state_dict(), counted)


def test_nothing_is_unpickled(
    resnet18: State, keras: Path, imported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every kind of file is read where pickle cannot be."""
    for form, write in FORMS.items():
        write(resnet18, tmp_path / form)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something was unpickled")

    for name in ("load", "loads"):
        monkeypatch.setattr(pickle, name, refuse)
    for name in ("Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, type(name, (), {"__init__": refuse}))
    with pytest.raises(AssertionError, match="unpickled"):
        torch.load(tmp_path / "model", weights_only=False)
    for file in (*(tmp_path / form for form in FORMS), keras, imported):
        run("check", file)


def test_force_replaces(small: Path, imported: Path) -> None:
    run("import", imported.with_suffix(".pth"), small, "--force")
    assert small.read_bytes() == imported.read_bytes()


def test_without_h5py(keras: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert refusal("check", keras) == "h5py is not installed; install it with: pip install '.[keras]'"


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys, contextlib\nfrom pipeline.weights.__main__ import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "print(sorted({'torch', 'numpy', 'pydantic', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("usage: python -m pipeline.weights")
    assert done.stdout.endswith("\n[]\n")


def test_as_a_command(small: Path, tmp_path: Path) -> None:
    """One line on stdout of what was done, or one on stderr of what was not."""
    pytest.importorskip("onnxruntime")

    def command(*words: str | Path) -> "subprocess.CompletedProcess[str]":
        full = [sys.executable, "-m", "pipeline.weights", *map(str, words)]
        return subprocess.run(full, cwd=ROOT, capture_output=True, text=True, timeout=120)

    done = command("export", small, tmp_path / "a.onnx")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done
    assert done.stdout.startswith(f"{tmp_path}/a.onnx: cifar-resnet-20 with blocks=1,1, width=4, 10 classes, ")
    assert "Warning" not in done.stderr
    refused = command("check", tmp_path / "a.onnx")
    message = f"error: {tmp_path}/a.onnx: is no weights file; known are safetensors, torch.save's and Keras's\n"
    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", message)
