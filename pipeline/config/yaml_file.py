"""A YAML file that a person wrote: read without waiting, guessing or building anything but plain values."""

import difflib
import stat
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.tokens import AliasToken, AnchorToken, TagToken

from pipeline.errors import UserError

MAX_BYTES = 250_000


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file. Raises UserError for whatever else is there; never waits on a pipe."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path}: not a regular file")
        if status.st_size > MAX_BYTES:
            raise UserError(f"{path}: {status.st_size} bytes, at most {MAX_BYTES} are read")
        text = path.read_text(encoding="utf-8-sig")
        _refuse_indirection(path, text)
        content = YAML(typ="safe", pure=True).load(text)
    except FileNotFoundError:
        raise UserError(f"{path}: not there; run from the top of the checkout, beside dvc.yaml") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise UserError(f"{path}: nested too deeply") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        where = f" line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        raise UserError(f"{path}{where}: {problem.splitlines()[0]}") from None
    except ValueError as error:  # a date or a number that YAML's syntax allows and Python's types do not
        raise UserError(f"{path}: {str(error).splitlines()[0]}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold keys and values, holds {_kind(content)}")
    _plain(content, f"{path}: ")
    return content


def _refuse_indirection(path: Path, text: str) -> None:
    """Anchors and aliases can blow a short file up; tags ask for types that parameters do not have."""
    if not any(sign in text for sign in "&*!"):
        return
    for token in YAML(typ="safe", pure=True).scan(text):
        where = f"{path} line {token.start_mark.line + 1}"
        if isinstance(token, AliasToken | AnchorToken):
            raise UserError(f"{where}: anchors and aliases (&, *) are not accepted; write the values out")
        if isinstance(token, TagToken):
            raise UserError(f"{where}: tags (!) are not accepted; write plain values")


def _kind(value: Any) -> str:
    names = {"NoneType": "nothing", "list": "a list", "str": "text", "int": "a number", "float": "a number"}
    return names.get(type(value).__name__, type(value).__name__)


def _plain(value: Any, where: str) -> None:
    """Refuses keys that are not text, and dates."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise UserError(f"{where.rstrip('.')} keys must be text, got {shown(key)}")
            _plain(inner, f"{where}{key if key.isprintable() else shown(key)}.")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            _plain(inner, f"{where}{i}.")
    elif not isinstance(value, str | int | float | None):
        raise UserError(f"{where.rstrip('.')}: must be text, a number, true, false or null, got {shown(value)}")


def shown(value: Any) -> str:
    """A value inside a message of one line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."


def nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""
