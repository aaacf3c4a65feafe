"""Whether whoever reaches the cluster may run code on it, or only who has its token. No token is shown."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from pipeline.checks.line import Line
from pipeline.checks.nodes import Node

MODE = "RAY_AUTH_MODE=token"


def on() -> bool:
    """In this process, whichever node it is on."""
    return os.environ.get("RAY_AUTH_MODE", "").lower() == "token"


def of_driver(environment: Mapping[str, str] = os.environ) -> Line:
    """The environment that this machine's stages hand to Ray."""
    if environment.get("RAY_AUTH_MODE", "").lower() != "token":
        if not environment.get("RAY_ADDRESS") and not any(name.startswith("RAY_AUTH_") for name in environment):
            return Line("authentication", "a local Ray, with a token of its own")
        mend = f"export {MODE} and RAY_AUTH_TOKEN_PATH here, and start every node of the cluster with them"
        return Line("authentication", "no token asked for: whoever reaches Ray can run code", mend)
    if environment.get("RAY_AUTH_TOKEN"):
        return Line("authentication", "token, from RAY_AUTH_TOKEN")
    named = environment.get("RAY_AUTH_TOKEN_PATH")
    return _file(Path(named) if named else Path.home() / ".ray" / "auth_token")


def of_node(node: Node, token: bool) -> Line:
    what = f"authentication on {node.name}"
    return Line(what, "token" if token else "off", "" if token else f"start Ray there with {MODE} and the token")


def _file(path: Path) -> Line:
    what = "authentication"
    make = f"make it: (umask 077; python -c 'import secrets; print(secrets.token_hex(32))' > {path})"
    try:
        mode = path.stat().st_mode
        empty = not path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        return Line(what, f"{path}: {getattr(error, 'strerror', None) or 'no text'}", make)
    if empty:
        return Line(what, f"{path}: empty", make)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Line(what, f"{path}: others may read it", f"chmod 600 {path}")
    return Line(what, f"token, from {path}")
