"""What `python -m pipeline.weights` refuses, each in one line, with nothing written and nothing run."""

import io
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from resnet.architectures import changed
from resnet.weights import encode, save
from tests.weights_maker import SMALL, Touch, lively, refusal, theirs


@pytest.fixture
def small(tmp_path: Path) -> Path:
    save(lively(SMALL), tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


def evil(path: Path, canary: Path) -> Iterator[Path]:
    """Files that make `canary` when they are unpickled."""
    tensors = {"conv1.weight": torch.zeros(1)}
    for name, content in (("value", {**tensors, "x": Touch(canary)}), ("root", Touch(canary))):
        for wrapped in (content, {"state_dict": content}):
            for new in (True, False):
                file = path / f"{name}-{wrapped is content}-{new}.pth"
                torch.save(wrapped, file, _use_new_zipfile_serialization=new)
                yield file
    (path / "raw.pth").write_bytes(pickle.dumps({**tensors, "x": Touch(canary)}, protocol=2))
    yield path / "raw.pth"


def test_no_program_in_a_file_is_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    files = list(evil(tmp_path, canary))
    assert len(files) == 9
    for file in files:
        assert refusal("check", file).startswith(f"{file}: ")
        assert refusal("import", file, tmp_path / "out.safetensors").startswith(f"{file}: ")
        assert refusal("export", file, tmp_path / "out.onnx").startswith(f"{file}: ")
    message = refusal("check", tmp_path / "value-True-True.pth")
    assert message == (
        f"{tmp_path}/value-True-True.pth: holds more than tensors (posix.mknod), of which nothing was run; "
        "save the state dict alone: torch.save(model.state_dict(), FILE)"
    )
    assert not canary.exists()
    assert not (tmp_path / "out.safetensors").exists()
    pickle.loads((tmp_path / "raw.pth").read_bytes())
    assert canary.exists()  # so the files would have


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
INTEGERS = {"conv1.weight": torch.zeros(3, dtype=torch.int32)}
DENSE = "expected dense values of float16, bfloat16, float32, float64"
UNREADABLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "text": (b"# weights\n", "is no weights file; known are safetensors, torch.save's and Keras's"),
    "pickle": (pickle.dumps({"a": 1}), "is no weights file; known are safetensors, torch.save's and Keras's"),
    "cut zip": (saved({"a": torch.zeros(99)})[:900], "damaged or cut off (File is not a zip file); fetch it again"),
    "zip": (archive({"a.txt": b"a"}), "is a zip archive of neither torch nor Keras"),
    "zip with nonsense": (archive({"a/data.pkl": b"\0", "a/version": b"3"}), "damaged or no file of torch.save ("),
    "TorchScript": (
        archive({"a/data.pkl": b"", "a/constants.pkl": b"", "a/version": b"3"}),
        "holds more than tensors (a TorchScript program), of which nothing was run; save the state dict alone",
    ),
    "cut legacy": (saved({"a": torch.zeros(99)}, new=False)[:200], "damaged or no file of torch.save ("),
    "cut safetensors": (OURS[:-1], "damaged or no safetensors file (Error while deserializing header"),
    "safetensors' start": (OURS[:9], "damaged or no safetensors file (Error while deserializing header"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "damaged HDF5 ("),
    "tensor": (saved(torch.zeros(3)), "holds no state dict, a table of tensors by name"),
    "nothing": (saved({}), "holds no state dict, a table of tensors by name"),
    "numbered": (saved({0: torch.zeros(3)}), "holds no state dict, a table of tensors by name"),
    "checkpoint": (saved({"net": {"a": torch.zeros(3)}}), "'net' is a dict; a state dict holds tensors alone"),
    "integers": (saved(INTEGERS), f"'conv1.weight' is a tensor of int32, strided, on cpu; {DENSE}"),
    "sparse": (saved({"a": torch.eye(3).to_sparse()}), f"'a' is a tensor of float32, sparse_coo, on cpu; {DENSE}"),
    "meta": (saved({"a": torch.empty(3, device="meta")}), f"'a' is a tensor of float32, strided, on meta; {DENSE}"),
    "float counter": (
        saved({"bn1.num_batches_tracked": torch.tensor(1.0)}),
        "'bn1.num_batches_tracked' is a tensor of float32, strided, on cpu; expected dense values of int64",
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_files(name: str, tmp_path: Path) -> None:
    content, message = UNREADABLE[name]
    file = tmp_path / "file"
    file.write_bytes(content)
    assert refusal("check", file).startswith(f"{file}: {message}")
    assert refusal("import", file, tmp_path / "out.safetensors").startswith(f"{file}: {message}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_names_that_would_break_the_line(tmp_path: Path) -> None:
    torch.save({**theirs(18).state_dict(), "a\x1b[2J\n": torch.zeros(3)}, tmp_path / "file")
    message = refusal("check", tmp_path / "file")
    assert message.startswith(f"{tmp_path}/file: not torchvision's weights (in our names): a?[2J")


def test_where_there_is_no_file(tmp_path: Path) -> None:
    assert refusal("check", tmp_path / "none.pth") == f"{tmp_path}/none.pth: not there"
    assert refusal("check", tmp_path) == f"{tmp_path}: is a folder; name the file in it"
    assert refusal("check", "/dev/null") == "/dev/null: is no regular file"


WHERE = [
    ("import pth small", "{small}: is there already; --force replaces it"),
    ("import pth new.pth", "{new}.pth: must end in .safetensors"),
    ("import pth no/a.safetensors", "{folder}/no: no such folder; make it first"),
    ("import small new.safetensors", "{small}: is a file of this project already; there is nothing to import"),
    ("export small new.h5", "{new}.h5: must end in .pth (torchvision) or .onnx"),
    (
        "export small new.safetensors",
        "{new}.safetensors: FILE is safetensors already; for torchvision's names add --format torchvision",
    ),
    ("export small new.pth --format onnx", "{new}.pth: a file for onnx must end in .onnx"),
    (
        "export small new.onnx --format torchvision",
        "{new}.onnx: a file for torchvision must end in .pth or .safetensors",
    ),
    ("export small new.onnx --size 0", "--size: must be from 1 to 4096 pixels, and belongs to ONNX alone; got 0"),
    ("export small new.pth --size 64", "--size: must be from 1 to 4096 pixels, and belongs to ONNX alone; got 64"),
    ("export pth new.onnx", "{pth}: is a file of torchvision; first run: python -m pipeline.weights import {pth} OUT"),
    ("export small small --format torchvision", "{small}: is there already; --force replaces it"),
    ("export small folder.onnx --force", "{folder}/folder.onnx: is a folder; name a file"),
]


@pytest.fixture(scope="module")
def pth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("theirs") / "resnet18.pth"
    torch.save(theirs(18).state_dict(), path)
    return path


@pytest.mark.parametrize(("command", "message"), WHERE)
def test_nothing_is_written(command: str, message: str, pth: Path, small: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    before = small.read_bytes()
    paths = {"small": small, "pth": pth, "new": tmp_path / "new", "folder": tmp_path}
    words = [str(paths.get(word, tmp_path / word if "." in word else word)) for word in command.split()]
    assert refusal(*words) == message.format(**paths)
    assert small.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.onnx", "small.safetensors"]


@pytest.mark.parametrize("length", [240, 300])
def test_what_the_disk_refuses(length: int, pth: Path, tmp_path: Path) -> None:
    """A name that is too long as it is, or for the temporary file beside it."""
    out = tmp_path / f"{'a' * length}.safetensors"
    assert refusal("import", pth, out) == f"{out}: not written (File name too long)"
    assert list(tmp_path.iterdir()) == []


def test_a_plain_network_is_none_of_torchvisions(tmp_path: Path) -> None:
    save(lively(changed(SMALL, {"shortcut": "none"})), tmp_path / "plain.safetensors")
    message = refusal("export", tmp_path / "plain.safetensors", tmp_path / "plain.pth")
    assert message.startswith(f"{tmp_path}/plain.safetensors: torchvision has no such network: ")
    assert message.endswith("; it has resnet-18 to resnet-152 with shortcut B and stride_on 3x3")
