"""A small valid params.yaml, and ways to change it."""

import copy
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

PARAMS: dict[str, Any] = {
    "experiments": ["tiny"],
    "storage": ".runs",
    "tiny": {
        "data": {"dataset": "digits", "validation": 100, "test": 100},
        "architecture": {"stem": "cifar", "width": 4, "blocks": [1, 1]},
        "train": {
            "batch_size": 16,
            "iterations": 8,
            "lr": 0.02,
            "lr_drops": [4, 6],
            "momentum": 0.9,
            "weight_decay": 0.0001,
            "pad": 1,
            "flip": False,
            "warm_up": None,
            "precision": "fp32",
            "record_every": 2,
            "validate_every": 4,
        },
        "seeds": [0, 1],
        "networks": {"plain-18": None, "resnet-18": {"seeds": [3]}},
        "resources": {"cpus": 1, "gpus": "auto", "retries": 3},
    },
}

REMOVE = object()  # as a value of `params`: the key is left out


def params(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """A fresh copy; `changes` maps dotted keys such as "tiny.train.lr" to values or to REMOVE."""
    content = copy.deepcopy(PARAMS)
    for key, value in (changes or {}).items():
        *parents, last = key.split(".")
        table = content
        for parent in parents:
            table = table.setdefault(parent, {})
        if value is REMOVE:
            del table[last]
        else:
            table[last] = value
    return content


def write(path: Path, content: dict[str, Any]) -> Path:
    """Writes YAML, keys in the order of `content`."""
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.sort_base_mapping_type_on_output = False
    yaml.default_flow_style = False
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)
    return path
