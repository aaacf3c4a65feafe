"""params.yaml as experiments, checked as a whole; every mistake named by key, value and what is allowed."""

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pipeline.config import protocols
from pipeline.config.experiment import Experiment, RunSpec
from pipeline.config.sections import NAME, NAME_RULE, ExperimentSection, NetworkSection
from pipeline.config.validation import merged, readable, validate
from pipeline.config.yaml_file import nearest, read_yaml, shown
from pipeline.errors import UserError
from pipeline.storage.paths import PLACES, is_place, without_password
from resnet.architectures import Architecture, architecture
from resnet.recipe import Recipe

PARAMS = Path("params.yaml")
SHARED_KEYS = ("experiments", "storage")


def load(name: str, path: Path = PARAMS) -> Experiment:
    """The experiment `name` of params.yaml, checked as a whole. Raises UserError."""
    content = read_yaml(path)
    experiments = _experiments(content, path)
    if name not in experiments:
        raise UserError(
            f"{path}: no experiment {shown(name)}{nearest(name, experiments)}; there are {', '.join(experiments)}"
        )
    if not is_place(storage := content.get("storage", ".runs")):
        raise UserError(f"{path}: storage must be {PLACES}, got {without_password(shown(storage))}")
    section = validate(ExperimentSection, content[name], f"{path}: {name}")
    rows = [(row, network or NetworkSection()) for row, network in section.networks.items()]
    experiment = Experiment(
        name=name,
        data=section.data,
        runs=tuple(run for row, network in rows for run in _runs(name, row, section, network, str(path))),
        resources=section.resources,
        storage=storage,
        evaluation=section.evaluation,
    )
    protocols.check(experiment, f"{path}: {name}.evaluation")
    return experiment


def _experiments(content: Mapping[str, Any], path: Path) -> list[str]:
    """The names of the sections, once the file's top level is as it must be."""
    experiments = [key for key in content if key not in SHARED_KEYS]
    for key in experiments:
        if not isinstance(content[key], Mapping):
            hint, shared = nearest(key, list(SHARED_KEYS)), ", ".join(SHARED_KEYS)
            raise UserError(f"{path}: {readable(key)}: unknown key{hint}; allowed: {shared} and experiments' sections")
        if not re.fullmatch(NAME, key):
            raise UserError(f"{path}: {readable(key)}: {NAME_RULE}, got {shown(key)}")
    listed = content.get("experiments", [])
    if not isinstance(listed, list):
        raise UserError(f"{path}: experiments must be a list of names, got {shown(listed)}")
    for entry in listed:
        if entry not in experiments:
            hint = nearest(str(entry), experiments)
            raise UserError(f"{path}: experiments: no section {shown(entry)}{hint}; there are {', '.join(experiments)}")
    return experiments


def _runs(name: str, row: str, section: ExperimentSection, network: NetworkSection, path: str) -> list[RunSpec]:
    general, special = f"{path}: {name}", f"{path}: {name}.networks.{row}"
    known = network.network or row
    try:
        base = architecture(known)
    except ValueError as error:
        raise UserError(f"{special}: {error}") from None
    table = {field.name: getattr(base, field.name) for field in fields(Architecture)}
    built = merged(
        Architecture,
        table,
        (f"{general}.architecture", section.architecture),
        (f"{special}.architecture", network.architecture),
    )
    recipe = merged(Recipe, {}, (f"{general}.train", section.train), (f"{special}.train", network.train))
    if recipe.min_workers is not None and built.shortcut_dropout > 0:
        raise UserError(f"{special}: train.min_workers must be null with shortcut_dropout, which workers draw apart")
    seeds, place = (section.seeds, general) if network.seeds is None else (network.seeds, special)
    if len(set(seeds)) != len(seeds):
        raise UserError(f"{place}.seeds: each seed once, got {shown(seeds)}")
    return [
        RunSpec(experiment=name, network=row, architecture_name=known, architecture=built, recipe=recipe, seed=seed)
        for seed in seeds
    ]
