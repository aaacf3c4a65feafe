"""Rules of the code, checked on its syntax: imports of `resnet`, one-way imports, no private API, nothing unpickled."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("resnet", "pipeline", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
SCIENCE = [path for path in SOURCES if path.is_relative_to(ROOT / "resnet")]
MODULES = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path for path in SOURCES}
OWN = ("resnet", "pipeline", "benchmarks")


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "" if not node.level else "." * node.level


# resnet needs torch, numpy and scipy only

BLOCKED = ("ray", "mlflow", "dvc", "pydantic", "pyarrow", "PIL", "safetensors", "h5py", "ruamel", "matplotlib")
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
COUNT = """
import sys
from resnet import count
for network in ("resnet-50", "preact-resnet-200", "cifar-plain-20", "keras-resnet50v2"):
    count(network, classes=10, size=32)
count("cifar-resnet-110", classes=10, size=32, gate="exclusive")
import resnet.claims, resnet.history
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""
LIGHT = "import sys, resnet.claims, resnet.history, resnet.recipe; print('torch' in sys.modules)"
FILE_FORMATS = {"safetensors", "h5py"}  # what resnet.weights reads and writes, imported by the functions that do


def printed(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_science_imports_on_a_bare_torch_machine() -> None:
    modules = {short(path).removesuffix(".py").replace("/", ".") for path in SCIENCE if path.name != "__init__.py"}
    assert modules <= set(printed(IMPORT_ALL).split())


def test_counting_does_not_import_a_compiler_nor_claims_torch() -> None:
    """torch's compiler takes seconds to import, and every stage counts what its runs will compute before they begin."""
    assert printed(COUNT) == "[]\n"
    assert printed(LIGHT) == "False\n"


def foreign(tree: ast.AST) -> list[str]:
    allowed = sys.stdlib_module_names | {"torch", "numpy", "scipy", "resnet"}
    return [name for name in imports(tree) if name.partition(".")[0] not in allowed]


@pytest.mark.parametrize("path", SCIENCE, ids=short)
def test_the_science_needs_torch_numpy_and_scipy_only(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if path.parent.name == "weights":
        for node in [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]:
            assert {name.partition(".")[0] for name in foreign(node)} <= FILE_FORMATS, node.name
            node.body = [ast.Pass()]
    assert foreign(tree) == []


# Imports go one way


def imported(module: str) -> Iterator[str]:
    for node in ast.walk(parsed(MODULES[module])):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & set(MODULES)
            yield from inner or ({node.module} & set(MODULES))


def needs(depth: int) -> dict[str, set[str]]:
    """Returns the imports of each package or module, by the first `depth` names; `__init__` files are left out."""
    found: dict[str, set[str]] = defaultdict(set)
    for module in MODULES:
        if not module.endswith("__init__"):
            here = ".".join(module.split(".")[:depth])
            found[here] |= {".".join(other.split(".")[:depth]) for other in imported(module)} - {here}
    return found


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_imports_go_one_way(depth: int) -> None:
    """A depth of 1 are the packages, of 2 the folders and files in them, of 3 single files."""
    ordered = list(TopologicalSorter(needs(depth)).static_order())  # a CycleError names the circle
    assert set(ordered) >= needs(depth).keys()


def test_the_imports_are_found() -> None:
    assert "resnet" in needs(1)["pipeline"]
    assert "resnet.sampling" in needs(2)["resnet.in_memory_data"]


# No private API of a library, and nothing of a library replaced

SETTINGS = ("torch.backends.", "ImageFile.LOAD_TRUNCATED_IMAGES")  # public switches that are documented as assignments
NAMED_TUPLE = {"_asdict", "_fields", "_replace", "_make"}  # public in spite of their names


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def own_private_names() -> set[str]:
    """Returns all names with a leading underscore that this project defines."""
    found: set[str] = set()
    for path in SOURCES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
                found.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
    return {name for name in found if is_private(name)}


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def libraries(tree: ast.AST) -> dict[str, str]:
    """Maps names in a file to the third-party modules and objects that are imported under them."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname or alias.name.partition(".")[0]: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return {k: v for k, v in found.items() if v.partition(".")[0] not in (*sys.stdlib_module_names, *OWN)}


def private_uses(source: str, own: set[str]) -> list[str]:
    """Returns what a file uses or replaces of the inside of a library."""
    tree = ast.parse(source)
    known = libraries(tree)
    found = [f"import {full}" for full in known.values() if any(map(is_private, full.split(".")))]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            root = text.partition(".")[0]
            if is_private(node.attr) and (root in known or (not is_self(node.value) and node.attr not in own)):
                found += [text] if root not in sys.stdlib_module_names and node.attr not in NAMED_TUPLE else []
            elif isinstance(node.ctx, ast.Store) and root in known and not text.startswith(SETTINGS):
                found.append(f"{text} = ...")
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("setattr", "delattr"):
            root = ast.unparse(node.args[0]).partition(".")[0]
            found += [ast.unparse(node)] if root in known else []
    return found


PRIVATE_NAMES = own_private_names()


@pytest.mark.parametrize("path", SOURCES, ids=short)
def test_no_private_api_of_a_library_is_used_and_nothing_of_it_replaced(path: Path) -> None:
    assert private_uses(path.read_text(), PRIVATE_NAMES) == []


@pytest.mark.parametrize(
    "source",
    [
        "import ray._private",
        "from ray.train.v2._internal import execution",
        "import torch\ntorch._foreach_norm([])",
        "client._do_request('GET')",
        "from ray.node import Node\nNode.kill = None",
        "import mlflow\nsetattr(mlflow, 'log_metric', None)",
    ],
)
def test_private_api_is_found(source: str) -> None:
    assert len(private_uses(source, set())) == 1


def test_public_api_and_our_own_is_not() -> None:
    source = "import torch\ntorch.backends.cudnn.allow_tf32 = True\nself._x = other._x\nrow._asdict()\nos._exit(1)"
    assert private_uses(source, {"_x"}) == []


# Nothing runs what a file or a user brings

UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "ray.cloudpickle.loads"}
UNSAFE_CALLS |= {"subprocess.getoutput", "subprocess.getstatusoutput", "pandas.read_pickle", "pd.read_pickle"}
UNSAFE_METHODS = {"load_model", "log_model"}  # of MLflow: they unpickle and pickle


def keyword(call: ast.Call, name: str) -> object:
    """Returns the constant value of a keyword argument: ... for another expression, None where it is missing."""
    values = [k.value for k in call.keywords if k.arg == name]
    return None if not values else values[0].value if isinstance(values[0], ast.Constant) else ...


def unsafe(source: str) -> list[str]:
    """Returns what in a file could run code that came from outside, and what would hide that something went wrong."""
    tree = ast.parse(source)
    found = [f"import {name}" for name in imports(tree) if name.partition(".")[0] in UNSAFE_MODULES]
    for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
        name = ast.unparse(call.func)
        if (
            name in UNSAFE_CALLS
            or name.rpartition(".")[2] in UNSAFE_METHODS
            or keyword(call, "shell") not in (None, False)
            or keyword(call, "allow_pickle") not in (None, False)
            or (name == "torch.load" and keyword(call, "weights_only") is not True)
            or (name == "YAML" and keyword(call, "typ") not in ("safe", "rt"))
        ):
            found.append(name)
    handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    return found + ["except:" for handler in handlers if handler.type is None]


@pytest.mark.parametrize("path", SOURCES, ids=short)
def test_nothing_runs_what_came_from_outside(path: Path) -> None:
    assert unsafe(path.read_text()) == []


def test_unsafe_code_is_found() -> None:
    lines = [
        "from pickle import loads", "import yaml", "eval('1')", "import os; os.system('ls')", "run('ls', shell=flag)",
        "torch.load(path)", "torch.load(path, weights_only=False)", "mlflow.pytorch.load_model(uri)",
        "numpy.load(path, allow_pickle=True)", "YAML()", "YAML(typ='unsafe')", "exec(text)", "import ruamel, dill",
        "pandas.read_pickle(path)", "subprocess.getoutput(text)", "try:\n    f()\nexcept:\n    pass",
    ]  # fmt: skip
    assert all(len(unsafe(line)) == 1 for line in lines)
    assert unsafe("network.eval(); torch.load(p, weights_only=True); YAML(typ='safe'); run(['ls'], shell=False)") == []
