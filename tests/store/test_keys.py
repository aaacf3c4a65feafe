"""The key of a run: all that decides its outcome changes it, and nothing else does."""

import ast
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.experiment import RunSpec
from pipeline.store import keys
from pipeline.store.records import File, Manifest, SplitInfo
from resnet.architectures import Architecture
from resnet.recipe import Recipe, WarmUp
from tests.tiny_run import NETWORK, RECIPE

ROOT = Path(__file__).parents[2]
SPEC = RunSpec(
    experiment="tiny", network="row", architecture_name="resnet-18", architecture=NETWORK, recipe=RECIPE, seed=5
)


def manifest(**changes: Any) -> Manifest:
    split = SplitInfo(images=40, per_class={"a": 40}, files=[File(path="x.npy", bytes=1, sha256="0" * 64)])
    mean = File(path="mean.npy", bytes=1, sha256="1" * 64)
    table: dict[str, Any] = {
        "dataset": "digits", "storage": "arrays", "classes": ["a"], "channels": 1, "size": 6,
        "train": split, "val": split, "test": None, "mean": mean, "source": "here",
    }  # fmt: skip
    return Manifest(**{**table, **changes})


KEY = keys.run_key(SPEC, manifest())
ARCHITECTURE_CHANGES: dict[str, Any] = {
    "stem": "imagenet", "block": "bottleneck", "blocks": (1, 2), "width": 8, "shortcut": "B", "stride_on": "3x3",
    "unit": "preactivation", "shortcut_scale": 0.5, "residual_scale": 0.5, "gate": "exclusive", "gate_bias": -5.0,
    "shortcut_dropout": 0.5, "stride_in": "last", "first_activation": "pool", "bias": "ends", "bn_epsilon": 1e-3,
}  # fmt: skip
RECIPE_CHANGES: dict[str, Any] = {
    "batch_size": 17, "iterations": 12, "lr": 0.1000001, "lr_drops": (4, 8), "momentum": 0.8, "weight_decay": 0.02,
    "pad": 2, "flip": False, "warm_up": WarmUp(lr=0.01, until_train_error_percent=80), "precision": "bf16",
    "compile": True, "workers": 2, "min_workers": 1, "batch_norm_groups": 2, "record_every": 2, "validate_every": 9,
}  # fmt: skip


def test_names_decide_nothing() -> None:
    renamed = replace(SPEC, experiment="other", network="other", architecture_name="other")
    assert keys.run_key(renamed, manifest()) == KEY
    assert keys.run_key(SPEC, manifest(source="there")) == KEY
    assert len(KEY) == 64


def test_every_field_of_a_run_has_its_place_here() -> None:
    """A new field must be put among those that decide, in the key, or among the names."""
    fields = {kind: {field.name for field in dataclasses.fields(kind)} for kind in (Architecture, Recipe, RunSpec)}
    assert set(ARCHITECTURE_CHANGES) == fields[Architecture]
    assert set(RECIPE_CHANGES) == fields[Recipe]
    assert fields[RunSpec] == {"experiment", "network", "architecture_name", "architecture", "recipe", "seed"}


@pytest.mark.parametrize("field", ARCHITECTURE_CHANGES)
def test_every_field_of_the_architecture_decides(field: str) -> None:
    unit: dict[str, Any] = {"unit": "preactivation"} if field == "first_activation" else {}
    key = keys.run_key(replace(SPEC, architecture=replace(NETWORK, **unit)), manifest())
    changed = replace(NETWORK, **unit, **{field: ARCHITECTURE_CHANGES[field]})
    assert keys.run_key(replace(SPEC, architecture=changed), manifest()) != key


@pytest.mark.parametrize("field", RECIPE_CHANGES)
def test_every_field_of_the_recipe_decides(field: str) -> None:
    several: dict[str, Any] = {"workers": 2} if field == "min_workers" else {}
    key = keys.run_key(replace(SPEC, recipe=replace(RECIPE, **several)), manifest())
    changed = replace(RECIPE, **several, **{field: RECIPE_CHANGES[field]})
    assert keys.run_key(replace(SPEC, recipe=changed), manifest()) != key


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(WarmUp)])
def test_every_field_of_the_warm_up_decides(field: str) -> None:
    warm_up = RECIPE_CHANGES["warm_up"]
    specs = [replace(SPEC, recipe=replace(RECIPE, warm_up=w)) for w in (warm_up, replace(warm_up, **{field: 1.0}))]
    assert keys.run_key(specs[0], manifest()) != keys.run_key(specs[1], manifest())


def test_seed_data_and_code_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    assert keys.run_key(replace(SPEC, seed=6), manifest()) != KEY
    mean = File(path="mean.npy", bytes=1, sha256="2" * 64)
    for changes in ({"mean": mean}, {"classes": ["a", "b"]}, {"size": 7}, {"channels": 3}):
        assert keys.run_key(SPEC, manifest(**changes)) != KEY
    assert keys.run_key(SPEC, manifest(storage="shards")) != KEY
    monkeypatch.setattr(keys, "code_digest", lambda _: "other")
    assert keys.run_key(SPEC, manifest()) != KEY


