"""Selects the rows of an experiment that a claim is about, by architecture; `MissingRuns` says what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from resnet.architectures import same_but
from resnet.study import Network, Study, recipe_differences

Fix = Literal["add", "train", "evaluate", "nothing"]  # a row to params.yaml | a stage of the pipeline
Pair = tuple[Network, Network]
SCHEDULE = {"iterations", "lr_drops"}
DEEP = 32  # layers from which on this project calls a network deep


class MissingRuns(Exception):
    """Raised where a claim cannot be judged: what is missing, and what adds it, for some rows or for all."""

    def __init__(self, what: str, fix: Fix, rows: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.fix, self.rows = fix, tuple(rows)


def present(found: Mapping[str, Network | None]) -> list[Network]:
    """Returns the networks, keyed by the claim's names. Raises MissingRuns for those without a row or a run."""
    idle = [name for name, row in found.items() if row is None or not row.runs]
    untrained = [row.name for name, row in found.items() if name in idle and row is not None]
    if not idle:
        return [row for row in found.values() if row is not None]
    text = f"needs {', '.join(idle)}"
    if len(untrained) == len(idle):
        raise MissingRuns(f"{text}: no run is available", "train", untrained)
    raise MissingRuns(text, "add")


def named(study: Study, *names: str) -> list[Network]:
    """Returns the paper's networks of these names in resnet.architectures. Raises MissingRuns."""
    return present({name: study.find(name) for name in names})


def options(study: Study, base: Network, *shortcuts: Literal["A", "B", "C"]) -> list[Network]:
    """Returns the rows that are `base` with these shortcut options and nothing else changed. Raises MissingRuns."""
    return present({f"{base.name} with option {s}": variant(study, base, shortcut=s) for s in shortcuts})


def variant(study: Study, base: Network, **changes: Any) -> Network | None:
    """Returns the row that differs from `base` in these fields of its architecture, preferably with runs."""
    wanted = replace(base.architecture, **changes)
    rows = [n for n in study.networks if n.architecture == wanted]
    return min(rows, key=lambda n: (not n.runs, len(recipe_differences(base, n))), default=None)


def longer(study: Study, name: str, times: float) -> Pair:
    """Returns the shortest trained row of a network, and one that differs by at least `times` its iterations."""
    rows = study.rows(name)
    base = min(rows, key=lambda n: n.recipe.iterations, default=None)
    far = [
        n
        for n in rows
        if base is not None and n.architecture == base.architecture
        if n.recipe.iterations >= times * base.recipe.iterations and set(recipe_differences(base, n)) <= SCHEDULE
    ]
    first = next((n for n in far if n.runs), far[0] if far else None)
    one, other = present({name: base, f"{name} with {times:.0f} times the iterations": first})
    return one, other


def all_twins(study: Study) -> list[Pair]:
    """Returns plain networks with their option-A twins, shallow first: 18 and 34 layers, else the CIFAR family's.

    Raises MissingRuns where no pair has runs.
    """
    layouts = [(study.find(f"plain-{depth}"), study.find(f"resnet-{depth}")) for depth in (18, 34)]
    pairs = [(a, b) for a, b in layouts if a is not None and a.runs and b is not None and b.runs]
    pairs = pairs or ladder_twins(study)
    if not pairs:
        named(study, "plain-34", "resnet-34")
    return pairs


def deep_twins(study: Study) -> Pair:
    """Returns the deepest of `all_twins`. Raises MissingRuns where it has fewer than 32 layers."""
    deepest = all_twins(study)[-1]
    if deepest[0].architecture.depth < DEEP:
        named(study, "plain-34", "resnet-34")
    return deepest


def ladder_twins(study: Study) -> list[Pair]:
    """Returns pairs of plain and residual networks of the CIFAR family of the same depth, shallow first."""
    residual = {n.architecture.depth: n for n in study.ladder("residual")}
    return [(n, residual[n.architecture.depth]) for n in study.ladder("plain") if n.architecture.depth in residual]


def plain_bottlenecks(study: Study) -> list[Network]:
    """Returns the longest ladder of bottleneck networks without shortcuts, shallow first. Raises MissingRuns."""
    rows = [n for n in study.networks if n.runs and n.architecture.block == "bottleneck"]
    rows = [n for n in rows if n.architecture.shortcut == "none"]
    ladders: list[dict[int, Network]] = []
    for base in rows:
        alike = [n for n in rows if same_but(n.architecture, base.architecture, "blocks")]
        equal = [n for n in alike if not recipe_differences(n, base)]
        ladders.append({n.architecture.depth: n for n in reversed(equal)})
    best = max(ladders, key=len, default={})
    if len(best) < 2:
        raise MissingRuns(f"needs two depths of a plain bottleneck network with one recipe, here {len(best)}", "add")
    return [best[depth] for depth in sorted(best)]
