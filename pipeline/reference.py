"""The pages docs/reference/*.md: the command line, the keys of params.yaml and the claims, as the code has them."""

import argparse
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipeline import config
from pipeline.__main__ import COMMANDS, EXIT_CODES, Command
from pipeline.data import DATASETS
from pipeline.reporting.markdown import Md, Table, code, table
from pipeline.storage import PLACES
from resnet.architectures import ARCHITECTURES, Architecture
from resnet.claims import CLAIMS
from resnet.claims.headline import HEADLINE
from resnet.claims.verdicts import Claim
from resnet.recipe import Recipe, WarmUp

WRITTEN = "`python -m pipeline pages` writes this page; a test compares it with the code."
WIDTH = 100  # characters of a line of help
HEAD = ("key", "type and range", "default", "meaning")
FIELD = re.compile(r"^    (\w+): (\w+).*?(?:  # (.*))?$|^    # (.*)$", re.MULTILINE)  # with its comment, or one above
REFUSED = re.compile(r"must .*?(?=(?: \(\d+\))?(?:, got .*)?$)", re.DOTALL)  # the range that a refusal names
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
RECIPE = Recipe(
    batch_size=128, iterations=64000, lr=0.1, lr_drops=(32000, 48000), momentum=0.9, weight_decay=1e-4, pad=4,
    flip=True, record_every=100, validate_every=400,
)  # fmt: skip
EXAMPLES: dict[type, Any] = {  # valid values, of which one at a time is replaced by a wrong one
    Recipe: RECIPE,
    Architecture: ARCHITECTURES["cifar-resnet-20"],
    WarmUp: WarmUp(lr=0.01, until_train_error_percent=80),
}


def cli() -> str:
    """Returns the page of the command line."""
    parts = ["# Command line", "Run the commands at the top of the checkout, in its environment.", WRITTEN]
    rows = tuple((Md(f"[{name}](#{name})"), command.help) for name, command in COMMANDS.items())
    parts += [_table(("command", "what it does"), rows), f"```text\n{EXIT_CODES}\n```"]
    for name, command in COMMANDS.items():
        helps = (f"```text\n{parser.format_help().strip()}\n```" for parser in _parsers(name, command))
        parts += [f"## {name}", f"{command.help[0].upper()}{command.help[1:]}.", *helps]
    return _page(parts)


def _parsers(name: str, command: Command) -> list[argparse.ArgumentParser]:
    """Returns the parsers of a command and its subcommands, whose help has the same width on every terminal."""
    made: list[argparse.ArgumentParser] = []

    class Parser(argparse.ArgumentParser):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options | {"formatter_class": partial(argparse.HelpFormatter, width=WIDTH)})
            made.append(self)

    command.add_arguments(Parser(prog=f"python -m pipeline {name}"))
    return made


def params() -> str:
    """Returns the page of params.yaml: every key with type, range, default and meaning."""
    parts = [
        "# params.yaml",
        "Unknown keys, wrong types and values out of range are refused in one line, before anything is changed. Where "
        f"the meaning is a number, it is the paper's. {WRITTEN}",
        "## The whole file",
        _table(HEAD, tuple(_of_the_file())),
    ]
    for place, kind in _sections():
        parts += [f"## {place}", (inspect.getdoc(kind) or "").partition("\n\n")[0], _table(HEAD, tuple(keys(kind)))]
    return _page(parts)


def _of_the_file() -> Iterator[tuple[str, ...]]:
    yield "`experiments`", "list of section names", "none", "the experiments that `dvc repro` runs"
    yield "`storage`", PLACES, "`.runs`", "the run store; credentials come from the environment only"
    yield "`EXPERIMENT`", "mapping", "", "an experiment; its name is yours, and becomes a part of paths"


def _sections() -> Iterator[tuple[str, type]]:
    yield "EXPERIMENT", config.ExperimentSection
    yield from ((f"data with dataset {row.name}", row.section) for row in DATASETS.values())
    yield from (("architecture", Architecture), ("train", Recipe), ("train.warm_up", WarmUp))
    yield from (("networks.NAME", config.NetworkSection), ("resources", config.Resources))
    yield from (("evaluation", config.Evaluation), ("trial", config.TrialSection), ("pilot", config.PilotSection))


def keys(kind: type) -> Iterator[tuple[str, ...]]:
    """Yields each key of a section: name, type with range, default, and the comment next to its field."""
    schema, meanings = TypeAdapter(kind).json_schema(), _comments(kind)
    for key, of in schema["properties"].items():
        yield code(key), _with_range(kind, key, _type(of)), _default(of), meanings.get(key, "")


