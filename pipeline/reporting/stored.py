"""Finds the report.json that somebody means: a path, an experiment's name, or a path in a git revision."""

import re
import subprocess
from pathlib import Path

from pydantic import ValidationError

from pipeline.errors import UserError
from pipeline.reporting.markdown import visible
from pipeline.reporting.schema import ReportJson

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
FILE = "report.json"


def find(what: str, root: Path) -> ReportJson:
    """`what` is a report.json, a folder with one, an experiment under root/reports, or REVISION:PATH.

    Raises UserError where there is none, or where it is of another schema.
    """
    return parse(_content(what, root), what)


def parse(content: bytes, what: str) -> ReportJson:
    name = visible(what)[:200]
    try:
        return ReportJson.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = visible(f"{where}: {first['msg']}".lstrip(": "))[:160]
        raise UserError(
            f"{name}: no report of this version ({reason}); make it with python -m pipeline.report"
        ) from None


def _content(what: str, root: Path) -> bytes:
    name = visible(what)[:200]
    places = [root / what, root / what / FILE]
    if NAME.fullmatch(what):
        places.append(root / "reports" / what / FILE)
    try:
        path = next((place for place in places if place.is_file()), None)
        if path is not None:
            return path.read_bytes()
    except OSError as error:
        raise UserError(f"{name}: {error.strerror}; give the path of a {FILE}") from None
    revision, colon, inside = what.partition(":")
    if colon and revision and inside:
        return _at_revision(what, root)
    raise UserError(
        f"{name}: neither a {FILE}, a folder with one, an experiment with reports/NAME/{FILE}, nor REVISION:PATH"
    )


def _at_revision(what: str, root: Path) -> bytes:
    name = visible(what)[:200]
    command = ["git", "-C", str(root), "show", "--end-of-options", what]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{name}: git cannot be asked ({error}); give a path") from None
    if done.returncode:
        said = visible(done.stderr.decode(errors="replace"))[:300]
        raise UserError(f"{name}: {said or 'git has no such file'}; give REVISION:PATH/{FILE}")
    return done.stdout
