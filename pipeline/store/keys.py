"""The key of a run: SHA-256 over all that decides its outcome, and over nothing else.

In it: the resolved architecture, recipe and seed, the digest of the data, and the digest of the code that training
imports. Not in it: names of experiments and rows, resources, device and software versions (recorded with each run).
"""

import ast
import hashlib
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.config.experiment import RunSpec
from pipeline.store.records import Manifest

ROOT = Path(__file__).resolve().parents[2]
TRAINING_CODE = {
    "arrays": ("resnet.training",),
    "shards": ("resnet.training", "pipeline.loading.shards", "pipeline.datasets.images"),
}
_EVALUATION = (
    "resnet.evaluation",
    "resnet.network",
    "resnet.peak",
    "pipeline.evaluation.assess_analysis",
    "pipeline.evaluation.assess_protocols",
)
EVALUATION_CODE = {
    "arrays": (*_EVALUATION, "resnet.data"),
    "shards": (*_EVALUATION, "pipeline.loading.shards", "pipeline.loading.shard_views", "pipeline.datasets.images"),
}


def run_key(spec: RunSpec, manifest: Manifest) -> str:
    """64 hexadecimal digits. Equal keys mean equal runs, bit for bit on the same hardware and software.

    Up to rounding alone where the recipe lets the number of workers change on the way (`min_workers`).
    """
    content = {
        "architecture": asdict(spec.architecture),
        "recipe": asdict(spec.recipe),
        "seed": spec.seed,
        "data": manifest.digest(),
        "code": code_digest(TRAINING_CODE[manifest.storage]),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@cache
def code_digest(roots: tuple[str, ...]) -> str:
    """Digest of these modules and of all of `resnet` that they import.

    As syntax: comments, docstrings and formatting do not count.
    """
    modules: dict[str, Any] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in modules:
            continue
        tree = ast.parse(_path(name).read_bytes())
        modules[name] = _canonical(tree)
        waiting.extend(_imported(tree))
    return hashlib.sha256(json.dumps(modules, sort_keys=True).encode()).hexdigest()


def _path(module: str) -> Path:
    base = ROOT.joinpath(*module.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def _imported(tree: ast.AST) -> list[str]:
    """Modules of `resnet` that the tree names in its import statements."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in inner if _path(name).is_file()]
            names += modules if len(modules) == len(inner) else [*modules, node.module]
    return [name for name in names if name.partition(".")[0] == "resnet"]


_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _canonical(node: Any) -> Any:
    """The tree as JSON, without positions, docstrings and empty fields; the last vary with Python's version."""
    if isinstance(node, ast.AST):
        values = {field: value for field, value in ast.iter_fields(node) if value not in (None, [])}
        body = values.get("body")
        if isinstance(body, list) and body and isinstance(node, _WITH_DOCSTRING):
            values["body"] = body[1:] if ast.get_docstring(node, clean=False) is not None else body
        return [type(node).__name__, {field: _canonical(value) for field, value in values.items()}]
    if isinstance(node, list):
        return [_canonical(item) for item in node]
    return repr(node)
