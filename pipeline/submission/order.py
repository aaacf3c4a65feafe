"""What is asked for: which experiments, in which folder of the cluster, with which code and parameters."""

import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import params
from pipeline.config.yaml_file import nearest, read_yaml, shown
from pipeline.errors import UserError
from pipeline.submission import bundle

ON_THE_HEAD = ""  # as a folder: in the session folder of the cluster's head, which no other node sees


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """One submission. Equal orders have equal names, and Ray runs one job of a name."""

    experiments: tuple[str, ...]
    folder: str  # on the cluster: the checkout, or where the bundle is laid out
    bundled: bool
    state: str  # SHA-256 of the tracked files' content, "" where the checkout cannot be seen from here

    @property
    def place(self) -> str:
        """The part of the name that says where: two jobs of one place would write the same files."""
        content = "\0".join([str(self.bundled), self.folder, *self.experiments])
        return f"{'+'.join(self.experiments)[:40]}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"

    @property
    def name(self) -> str:
        return f"{self.place}-{self.state[:12] or 'unseen'}"

    def entrypoint(self) -> str:
        """The job's shell command. It holds no secret: Ray shows it to whoever may see the dashboard."""
        targets = [f"report@{experiment}" for experiment in self.experiments]  # with all that they are made from
        if not self.bundled:
            return f"cd {shlex.quote(self.folder)} && exec {shlex.join(['dvc', 'repro', *targets])}"
        return shlex.join(["exec", "python", "-m", "pipeline.submission.there", self.folder, *self.experiments])


def read(experiments: list[str], checkout: str | None, *, bundled: bool, root: Path) -> Order:
    """The order that the command line asks for; `root` is the submitter's checkout. Raises UserError."""
    if bundled:
        asked = _checked(experiments, root / params.PARAMS)
        folder = checkout or _beside_the_runs(asked, params.load(asked[0], root / params.PARAMS).storage)
        return Order(experiments=asked, folder=folder, bundled=True, state=bundle.state(root, bundle.tracked(root)))
    there = Path(checkout).absolute() if checkout else root.absolute()
    if not (there / params.PARAMS).is_file():
        if checkout is None:
            raise UserError(f"{there / params.PARAMS}: not there; run from the top of the checkout, beside dvc.yaml")
        return Order(experiments=_sorted(experiments), folder=str(there), bundled=False, state="")
    asked = _checked(experiments, there / params.PARAMS)
    files = bundle.tracked(there, otherwise=[str(params.PARAMS), "dvc.yaml"])
    return Order(experiments=asked, folder=str(there), bundled=False, state=bundle.state(there, files))


def _sorted(experiments: list[str]) -> tuple[str, ...]:
    return tuple(sorted(set(experiments)))


def _checked(experiments: list[str], path: Path) -> tuple[str, ...]:
    """The experiments, each a valid section of params.yaml and one that dvc.yaml has stages for."""
    for name in experiments:
        params.load(name, path)
    listed = [str(entry) for entry in read_yaml(path).get("experiments") or []]
    for name in experiments:
        if name not in listed:
            raise UserError(
                f"{path}: experiments: {shown(name)} is not among {', '.join(listed) or 'none'}"
                f"{nearest(name, listed)}; add it, for dvc.yaml has stages for these alone"
            )
    return _sorted(experiments)


def _beside_the_runs(experiments: tuple[str, ...], storage: str) -> str:
    """Workers must see the data that the job prepares: a folder beside the run store, where that is one they share."""
    if "://" in storage or not Path(storage).is_absolute():
        return ON_THE_HEAD
    return str(Path(storage) / "checkouts" / "+".join(experiments)[:80])
