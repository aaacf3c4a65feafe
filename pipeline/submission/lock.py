"""dvc.lock of the submitter, with the stages that the job ran as the job left them."""

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import SafeRepresenter

from pipeline.errors import UserError

STAGES = ("prepare", "train", "evaluate", "report")


def merged(ours: bytes, theirs: bytes, experiments: list[str]) -> bytes:
    """Other experiments may have come home, or been run here, since the job was sent: their entries stay."""
    mine, its = _read(ours), _read(theirs)
    stages = mine.setdefault("stages", {})
    for experiment in experiments:
        for stage in STAGES:
            name = f"{stage}@{experiment}"
            if name in its.get("stages", {}):
                stages[name] = its["stages"][name]
    text = io.StringIO()
    _yaml().dump(mine, text)
    return text.getvalue().encode()


def _read(content: bytes) -> Any:
    try:
        table = _yaml().load(content.decode()) if content.strip() else {"schema": "2.0"}
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"dvc.lock: damaged ({str(error).splitlines()[0]}); git restore dvc.lock") from None
    if not isinstance(table, dict) or not isinstance(table.get("stages", {}), dict):
        raise UserError("dvc.lock: damaged (no table of stages); git restore dvc.lock")
    return table


class _Representer(SafeRepresenter):
    """Writes None as DVC does, by nothing."""

    def represent_none(self, _: None) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:null", "")


_Representer.add_representer(type(None), _Representer.represent_none)


def _yaml() -> Any:
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # the order in which DVC writes
    return yaml
