"""`python -m pipeline weights`: what goes in comes out, a file is what it is said to be, and nothing is unpickled."""

import io
import os
import pickle
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from resnet.architectures import ARCHITECTURES, changed
from resnet.weights import encode, load, save, to_torchvision
from resnet.weights.keras import theirs as in_keras
from tests.factories.weights import SMALL, lively, of_torchvision, refusal, run

State = dict[str, Tensor]
LINE_18 = "resnet-18 with shortcut=B, 10 classes, 11,181,642 parameters, 1,813,566,464 multiply-adds at 224 pixels; "
FINITE = "every value is finite"


def equal(a: State, b: State) -> bool:
    return list(a) == list(b) and all(a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def resnet18() -> State:
    return of_torchvision(18).state_dict()


@pytest.fixture(scope="module")
def imported(resnet18: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torchvision's resnet18.pth imported; next to it, the original."""
    folder = tmp_path_factory.mktemp("imported")
    torch.save(resnet18, folder / "r18.pth")
    run("import", folder / "r18.pth", folder / "r18.safetensors")
    return folder / "r18.safetensors"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    save(lively(SMALL), tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


def test_from_torchvision_and_back(tmp_path: Path) -> None:
    before = of_torchvision(18)
    torch.save(before.state_dict(), tmp_path / "in.pth")
    run("import", tmp_path / "in.pth", tmp_path / "ours.safetensors")
    assert equal(to_torchvision(load(tmp_path / "ours.safetensors")), before.state_dict())
    run("export", tmp_path / "ours.safetensors", tmp_path / "out.pth")
    run("export", tmp_path / "ours.safetensors", tmp_path / "out.safetensors", "--format", "torchvision")
    exported = torch.load(tmp_path / "out.pth", weights_only=True)
    assert {type(tensor) for tensor in exported.values()} == {Tensor}
    after = of_torchvision(18)
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
    """The suffix, here a wrong one, decides nothing."""
    FORMS[form](resnet18, tmp_path / "file.h5")
    run("import", tmp_path / "file.h5", tmp_path / "out.safetensors")
    assert (tmp_path / "out.safetensors").read_bytes() == imported.read_bytes()
    assert capsys.readouterr().out == f"{tmp_path}/out.safetensors: {LINE_18}from torchvision\n"


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
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = list(dict.fromkeys(in_keras(name).partition("/")[0].encode() for name in names))
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


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mknod, (str(self.canary),)


def evil(path: Path, canary: Path) -> Iterator[Path]:
    """Yields files that make `canary` when they are unpickled."""
    tensors = {"conv1.weight": torch.zeros(1)}
    for name, content in (("value", {**tensors, "x": Touch(canary)}), ("root", Touch(canary))):
        for new in (True, False):
            torch.save(content, path / f"{name}-{new}.pth", _use_new_zipfile_serialization=new)
            yield path / f"{name}-{new}.pth"
    (path / "raw.pth").write_bytes(pickle.dumps({**tensors, "x": Touch(canary)}, protocol=2))
    yield path / "raw.pth"


def test_no_program_in_a_file_is_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for file in evil(tmp_path, canary):
        assert refusal("check", file).startswith(f"{file}: ")
        assert refusal("import", file, tmp_path / "out.safetensors").startswith(f"{file}: ")
        assert refusal("export", file, tmp_path / "out.onnx").startswith(f"{file}: ")
    message = refusal("check", tmp_path / "value-True.pth")
    assert message.startswith(f"{tmp_path}/value-True.pth: holds more than tensors (posix.mknod), ")
    assert message.endswith("of which nothing was run; save the state dict only: torch.save(model.state_dict(), FILE)")
    assert not canary.exists()
    pickle.loads((tmp_path / "raw.pth").read_bytes())
    assert canary.exists()  # so the files would have


def test_check_says_what_a_file_is(imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = lively(SMALL, channels=1)
    (tmp_path / "weights.safetensors").write_bytes(encode(network, {"key": "0123", "size": "8"}))  # as a run does
    run("check", tmp_path / "weights.safetensors")
    run("check", imported)
    run("check", imported.with_suffix(".pth"), "--network", "resnet-18", "--set", "shortcut=B")
    run("check", tmp_path / "weights.safetensors", "--network", "plain-18", "--set", "stem=cifar", "--set", "width=4",
        "--set", "blocks=1,1", "--set", "shortcut=A")  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    small = "cifar-resnet-20 with blocks=1,1, width=4, 1-channel images, 10 classes, 1,334 parameters, "
    assert lines == [
        f"{tmp_path}/weights.safetensors: this project's, {small}34,640 multiply-adds at 8 pixels; {FINITE}",
        f"{imported}: this project's, {LINE_18}{FINITE}",
        f"{imported.with_suffix('.pth')}: torchvision, {LINE_18}{FINITE}",
        lines[0],
    ]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (("resnet-18",), "not resnet-18: shortcut is B, not A"),
        (("resnet-18", "shortcut=B", "bn_epsilon=1e-3"),
         "not resnet-18 shortcut=B bn_epsilon=1e-3: bn_epsilon is 1e-05, not 0.001"),
        (("resnet-19",), "--network: unknown network 'resnet-19', did you mean resnet-1"),
        (("resnet-18", "shortcuts=B"), "--network: an architecture has no field 'shortcuts', did"),
        (("resnet-18", "shortcut=D"), "--network: shortcut must be one of none, A, B, C, got 'D'"),
        (("resnet-18", "bn_epsilon="), "--network: bn_epsilon must be a number, got ''"),
    ],
)  # fmt: skip
def test_check_refuses_another_network(wanted: tuple[str, ...], message: str, imported: Path) -> None:
    settings = [word for setting in wanted[1:] for word in ("--set", setting)]
    said = refusal("check", imported, "--network", wanted[0], *settings).removeprefix(f"{imported}: ")
    assert said.startswith(message)


def test_the_stride_of_a_bottleneck_separates_networks(tmp_path: Path) -> None:
    """Their tensors do not: torchvision's ResNet-50 has the paper's names and shapes, and computes something else."""
    network = changed(SMALL, {"block": "bottleneck", "stride_on": "3x3", "shortcut": "B"})
    save(lively(network), tmp_path / "w.safetensors")
    like = ["--network", "resnet-50", "--set", "stem=cifar", "--set", "blocks=[1, 1]", "--set", "width=4"]
    run("check", tmp_path / "w.safetensors", *like, "--set", "stride_on=3x3")
    assert refusal("check", tmp_path / "w.safetensors", *like).endswith(": stride_on is 3x3, not 1x1")


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_values_that_are_not_finite(value: float, tmp_path: Path) -> None:
    network = lively(SMALL)
    with torch.no_grad():
        for name in ("conv3_x.0.residual.bn2.running_var", "head.fc.bias"):
            network.state_dict()[name][1:3] = value
    save(network, tmp_path / "w.safetensors")
    message = f"{tmp_path}/w.safetensors: conv3_x.0.residual.bn2.running_var: 2 of 8 values are NaN or infinite"
    assert refusal("check", tmp_path / "w.safetensors") == message
    assert refusal("export", tmp_path / "w.safetensors", tmp_path / "out.onnx") == message
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def archive(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return buffer.getvalue()


def saved(content: Any, *, new: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


OURS = encode(lively(SMALL))
NONE = "damaged, or no weights file; known are safetensors, torch.save's and Keras's"
UNREADABLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", NONE),
    "pickle": (pickle.dumps({"a": 1}), NONE),
    "TorchScript": (archive({"a/data.pkl": b"", "a/constants.pkl": b"", "a/version": b"3"}), NONE),
    "cut safetensors": (OURS[:-1], "damaged or no safetensors file (Error while deserializing header"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "damaged HDF5 or zip archive ("),
    "tensor": (saved(torch.zeros(3)), "holds no state dict, a table of tensors by name"),
    "checkpoint": (saved({"net": {"a": torch.zeros(3)}}), "'net' is a dict; a state dict holds tensors by name"),
    "sparse": (saved({"a": torch.eye(3).to_sparse()}), "'a' is a tensor of torch.float32, torch.sparse_coo"),
    "another's name": (saved({"a\x1b[2J\n": torch.zeros(3)}), "not a state dict of torchvision's resnet18"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_files(name: str, tmp_path: Path) -> None:
    content, message = UNREADABLE[name]
    file = tmp_path / "file"
    file.write_bytes(content)
    assert refusal("import", file, tmp_path / "out.safetensors").startswith(f"{file}: {message}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


REFUSED = [
    ("check none.pth", "{folder}/none.pth: not readable (No such file or directory)"),
    ("check folder.onnx", "{folder}/folder.onnx: not readable (Is a directory)"),
    ("import pth small", "{small}: exists already; --force replaces it"),
    ("import pth new.pth", "{new}.pth: must end in .safetensors"),
    ("import pth no/a.safetensors", "{folder}/no/a.safetensors: not written (No such file or directory)"),
    ("import small new.safetensors", "{small}: is a file of this project already; there is nothing to import"),
    ("export small new.safetensors", "{new}.safetensors: must end in .pth, in .onnx, or"),
    ("export small new.onnx --size 0", "--size: must be from 1 to 4096 pixels, and belongs to ONNX only; got 0"),
    ("export small new.onnx", "{small}: does not say on which images it was trained; add --size PIXELS"),
    ("export pth new.onnx", "{pth}: is a file of torchvision; first run: python -m pipeline weights import {pth} OUT"),
    ("export small folder.onnx --force", "{folder}/folder.onnx: is a folder; name a file"),
    ("export small new.pth", "{small}: torchvision has no such network: "),
]  # fmt: skip


@pytest.mark.parametrize(("command", "message"), REFUSED)
def test_refusals_write_nothing(command: str, message: str, imported: Path, small: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    before = small.read_bytes()
    paths = {"small": small, "pth": imported.with_suffix(".pth"), "new": tmp_path / "new", "folder": tmp_path}
    words = [str(paths.get(word, tmp_path / word if "." in word else word)) for word in command.split()]
    assert refusal(*words).startswith(message.format(**paths))
    assert small.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.onnx", "small.safetensors"]


def test_force_replaces(small: Path, imported: Path) -> None:
    run("import", imported.with_suffix(".pth"), small, "--force")
    assert small.read_bytes() == imported.read_bytes()


@pytest.mark.parametrize(("package", "words"), [("h5py", ["check", "{keras}"]),
    ("onnxruntime", ["export", "{small}", "{folder}/a.onnx", "--size", "32"])])  # fmt: skip
def test_without_an_extra(
    package: str, words: list[str], keras: Path, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as Python marks what cannot be imported
    extra = "keras" if package == "h5py" else "onnx"
    said = refusal(*(word.format(keras=keras, small=small, folder=tmp_path) for word in words))
    assert said == f"{package} is not installed; install it with: pip install '.[{extra}]'"
