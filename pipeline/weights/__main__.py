"""Weights from torchvision and Keras, to torchvision and ONNX, and what a file holds."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UserError, run_stage

if TYPE_CHECKING:
    from resnet.network import Network

SUFFIXES = {"torchvision": (".pth", ".safetensors"), "onnx": (".onnx",)}
MAX_SIZE = 4096  # pixels


def main(arguments: list[str] | None = None) -> None:
    """Prints one line. Raises UserError before anything is written."""
    asked = _parser().parse_args(arguments)
    match asked.command:
        case "import":
            import_file(asked.file, asked.out, force=asked.force)
        case "export":
            export_file(asked.file, asked.out, asked.format, asked.size, force=asked.force)
        case "check":
            check_file(asked.file, asked.network, asked.set)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.weights", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="import | export | check")
    into = commands.add_parser("import", help="a file of torchvision or Keras -> OUT.safetensors")
    into.add_argument("file", type=Path, help="torchvision's .pth or .safetensors; Keras's .keras or .h5")
    into.add_argument("out", type=Path, help="what to write, .safetensors")
    out = commands.add_parser(
        "export", help="a run's weights.safetensors, or a file of `import` -> torchvision or ONNX"
    )
    out.add_argument("file", type=Path, help="for example runs/<experiment>/<run>/weights.safetensors")
    out.add_argument("out", type=Path, help="what to write: .pth, .onnx, or .safetensors with --format torchvision")
    out.add_argument("--format", choices=list(SUFFIXES), help="default: by the suffix of OUT")
    out.add_argument("--size", type=int, metavar="PIXELS", help="of ONNX's images; default 224, of a CIFAR network 32")
    for command in (into, out):
        command.add_argument("--force", action="store_true", help="replace OUT where it exists")
    check = commands.add_parser("check", help="say what a file is, and refuse a damaged or another one")
    check.add_argument("file", type=Path)
    check.add_argument("--network", metavar="NAME", help="refuse the weights of any other network")
    check.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of NAME, such as shortcut=B")
    return parser


def import_file(file: Path, out: Path, *, force: bool = False) -> None:
    """Writes torchvision's or Keras's weights as a file of this project."""
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: must end in .safetensors")
    _vacant(out, force)
    from pipeline.weights import network_names, weight_files
    from resnet.weights import encode

    found = weight_files.read(file)
    if found.kind == "this project's":
        raise UserError(f"{file}: is a file of this project already; there is nothing to import")
    weight_files.refuse_infinite(file, found.network)
    _write(out, encode(found.network))
    print(f"{out}: {network_names.describe(found.network)}; from {found.kind}")


def export_file(
    file: Path, out: Path, form: str | None = None, size: int | None = None, *, force: bool = False
) -> None:
    """Writes one of our files as torchvision or ONNX has it."""
    form = _form(out, form)
    if size is not None and (form != "onnx" or not 1 <= size <= MAX_SIZE):
        raise UserError(f"--size: must be from 1 to {MAX_SIZE} pixels, and belongs to ONNX alone; got {size}")
    _vacant(out, force)
    from pipeline.weights import network_names, weight_files

    found = weight_files.read(file)
    if found.kind != "this project's":
        raise UserError(f"{file}: is a file of {found.kind}; first run: python -m pipeline.weights import {file} OUT")
    weight_files.refuse_infinite(file, found.network)
    content, note = (
        _onnx(found.network, size) if form == "onnx" else (_torchvision(file, found.network, out.suffix), "")
    )
    _write(out, content)
    print(f"{out}: {network_names.describe(found.network)}; for {form}{note}")


def _form(out: Path, asked: str | None) -> str:
    if asked is None and out.suffix == ".safetensors":
        raise UserError(f"{out}: FILE is safetensors already; for torchvision's names add --format torchvision")
    form = asked or next((form for form, suffixes in SUFFIXES.items() if out.suffix in suffixes), None)
    if form is None:
        raise UserError(f"{out}: must end in .pth (torchvision) or .onnx")
    if out.suffix not in SUFFIXES[form]:
        raise UserError(f"{out}: a file for {form} must end in {' or '.join(SUFFIXES[form])}")
    return form


def _onnx(network: "Network", size: int | None) -> tuple[bytes, str]:
    from pipeline.weights.network_names import PIXELS
    from pipeline.weights.onnx_export import BATCHES, to_onnx

    size = PIXELS[network.architecture.stem] if size is None else size
    content, difference = to_onnx(network, size)
    batches = ", ".join(map(str, BATCHES))
    note = f", images of {size} pixels; onnxruntime's logits within {difference:.1e} of torch's on batches of {batches}"
    return content, note


def _torchvision(file: Path, network: "Network", suffix: str) -> bytes:
    import io

    import torch
    from safetensors.torch import save

    from resnet.weights import WrongWeights, to_torchvision

    try:
        tensors = {name: tensor.contiguous() for name, tensor in to_torchvision(network).items()}
    except WrongWeights as error:
        raise UserError(f"{file}: {error}") from None
    if suffix == ".safetensors":
        content: bytes = save(tensors, metadata={"format": "pt"})
        return content
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


def check_file(file: Path, network: str | None = None, settings: list[str] | None = None) -> None:
    """Says what a file is. Raises UserError for values that are not finite, and for another network than asked."""
    if settings and network is None:
        raise UserError("--set changes a field of --network NAME; add it")
    from pipeline.weights import network_names, weight_files
    from resnet.weights import WrongWeights

    try:
        wanted = None if network is None else network_names.named(network, settings or [])
    except ValueError as error:
        raise UserError(f"--network: {error}") from None
    found = weight_files.read(file)
    if wanted is not None:
        name = " ".join([str(network), *(settings or [])])
        try:
            network_names.refuse_other(found.network, wanted, f"{file}: not {name}")
        except WrongWeights as error:
            raise UserError(str(error)) from None
    weight_files.refuse_infinite(file, found.network)
    print(f"{file}: {found.kind}, {network_names.describe(found.network)}; every value is finite")


def _vacant(out: Path, force: bool) -> None:
    if os.path.isdir(out):  # of os.path, which knows no error: a name that is too long is refused by `_write`
        raise UserError(f"{out}: is a folder; name a file")
    if not os.path.isdir(out.parent):
        raise UserError(f"{out.parent}: no such folder; make it first")
    if os.path.lexists(out) and not force:
        raise UserError(f"{out}: is there already; --force replaces it")


def _write(out: Path, content: bytes) -> None:
    from pipeline.store.records import write_bytes

    try:
        write_bytes(out, content)
    except OSError as error:
        raise UserError(f"{out}: not written ({error.strerror})") from None


if __name__ == "__main__":
    run_stage(main)