def _default(of: Mapping[str, Any]) -> str:
    if "default" not in of:
        return "required"
    return "its defaults" if isinstance(of["default"], dict) else _value(of["default"])


def _value(value: Any) -> str:
    return code(value if isinstance(value, str) else json.dumps(value))


def _type(of: Mapping[str, Any]) -> str:
    """Returns a JSON schema in words."""
    if "enum" in of:
        return "one of " + ", ".join(map(_value, of["enum"]))
    if "anyOf" in of:
        return " or ".join(map(_type, of["anyOf"]))
    if "const" in of:
        return _value(of["const"])
    kind = str(of.get("type", "object" if "$ref" in of else ""))
    if kind == "array":
        items = re.sub(r"^(integer|number|text)", r"\1s", _type(of["items"]))
        return f"list of {items}" + (f"; at least {of['minItems']} of them" if "minItems" in of else "")
    names = {"boolean": "true or false", "string": "text", "null": "`null`", "object": "mapping"}
    bounds = " and ".join(f"{word} {of[name]}" for name, word in BOUNDS.items() if name in of)
    return f"{names.get(kind, kind)} {bounds}".strip()


def _with_range(kind: type, key: str, what: str) -> str:
    """Adds the range that the refusal of a wrong value names, where the schema has none."""
    wrong: Any = [-(10**12)] if what.startswith("list") else -(10**12) if what else "?"
    valid = asdict(EXAMPLES[kind]) if kind in EXAMPLES else {}
    try:
        TypeAdapter(kind).validate_json(json.dumps({**valid, key: wrong}))
    except ValidationError as error:
        first = error.errors()[0]
        found = REFUSED.search(first["msg"]) if first["type"] == "value_error" else None
        return ", ".join(filter(None, (what, found[0] if found else "")))
    return what


def _comments(kind: type) -> dict[str, str]:
    """Returns the comment of each field of a class: next to it, on the lines before it, or next to its type."""
    found: dict[str, str] = {}
    for base in (one for one in kind.__mro__ if one.__module__.startswith(("pipeline.", "resnet."))):
        types = inspect.getsource(sys.modules[base.__module__])
        above: list[str] = []
        for field, of, comment, line in FIELD.findall(inspect.getsource(base)):
            of_type = re.search(rf"^{of} = .*?  # (.*)$", types, re.MULTILINE) if of else None
            if field:
                found.setdefault(field, comment or " ".join(above) or (of_type[1] if of_type else ""))
            above = [] if field else [*above, line]
    return found


def claims() -> str:
    """Returns the page of the claims, by question."""
    parts = [
        "# Claims",
        "A claim is a sentence of a paper with a rule that decides it; the rules are in `resnet/claims/`. How they "
        f"become verdicts: [how claims are judged](../explanation/verdicts.md). {WRITTEN}",
        "The claims of a question share one correction for multiple testing. *Published* is the paper's number. "
        "*Needs* is the section of `params.yaml` with the networks that a claim needs: on the paper's data, and on "
        "small images where there is one. The first question is judged on whatever ladder an experiment has.",
    ]
    questions: dict[str, list[Claim]] = {}
    for claim in (*HEADLINE, *CLAIMS):
        questions.setdefault(claim.question or "questions of their own", []).append(claim)
    for question, listed in questions.items():
        rows = tuple(map(_claim, listed))
        parts += [
            f"## {question[0].upper()}{question[1:]}",
            _table(("id", "claim", "published", "needs", "rule"), rows),
        ]
    return _page(parts)


def _claim(claim: Claim) -> tuple[str, ...]:
    needs = ", ".join(f"`{name}`" for name in (claim.home, claim.small) if name)
    return Md(f"**{claim.id}**"), f"{claim.sentence} ({claim.where})", claim.paper, needs, _rule(claim)


def _rule(claim: Claim) -> str:
    """Returns the name of the rule's function, or of the one that made it, and what its docstring says first."""
    maker, _, inner = claim.rule.__qualname__.partition(".")
    function = getattr(sys.modules[claim.rule.__module__], maker) if inner else claim.rule
    said = (inspect.getdoc(function) or "").partition("\n\n")[0].removeprefix(f"{claim.id}: ")
    return said or f"`{maker}`"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return table(Table(tuple(head), tuple(map(tuple, rows))))


def _page(parts: Sequence[str]) -> str:
    return "\n\n".join(filter(None, parts)) + "\n"
