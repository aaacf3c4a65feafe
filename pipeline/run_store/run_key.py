"""The key of a run: SHA-256 of all that decides its result, and of nothing else.

It covers the architecture, recipe and seed, the digest of the data, and the digest of the code in DECIDING. It covers
no names of experiments and networks, no resources, no versions of devices and software (each run records them).
"""

import ast
import dataclasses
import hashlib
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.config import Experiment, RunSpec
from pipeline.errors import UserError
from pipeline.records import Manifest
from resnet.architectures import Architecture
from resnet.counting import count
from resnet.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
TRAINING = (
    "resnet/architectures.py",
    "resnet/blocks.py",
    "resnet/device.py",
    "resnet/distributed.py",
    "resnet/evaluation.py",
    "resnet/in_memory_data.py",
    "resnet/network.py",
    "resnet/recipe.py",
    "resnet/sampling.py",
    "resnet/training.py",
    "pipeline/data/loader.py",
)
PHOTOGRAPHS = ("resnet/crops.py", "pipeline/data/shards.py", "pipeline/data/images.py")
# The code that decides the weights of a run, by the storage of its data. The stage `train` of dvc.yaml depends on it.
DECIDING = {"arrays": TRAINING, "shards": TRAINING + PHOTOGRAPHS}
MEASURING = (
    "resnet/batch_norm.py",
    "resnet/analysis/__init__.py",
    "resnet/analysis/hooks.py",
    "resnet/analysis/identity.py",
    "resnet/analysis/lesion.py",
    "resnet/analysis/noisy_inputs.py",
    "resnet/analysis/signals.py",
    "resnet/protocols.py",
    "pipeline/evaluation/analysis.py",
    "pipeline/evaluation/protocols.py",
)
# The code that decides the result of an evaluation. The stage `evaluate` of dvc.yaml depends on it.
EVALUATION = {
    "arrays": TRAINING + MEASURING,
    "shards": TRAINING + PHOTOGRAPHS + MEASURING + ("pipeline/data/shard_views.py",),
}


def plan(experiment: Experiment, manifest: Manifest) -> list[RunSpec]:
    """The runs of an experiment with their keys, in the order of params.yaml. Raises UserError where data do not fit
    a recipe."""
    code = code_digest(DECIDING[manifest.storage])
    for spec in experiment.runs:
        _check(spec, manifest)
    return [dataclasses.replace(spec, key=run_key(spec, manifest, code)) for spec in experiment.runs]


def run_key(spec: RunSpec, manifest: Manifest, code: str) -> str:
    """64 hexadecimal digits. Runs with equal keys are bit-identical on the same hardware and software."""
    content = {
        "architecture": _stated(spec.architecture),
        "recipe": _stated(spec.recipe),
        "seed": spec.seed,
        "data": manifest.digest(),
        "code": code,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _stated(value: Architecture | Recipe) -> dict[str, Any]:
    """Returns the fields that differ from their defaults, so that a field which is added later changes no key."""
    defaults = {field.name: field.default for field in dataclasses.fields(value)}
    return {name: stated for name, stated in dataclasses.asdict(value).items() if stated != defaults[name]}


@cache
def code_digest(files: tuple[str, ...]) -> str:
    """SHA-256 of the syntax of files, without comments, formatting, docstrings and the messages of exceptions."""
    trees = {name: _canonical(ast.parse((ROOT / name).read_bytes())) for name in files}
    return hashlib.sha256(json.dumps(trees, sort_keys=True).encode()).hexdigest()


_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _canonical(node: Any) -> Any:
    """The tree as JSON. Empty fields are left out, since they vary with Python's version."""
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        return ["Raise", _canonical(node.exc.func)]
    if isinstance(node, ast.AST):
        values = {field: value for field, value in ast.iter_fields(node) if value not in (None, [])}
        if isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
            values["body"] = node.body[1:]
        return [type(node).__name__, {field: _canonical(value) for field, value in values.items()}]
    if isinstance(node, list):
        return [_canonical(item) for item in node]
    return repr(node)


def _check(spec: RunSpec, manifest: Manifest) -> None:
    where = f"params.yaml: {spec.experiment}.networks.{spec.network}"
    if spec.recipe.batch_size > manifest.train.images:
        raise UserError(
            f"{where}: batch_size must be at most the {manifest.train.images} training images, "
            f"got {spec.recipe.batch_size}"
        )
    if spec.recipe.pad > manifest.size:
        raise UserError(f"{where}: pad must be at most the image's {manifest.size} pixels, got {spec.recipe.pad}")
    if manifest.storage == "shards" and spec.recipe.pad:
        raise UserError(f"{where}: pad is for small images (Sec. 4.2); set it to 0 here, got {spec.recipe.pad}")
    if spec.recipe.batch_size == spec.recipe.groups and _smallest_map(spec.architecture, manifest.size) == 1:
        raise UserError(
            f"{where}: batch normalisation needs more than one value per channel, got one image a group "
            f"(batch_size {spec.recipe.batch_size} in {spec.recipe.groups} groups) and maps of one pixel; raise "
            "batch_size, lower workers or batch_norm_groups, or take fewer stages in blocks"
        )


@cache
def _smallest_map(network: Architecture, size: int) -> int:
    """Returns the pixels of the network's last and smallest feature map, for images of `size` x `size`."""
    return min(math.prod(layer.output[1:]) for layer in count(network, classes=1, size=size).layers[:-1])
