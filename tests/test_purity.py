"""The science stands alone, and nothing runs what a file or a user brings."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for folder in ("resnet", "pipeline") for path in (ROOT / folder).rglob("*.py"))
SCIENCE = [path for path in SOURCES if path.is_relative_to(ROOT / "resnet")]
MAX_LINES = 250

BLOCKED = (
    "ray",
    "mlflow",
    "dvc",
    "pydantic",
    "pyarrow",
    "PIL",
    "safetensors",
    "h5py",
    "pandas",
    "ruamel",
    "matplotlib",
)
IMPORT_ALL = f"""
import importlib, pkgutil, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError(f"{{name}} is not on this machine")
sys.meta_path.insert(0, Blocker())
import resnet
for module in pkgutil.walk_packages(resnet.__path__, "resnet."):
    importlib.import_module(module.name)
    print(module.name)
"""


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_science_imports_on_a_bare_torch_machine() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    modules = {short(path).removesuffix(".py").replace("/", ".") for path in SCIENCE if path.name != "__init__.py"}
    assert modules <= set(done.stdout.split())
    assert "resnet.training" in modules


COUNT = """
import sys
from resnet import count
for network in ("resnet-50", "cifar-resnet-20", "preact-resnet-200", "cifar-plain-20", "keras-resnet50v2"):
    count(network, classes=10, size=32)
count("cifar-resnet-110", classes=10, size=32, gate="exclusive")
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""


def test_counting_waits_for_no_compiler() -> None:
    """The import of torch's takes seconds, and every stage counts what its runs will compute before they begin."""
    done = subprocess.run([sys.executable, "-c", COUNT], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "" if not node.level else "." * node.level


def foreign(tree: ast.AST) -> list[str]:
    allowed = sys.stdlib_module_names | {"torch", "numpy", "scipy", "resnet"}
    return [name for name in imports(tree) if name.partition(".")[0] not in allowed]


FILE_FORMATS = {"safetensors", "h5py"}  # what resnet.weights reads and writes, imported by the functions that do


@pytest.mark.parametrize("path", SCIENCE, ids=short)
def test_the_science_needs_torch_numpy_and_scipy_alone(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if path.parent.name == "weights":
        for node in [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]:
            assert {name.partition(".")[0] for name in foreign(node)} <= FILE_FORMATS, node.name
            node.body = [ast.Pass()]
    assert foreign(tree) == []


UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml"}
UNSAFE_CALLS = {"eval", "exec", "__import__", "os.system", "os.popen", "ray.cloudpickle.loads"}
UNSAFE_METHODS = {"load_model", "log_model"}  # of MLflow: they unpickle and pickle


def is_true(call: ast.Call, keyword: str) -> bool:
    return any(k.arg == keyword and isinstance(k.value, ast.Constant) and k.value.value is True for k in call.keywords)


def has(call: ast.Call, keyword: str) -> bool:
    return any(k.arg == keyword for k in call.keywords)


def unsafe(source: str) -> list[str]:
    """What in a file could run code that came from outside."""
    tree = ast.parse(source)
    found = [f"import {name}" for name in imports(tree) if name.partition(".")[0] in UNSAFE_MODULES]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            found += [alias.name for alias in node.names if alias.name in UNSAFE_METHODS | {"system", "popen"}]
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in UNSAFE_CALLS or name.rpartition(".")[2] in UNSAFE_METHODS:
            found.append(name)
        if has(node, "shell") and not any(
            k.arg == "shell" and isinstance(k.value, ast.Constant) and k.value.value is False for k in node.keywords
        ):
            found.append(f"{name} with shell")
        if name == "torch.load" and not is_true(node, "weights_only"):
            found.append("torch.load without weights_only=True")
        if has(node, "allow_pickle") and not any(
            k.arg == "allow_pickle" and isinstance(k.value, ast.Constant) and k.value.value is False
            for k in node.keywords
        ):
            found.append(f"{name} with allow_pickle")
        if name == "YAML" and not any(
            k.arg == "typ" and isinstance(k.value, ast.Constant) and k.value.value in ("safe", "rt")
            for k in node.keywords
        ):
            found.append("YAML that is not safe")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=short)
def test_nothing_runs_what_came_from_outside(path: Path) -> None:
    assert unsafe(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import yaml",
        "from os import system",
        "eval('1')",
        "exec(text)",
        "import os; os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "subprocess.run('ls', shell=flag)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "mlflow.pytorch.load_model(uri)",
        "mlflow.pytorch.log_model(network)",
        "numpy.load(path, allow_pickle=True)",
        "YAML()",
        "YAML(typ='unsafe')",
    ],
)
def test_the_walk_finds(source: str) -> None:
    assert len(unsafe(source)) == 1


def test_the_walk_passes_what_is_safe() -> None:
    safe = "network.eval(); torch.load(p, weights_only=True); YAML(typ='safe'); run(['ls']); json.load(f)"
    assert unsafe(safe) == []


@pytest.mark.parametrize("path", SOURCES, ids=short)
def test_a_module_has_one_idea(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_there_is_something_to_walk() -> None:
    assert {"resnet/training.py", "pipeline/config/params.py"} <= {short(path) for path in SOURCES}
