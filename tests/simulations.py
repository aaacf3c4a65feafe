"""Made-up result sets without an effect and with the paper's: how often the judges call a claim reproduced.

The verdicts are those of `claims.decide`, which the report's come from. `simulated_cases` has the result sets.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from resnet.claims.verdicts import Claim, decide
from resnet.recipe import Recipe
from resnet.study import Network, Point, Run, Study
from tests.study_maker import RECIPE, claim, gradients, row, runs, study

SIMULATIONS, SEEDS = 1000, (3, 5, 10)
Normal = tuple[float, float]  # mean and standard deviation over seeds
Columns = Mapping[str, Normal]  # of a row: what is drawn for each run
Rows = Mapping[str, Columns]


def _starts(value: float) -> tuple[Point, ...]:
    """A training error that falls from guessing to 1 % at an iteration; only the rows around it, for speed."""
    at = min(1000, max(10, 10 * round(value / 10)))
    return (Point(at - 10, 90.1, None), Point(at, 1.0, None)) if at > 10 else (Point(at, 1.0, None),)


MADE: dict[str, Callable[[float], Any]] = {  # from a number to what a run has
    "responses": lambda v: (v,),
    "gradients": lambda v: gradients(10.0**v, 1.0),
    "lesions": lambda v: (5.0 + v,),
    "history": _starts,
}


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """A claim, result sets on the boundary of its being false, and the paper's."""

    id: str
    kind: str
    nulls: tuple[Rows, ...]
    paper: Rows
    recipes: Mapping[str, Recipe] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """Shares of the simulations by the number of seeds."""

    id: str
    kind: str
    false: dict[int, float]  # reproduced without the effect, the worst of the nulls
    power: dict[int, float]  # reproduced with it
    contradicted: dict[int, float]  # with it


def draws(rows: Rows, n: int, rng: np.random.Generator, recipes: Mapping[str, Recipe], count: int) -> Iterator[Study]:
    """`count` studies with n seeds a row."""
    bare = {name: _bare(name, recipes.get(name, RECIPE)) for name in rows}
    drawn = {
        (name, column): rng.normal(*normal, size=(count, n)).tolist()
        for name, columns in rows.items()
        for column, normal in columns.items()
    }
    for i in range(count):
        made = []
        for name, columns in rows.items():
            values = [[MADE.get(column, float)(v) for v in drawn[name, column][i]] for column in columns]
            made_runs = [
                Run(seed=k, **(REST | dict(zip(columns, v, strict=True))))
                for k, v in enumerate(zip(*values, strict=True))
            ]
            made.append(Network(**bare[name], runs=tuple(made_runs), wanted=n))
        yield study(*made)


REST = {f.name: getattr(runs(noise=[((0.0, 5.0),)], variances_at_start=[(1.0,)])[0], f.name) for f in fields(Run)[1:]}


def _bare(name: str, recipe: Recipe) -> dict[str, Any]:
    """What a row is but its runs. `resnet-34:B` is resnet-34 with option B."""
    like, _, change = name.partition(":")
    changes: dict[str, Any] = {"shortcut": change} if change in ("B", "C") else {}
    made = row(name, {"error": [5.0]}, recipe, like=like, **changes)
    return {f.name: getattr(made, f.name) for f in fields(Network) if f.name not in ("runs", "wanted")}


def shares(claims: Sequence[Claim], studies: Iterator[Study]) -> dict[str, float]:
    """How often a verdict is given to any of the claims."""
    counts: Counter[str] = Counter()
    total = 0
    for made in studies:
        counts.update({decision.verdict for decision in decide(made, claims)})
        total += 1
    return {verdict: count / total for verdict, count in counts.items()}


def simulate(one: Simulated, count: int = SIMULATIONS) -> Line:
    line = Line(one.id, one.kind, {}, {}, {})
    for n in SEEDS:
        rng = np.random.default_rng([n, *one.id.encode()])
        found = [shares((claim(one.id),), draws(rows, n, rng, one.recipes, count)) for rows in (*one.nulls, one.paper)]
        line.false[n] = max(f.get("reproduced", 0.0) for f in found[:-1])
        line.power[n] = found[-1].get("reproduced", 0.0)
        line.contradicted[n] = found[-1].get("contradicted", 0.0)
    return line


def as_text(lines: Sequence[Line]) -> str:
    head = f"{'':6} {'':34} {'false reproduced, n =':>24} {'power, n =':>24}\n{'claim':6} {'kind':34}"
    head += "".join(f"{n:>8}" for n in SEEDS) + " " + "".join(f"{n:>8}" for n in SEEDS)
    rows = [
        f"{line.id:6} {line.kind:34}"
        + "".join(f"{line.false[n]:>8.1%}" for n in SEEDS)
        + " "
        + "".join(f"{line.power[n]:>8.1%}" for n in SEEDS)
        for line in lines
    ]
    return "\n".join([head, *rows])
