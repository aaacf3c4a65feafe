"""The stages prepare, train, evaluate and report, and all that touches the world: files, Ray, MLflow."""

import sys
from importlib.util import find_spec

# As `python -m pipeline.NAME` begins, Python has not put the module's name into sys.argv yet. Here is the last place to
# speak in one line of a Python that lacks the packages: the commands import them.
if sys.argv[:1] == ["-m"]:
    missing = [name for name in ("pydantic", "ruamel", "torch") if find_spec(name) is None]
    if missing:
        print(
            f"error: {sys.executable} has no {' and no '.join(missing)}; the packages of requirements.lock are in"
            " .venv: activate it (source .venv/bin/activate), or use make",
            file=sys.stderr,
        )
        sys.exit(3)  # pipeline.errors.ENVIRONMENT