# The digest of the code


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the code, which tests may edit."""
    for name in ("resnet", "pipeline"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(keys, "ROOT", tmp_path)
    keys.code_digest.cache_clear()
    yield tmp_path
    keys.code_digest.cache_clear()


def digest(storage: str = "arrays") -> str:
    keys.code_digest.cache_clear()
    return keys.code_digest(keys.TRAINING_CODE[storage])


def edit(path: Path, *pairs: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in pairs:
        assert old in text, (path.name, old)
        text = text.replace(old, new)
    path.write_text(text)


def modules(folder: Path) -> list[str]:
    """Of the science, with the folders they are in: `claims/judges`."""
    top = folder / "resnet"
    paths = (path.relative_to(top).with_suffix("") for path in top.rglob("*.py"))
    return sorted(path.as_posix() for path in paths if path.name != "__init__")


DECIDING = {
    "architectures", "blocks", "compiling", "data", "evaluation", "gradients", "history", "network", "normalising",
    "precision", "recipe", "sampling", "sgd", "training", "windows", "workers",
}  # fmt: skip


def test_what_training_imports_is_in_the_digest_and_nothing_else(copied: Path) -> None:
    before = digest()
    counted = set()
    for name in modules(copied):
        path = copied / "resnet" / f"{name}.py"
        text = path.read_text()
        path.write_text(text + "\nADDED = 1\n")
        if digest() != before:
            counted.add(name)
        path.write_text(text)
    assert digest() == before
    assert counted == DECIDING
    others = {"analysis/signals", "claims/verdicts", "statistics", "paper/published", "study", "counting", "views"}
    assert others <= set(modules(copied)) - counted


def test_photographs_count_the_code_that_decodes_them(copied: Path) -> None:
    arrays, shards = digest("arrays"), digest("shards")
    for path in ("resnet/views.py", "pipeline/loading/shards.py", "pipeline/datasets/images.py"):
        text = (copied / path).read_text()
        (copied / path).write_text(text + "\nADDED = 1\n")
        assert digest("shards") != shards, path
        assert digest("arrays") == arrays, path
        (copied / path).write_text(text)


def test_comments_docstrings_and_formatting_do_not_count(copied: Path) -> None:
    before = digest()
    for name in modules(copied):
        path = copied / "resnet" / f"{name}.py"
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                continue
            if ast.get_docstring(node) is not None:
                node.body[0] = ast.Expr(ast.Constant("Said in other words."))
        path.write_text("# another comment\n\n\n" + ast.unparse(ast.fix_missing_locations(tree)) + "\n\n# the end\n")
    assert digest() == before


def test_a_docstring_that_comes_or_goes_does_not_count() -> None:
    for head in ("def f():", "class C:", "async def f():"):
        bare = ast.parse(f"{head}\n    x = 1")
        documented = ast.parse(f'{head}\n    """Says."""\n    x = 1')
        assert keys._canonical(bare) == keys._canonical(documented)
    assert keys._canonical(ast.parse("x = 1\n'text'")) != keys._canonical(ast.parse("x = 1"))


EDITS = [
    ("architectures", ("1 <= self.width", "2 <= self.width")),
    ("architectures", ("EXPANSION = 4", "EXPANSION = 5")),
    ("blocks", ("self.residual * y", "self.shortcut * y")),
    ("data", (".div_(255.0)", ".div_(256.0)")),
    ("evaluation", (" += ", " -= ")),
    ("recipe", ("0.1 ** sum", "0.5 ** sum")),
    ("sampling", (" + ", " - ")),
    ("training", ("EVAL_BATCH = 256", "EVAL_BATCH = 255")),
    ("sgd", ("nesterov=False", "nesterov=True")),
    ("network", ("from resnet.blocks import", "from resnet.blocks  import")),
]


@pytest.mark.parametrize(("name", "change"), EDITS)
def test_a_changed_constant_or_operator_counts(name: str, change: tuple[str, str], copied: Path) -> None:
    before = digest()
    edit(copied / "resnet" / f"{name}.py", change)
    assert (digest() == before) == (name == "network")  # its edit is formatting alone


@pytest.mark.parametrize("statement", ["import resnet.views", "from resnet import views", "from resnet.views import *"])
def test_a_module_that_training_comes_to_import_counts_from_then_on(statement: str, copied: Path) -> None:
    edit(copied / "resnet" / "blocks.py", ("import torch.nn", f"{statement}\nimport torch.nn"))
    before = digest()
    edit(copied / "resnet" / "views.py", ("1", "2"))
    assert digest() != before


def test_names_of_the_package_itself_count(copied: Path) -> None:
    edit(copied / "resnet" / "blocks.py", ("import torch.nn", "from resnet import sampling, build\nimport torch.nn"))
    before = digest()
    edit(copied / "resnet" / "__init__.py", ("build", "build as make"))
    assert digest() != before


GOLDEN = '''
"""Module."""
from resnet.recipe import Recipe
@decorated(1.5, x=None)
class C(Base):
    """Class."""
    a: int = 0x10
    def f(self, *, b=None, **rest) -> "C":
        """Method."""
        lam = lambda x, /: [y for y in x[1:] if not y]
        with open(f"{self.a!r:>3} {b}") as file, file:
            match b:
                case {"k": [1, *_]}:
                    return (yield {**rest, None: True})
        try:
            x = -1e-3 if b else 1j
        except* ValueError:
            raise
'''


def test_the_form_is_the_same_for_every_python() -> None:
    """The digest was made with Python 3.11; 3.12 and 3.13 add fields to syntax trees, which are empty here."""
    form = json.dumps(keys._canonical(ast.parse(GOLDEN)), sort_keys=True)
    golden = "2e13cfeecabc6c54a0beb976b2eac345e7bcd141388ea417373afa70a6f44ea3"
    assert hashlib.sha256(form.encode()).hexdigest() == golden
