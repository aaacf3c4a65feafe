"""Plain values into types, strictly; every mistake named by key, value and what is allowed."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from pipeline.config.sections import DATASETS, NAME_RULE, Evaluation, NetworkSection, Resources
from pipeline.config.yaml_file import nearest, shown
from pipeline.errors import UserError
from resnet.architectures import Architecture
from resnet.recipe import Recipe, WarmUp

T = TypeVar("T")
Place = tuple[str, Mapping[str, Any]]  # where a table stands, for messages, and the table

for _plain in (Architecture, Recipe, WarmUp):
    with_config(ConfigDict(extra="forbid", strict=True))(_plain)  # with JSON as the input: see `validate`


def merged(kind: type[T], table: Mapping[str, Any], general: Place, special: Place) -> T:
    """`kind` from defaults, the experiment's values and the row's, and errors that name the place of the value."""
    places = dict.fromkeys(special[1], special[0]) | {"": special[0] if special[1] else general[0]}
    return validate(kind, {**table, **general[1], **special[1]}, general[0], places)


def validate(kind: type[T], value: Any, where: str, places: Mapping[str, str] | None = None) -> T:
    """`kind` from plain values, strictly: JSON's rules take 1 for a float and a list for a tuple, and no more."""
    try:
        return TypeAdapter(kind).validate_json(json.dumps(value))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    path, message = [str(part) for part in first["loc"]], first["msg"].removeprefix("Value error, ")
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        allowed = _keys(kind, path[:-1])
        message = f"unknown key{nearest(path[-1], allowed)}; allowed: {', '.join(allowed)}"
    elif first["type"] == "missing":
        message = "missing; every value of an experiment is written out"
    elif first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        path.append("dataset")
        message = f"must be one of {', '.join(DATASETS)}, got {shown(first['input'].get('dataset'))}"
    elif path[-1:] == ["[key]"]:
        message = f"{NAME_RULE}, got {shown(path[-2])}"
    elif path[:2] == ["resources", "gpus"]:
        path, message = path[:2], f"must be auto or a number from 0 to 1, got {shown(first['input'])}"
    elif path:
        for theirs, ours in (("Input should", "must"), ("an object", "keys and values"), ("a valid array", "a list")):
            message = message.replace(theirs, ours)
        message += f", got {shown(first['input'])}"
    if path[:1] == ["data"] and path[1:2] and path[1] in DATASETS:
        del path[1]  # pydantic's name for the branch
    place = (places or {}).get(path[0] if path else "", where)
    raise UserError(f"{'.'.join([place, *(readable(part) for part in path if part != '[key]')])}: {message}")


def readable(key: str) -> str:
    return key if key.isprintable() and len(key) <= 80 else shown(key)


def _keys(kind: type, path: list[str]) -> list[str]:
    """The keys allowed at `path` inside `kind`."""
    inside = {"warm_up": WarmUp, "resources": Resources, "evaluation": Evaluation, "networks": NetworkSection}
    inner: type = DATASETS[path[1]] if path[:1] == ["data"] else inside.get("".join(path[:1]), kind)
    return list(inner.__annotations__)
