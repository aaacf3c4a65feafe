"""The key of a run: all that decides its result changes it, nothing else does; one list of the code that decides."""

import ast
import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.config import Experiment, RunSpec, load
from pipeline.data import DATASETS
from pipeline.errors import UserError
from pipeline.records import File, Manifest, SplitInfo
from pipeline.run_store import run_key
from pipeline.run_store.run_key import DECIDING, EVALUATION, code_digest, plan
from resnet.architectures import Architecture
from resnet.recipe import Recipe, WarmUp
from tests.factories.params import params, write
from tests.factories.tiny_run import NETWORK, RECIPE
from tests.factories.workspace import ROOT

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


def key(spec: RunSpec = SPEC, code: str = "code", **changes: Any) -> str:
    return run_key.run_key(spec, manifest(**changes), code)


ARCHITECTURE_CHANGES: dict[str, Any] = {
    "stem": "imagenet", "block": "bottleneck", "blocks": (1, 2), "width": 8, "shortcut": "B", "stride_on": "3x3",
    "unit": "preactivation", "shortcut_scale": 0.5, "residual_scale": 0.5, "gate": "exclusive", "gate_bias": -5.0,
    "shortcut_dropout": 0.5, "stride_in": "last", "first_activation": "pool", "bias": "ends", "bn_epsilon": 1e-3,
    "initialisation": "identity",
}  # fmt: skip
NEEDED: dict[str, dict[str, Any]] = {
    "first_activation": {"unit": "preactivation"},
    "stride_on": {"block": "bottleneck"},
}  # to have a meaning
RECIPE_CHANGES: dict[str, Any] = {
    "batch_size": 17, "iterations": 12, "lr": 0.1000001, "lr_drops": (4, 8), "momentum": 0.8, "weight_decay": 0.02,
    "pad": 2, "flip": False, "warm_up": WarmUp(lr=0.01, until_train_error_percent=80), "precision": "bf16",
    "compile": True, "workers": 2, "batch_norm_groups": 2, "record_every": 2, "validate_every": 9,
    "max_relative_step": 0.1,
}  # fmt: skip


def test_names_and_resources_decide_nothing() -> None:
    renamed = replace(SPEC, experiment="other", network="other", architecture_name="other", key="b" * 64)
    assert key(renamed) == key() == key(source="there")
    assert len(key()) == 64


def test_every_field_of_a_run_is_listed_here() -> None:
    """A new field must be put among those that decide, in the key, or among the names."""
    fields = {kind: {field.name for field in dataclasses.fields(kind)} for kind in (Architecture, Recipe, RunSpec)}
    assert set(ARCHITECTURE_CHANGES) == fields[Architecture]
    assert set(RECIPE_CHANGES) == fields[Recipe]
    assert fields[RunSpec] == {"experiment", "network", "architecture_name", "architecture", "recipe", "seed", "key"}


@pytest.mark.parametrize("field", ARCHITECTURE_CHANGES)
def test_every_field_of_the_architecture_decides(field: str) -> None:
    before = replace(NETWORK, **NEEDED.get(field, {}))
    after = replace(before, **{field: ARCHITECTURE_CHANGES[field]})
    assert key(replace(SPEC, architecture=after)) != key(replace(SPEC, architecture=before))


@pytest.mark.parametrize("field", RECIPE_CHANGES)
def test_every_field_of_the_recipe_decides(field: str) -> None:
    assert key(replace(SPEC, recipe=replace(RECIPE, **{field: RECIPE_CHANGES[field]}))) != key()


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(WarmUp)])
def test_every_field_of_the_warm_up_decides(field: str) -> None:
    warm_up = RECIPE_CHANGES["warm_up"]
    specs = [replace(SPEC, recipe=replace(RECIPE, warm_up=w)) for w in (warm_up, replace(warm_up, **{field: 1.0}))]
    assert key(specs[0]) != key(specs[1])


def test_a_field_that_is_added_later_leaves_the_keys_of_runs_without_it() -> None:
    later = dataclasses.make_dataclass("Later", [("remedy", str, "none")], bases=(Recipe,), frozen=True, kw_only=True)
    recipe = later(**dataclasses.asdict(RECIPE))
    assert key(replace(SPEC, recipe=recipe)) == key()
    assert key(replace(SPEC, recipe=replace(recipe, remedy="fixup"))) != key()


def test_seed_data_and_code_decide() -> None:
    mean = File(path="mean.npy", bytes=1, sha256="2" * 64)
    changes = ({"mean": mean}, {"classes": ["a", "b"]}, {"size": 7}, {"channels": 3}, {"storage": "shards"})
    others = [key(replace(SPEC, seed=6)), key(code="other"), *(key(**changed) for changed in changes)]
    assert len({key(), *others}) == 1 + len(others)


# The plan


def experiment(folder: Path, changes: dict[str, Any] | None = None) -> Experiment:
    return load("tiny", write(folder / "params.yaml", params(changes)))


def test_a_plan_has_every_run_with_its_key_in_order(tmp_path: Path) -> None:
    specs = plan(experiment(tmp_path), manifest())
    assert [spec.name for spec in specs] == ["plain-18-seed0", "plain-18-seed1", "resnet-18-seed3"]
    assert len({spec.key for spec in specs}) == 3
    assert {len(spec.key) for spec in specs} == {64}
    again = plan(experiment(tmp_path, {"tiny.resources.checkpoint_s": 9}), manifest())
    assert again == specs


