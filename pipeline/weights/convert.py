"""Converts weights from torchvision and Keras, to torchvision and ONNX, and says what a file holds."""

import argparse
import io
import os
from pathlib import Path

import torch
from safetensors.torch import save as to_safetensors

from pipeline.errors import UserError
from pipeline.storage import write_bytes
from pipeline.weights.files import WeightsFile, read, refuse_infinite
from pipeline.weights.onnx import BATCHES, to_onnx
from resnet.network import Network
from resnet.weights import WrongWeights, encode, to_torchvision
from resnet.weights.names import describe, named, text_of_difference

SUFFIXES = {"torchvision": (".pth", ".safetensors"), "onnx": (".onnx",)}  # of exported files
MAX_SIZE = 4096  # pixels


def main(arguments: argparse.Namespace) -> None:
    """Runs an action of `python -m pipeline weights` and prints one line. Raises UserError before it writes."""
    if arguments.action == "import":
        print(import_file(arguments.file, arguments.out, force=arguments.force))
    elif arguments.action == "export":
        size, force = arguments.size, arguments.force
        print(export_file(arguments.file, arguments.out, arguments.format, size, force=force))
    else:
        print(check_file(arguments.file, arguments.network, arguments.set))


def import_file(file: Path, out: Path, *, force: bool = False) -> str:
    """Writes torchvision's or Keras's weights as a file of this project. Returns what it wrote."""
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: must end in .safetensors")
    _check_out(out, force)
    found = read(file)
    if found.kind == "this project's":
        raise UserError(f"{file}: is a file of this project already; there is nothing to import")
    refuse_infinite(file, found.network)
    _write(out, encode(found.network, {"size": str(found.size)}))
    return f"{out}: {describe(found.network, found.size)}; from {found.kind}"


def export_file(file: Path, out: Path, form: str | None = None, size: int | None = None, *, force: bool = False) -> str:
    """Writes a file of this project for torchvision or ONNX, by default by the suffix of `out`. Returns what it wrote.

    `size` is the height and width of ONNX's images, by default of those that the network was trained on.
    """
    form = _form(out, form)
    if size is not None and (form != "onnx" or not 1 <= size <= MAX_SIZE):
        raise UserError(f"--size: must be from 1 to {MAX_SIZE} pixels, and belongs to ONNX only; got {size}")
    _check_out(out, force)
    found = read(file)
    if found.kind != "this project's":
        raise UserError(f"{file}: is a file of {found.kind}; first run: python -m pipeline weights import {file} OUT")
    refuse_infinite(file, found.network)
    if form == "onnx":
        content, note = _onnx(file, found, size or found.size)
    else:
        content, note = _torchvision(file, found.network, out.suffix), ""
    _write(out, content)
    return f"{out}: {describe(found.network, size or found.size)}; for {form}{note}"


def check_file(file: Path, network: str | None = None, settings: list[str] | None = None) -> str:
    """Returns what a file is. Raises UserError for values that are not finite and for another network."""
    if settings and network is None:
        raise UserError("--set changes a field of --network NAME; add it")
    try:
        wanted = None if network is None else named(network, settings or [])
    except ValueError as error:
        raise UserError(f"--network: {error}") from None
    found = read(file)
    if wanted is not None and (difference := text_of_difference(found.network.architecture, wanted)):
        raise UserError(f"{file}: not {' '.join([str(network), *(settings or [])])}: {difference}")
    refuse_infinite(file, found.network)
    return f"{file}: {found.kind}, {describe(found.network, found.size)}; every value is finite"


def _form(out: Path, form: str | None) -> str:
    form = form or {".pth": "torchvision", ".onnx": "onnx"}.get(out.suffix, "")
    if out.suffix not in SUFFIXES.get(form, ()):
        raise UserError(f"{out}: must end in .pth, in .onnx, or in .safetensors with --format torchvision")
    return form


def _onnx(file: Path, found: WeightsFile, size: int | None) -> tuple[bytes, str]:
    if size is None:
        raise UserError(f"{file}: does not say on which images it was trained; add --size PIXELS")
    content, difference = to_onnx(found.network, size)
    batches = ", ".join(map(str, BATCHES))
    note = f", images of {size} pixels; onnxruntime's logits within {difference:.1e} of torch's on batches of {batches}"
    return content, note


def _torchvision(file: Path, network: Network, suffix: str) -> bytes:
    try:
        tensors = {name: tensor.contiguous() for name, tensor in to_torchvision(network).items()}
    except WrongWeights as error:
        raise UserError(f"{file}: {error}") from None
    if suffix == ".safetensors":
        content: bytes = to_safetensors(tensors, metadata={"format": "pt"})
        return content
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


def _check_out(out: Path, force: bool) -> None:
    if os.path.isdir(out):  # raises no error for a name that is too long, which `_write` refuses
        raise UserError(f"{out}: is a folder; name a file")
    if os.path.lexists(out) and not force:
        raise UserError(f"{out}: exists already; --force replaces it")


def _write(out: Path, content: bytes) -> None:
    try:
        write_bytes(out, content)
    except OSError as error:
        raise UserError(f"{out}: not written ({error.strerror})") from None