@pytest.mark.parametrize(
    ("changes", "data", "words"),
    [
        ({"tiny.train.batch_size": 41}, {}, "batch_size must be at most the 40 training images, got 41"),
        ({"tiny.train.pad": 7}, {}, "pad must be at most the image's 6 pixels, got 7"),
        ({}, {"storage": "shards"}, "pad is for small images (Sec. 4.2); set it to 0 here, got 1"),
    ],
)
def test_a_recipe_that_does_not_fit_the_data_is_refused(
    changes: dict[str, Any], data: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        plan(experiment(tmp_path, changes), manifest(**data))
    assert str(error.value) == f"params.yaml: tiny.networks.plain-18: {words}"


# The list of the code that decides

LOADED = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*(path for module in sys.modules.values() if (path := getattr(module, "__file__", None))), sep="\\n")
"""
TRAINING = ["resnet.training", "pipeline.data.loader"]
MEASURING = [f"pipeline.evaluation.{name}" for name in ("analysis", "protocols")]
PHOTOGRAPHS = {"arrays": [], "shards": ["pipeline.data.shards"]}
# What training and evaluation import and what decides no result: what only records, the types and checks of files,
# and the modules that make data/EXPERIMENT, whose outcome is the digest of the data.
RECORDING = {"resnet/__init__.py", "resnet/gradients.py", "resnet/history.py"}
RECORDING |= {f"pipeline/{name}.py" for name in ("__init__", "errors", "messages", "paths", "records", "storage")}
RECORDING |= {f"pipeline/data/{name}.py" for name in ("__init__", "data_set", "prepared")}
RECORDING |= {f"pipeline/data/{name}.py" for name in ("array_storage", "arrow_storage", "download", "image_tree")}
DATA_SETS = {f"{row.prepare.__module__.replace('.', '/')}.py" for row in DATASETS.values()}
RECORDING |= DATA_SETS
RECORDING |= {"pipeline/data/statistics.py", "pipeline/evaluation/__init__.py", "pipeline/config.py"}


def loaded(modules: list[str]) -> set[str]:
    """The files of this project that these modules import, without those that only record."""
    words = [sys.executable, "-c", LOADED, *modules]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [Path(line) for line in done.stdout.splitlines() if line.endswith(".py")]
    inside = [path.relative_to(ROOT) for path in paths if path.is_relative_to(ROOT)]
    return {path.as_posix() for path in inside if path.parts[0] in ("resnet", "pipeline")} - RECORDING


@pytest.mark.parametrize("storage", DECIDING)
def test_the_list_is_what_training_imports(storage: str) -> None:
    assert loaded(TRAINING + PHOTOGRAPHS[storage]) == set(DECIDING[storage])


def test_the_list_of_evaluation_is_what_measuring_imports() -> None:
    views = ["pipeline.data.shard_views", "pipeline.data.shards"]
    assert loaded(TRAINING + MEASURING + views) == set(EVALUATION["shards"])


def stage(name: str) -> set[str]:
    content = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())
    return {dep for dep in content["stages"][name]["do"]["deps"] if not dep.startswith(("data/", "runs/"))}


@pytest.mark.parametrize(("name", "lists"), [("train", DECIDING), ("evaluate", EVALUATION)])
def test_dvc_depends_on_the_same_list(name: str, lists: dict[str, tuple[str, ...]]) -> None:
    listed = set().union(*map(set, lists.values()))
    assert listed <= stage(name)
    assert {path for path in stage(name) - listed if path.startswith("resnet")} == set()
    assert all((ROOT / path).exists() for path in stage(name))


def test_dvc_prepares_data_again_when_their_module_has_changed() -> None:
    assert stage("prepare") >= DATA_SETS


# The digest of the code


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the deciding code, which tests may edit."""
    for name in DECIDING["shards"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(run_key, "ROOT", tmp_path)
    yield tmp_path
    code_digest.cache_clear()


def digest(files: tuple[str, ...] = DECIDING["shards"]) -> str:
    code_digest.cache_clear()
    return code_digest(files)


def test_an_added_statement_counts_in_every_file(copied: Path) -> None:
    for name in DECIDING["shards"]:
        before = digest((name,))
        with (copied / name).open("a") as file:
            file.write("\nADDED = 1\n")
        assert digest((name,)) != before


def test_comments_docstrings_formatting_and_messages_do_not_count(copied: Path) -> None:
    before = digest()
    for name in DECIDING["shards"]:
        tree = ast.parse((copied / name).read_text())
        for node in ast.walk(tree):
            documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
            if documented:
                node.body[0] = ast.Expr(ast.Constant("In other words."))  # type: ignore[attr-defined]
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                node.exc.args = [ast.Constant("another message")]
        text = ast.unparse(ast.fix_missing_locations(tree))
        (copied / name).write_text(f"# another comment\n\n\n{text}\n\n# the end\n")
    assert digest() == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("resnet/architectures.py", "EXPANSION = 4", "EXPANSION = 5"),
        ("resnet/blocks.py", "self.residual * y", "self.shortcut * y"),
        ("resnet/in_memory_data.py", ".div_(255.0)", ".div_(256.0)"),
        ("resnet/recipe.py", "0.1 ** sum", "0.5 ** sum"),
        ("resnet/sampling.py", " + ", " - "),
        ("resnet/recipe.py", "raise ValueError(", "raise TypeError("),
    ],
)
def test_a_changed_constant_operator_or_exception_counts(name: str, old: str, new: str, copied: Path) -> None:
    before, text = digest((name,)), (copied / name).read_text()
    assert old in text
    (copied / name).write_text(text.replace(old, new))
    assert digest((name,)) != before


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


def test_the_digest_is_the_same_for_every_python(copied: Path) -> None:
    """It was made with Python 3.11; 3.12 and 3.13 add fields to syntax trees, which are empty here."""
    (copied / "golden.py").write_text(GOLDEN)
    assert digest(("golden.py",)) == "c88c03b3d178073023b02b343e27ca2923989e5c59d1872f587428dee5888dfd"
