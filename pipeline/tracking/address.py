"""Where MLflow is, checked without importing it, and what of that may be shown: never a credential."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.errors import UserError

DATABASES = ("postgresql", "mysql", "mssql")
HINT = "set MLFLOW_TRACKING_URI to http://HOST:PORT or sqlite:///FILE, or leave it out for ./mlflow.db"


@dataclass(frozen=True, slots=True)
class Address:
    """An address that MLflow accepts."""

    uri: str  # may hold credentials: for the client alone
    shown: str  # without them
    database: Path | None  # the file, where MLflow is a SQLite file
    secrets: tuple[str, ...]  # what no text of ours may contain

    @property
    def artifacts(self) -> str | None:
        """Where files go: beside a SQLite file; None leaves it to the server."""
        return None if self.database is None else (self.database.parent / "mlartifacts").as_uri()

    def redacted(self, text: str) -> str:
        """The text without user names, passwords and tokens."""
        text = text.replace(self.uri, self.shown) if self.uri != self.shown else text
        for secret in self.secrets:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
            if len(secret) >= 8:  # long enough to be no part of an ordinary word
                text = text.replace(secret, "***")
        return re.sub(r"://[^/\s@]*@", "://***@", text)


def address(uri: str | None = None) -> Address:
    """The address given, or MLFLOW_TRACKING_URI, or mlflow.db in the working folder. Raises UserError in one line."""
    uri = (uri or os.environ.get("MLFLOW_TRACKING_URI", "")).strip() or f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    shown, secrets = _without_credentials(uri)
    scheme = uri.split(":", 1)[0].lower() if ":" in uri else ""
    if scheme in ("http", "https"):
        _check_host(uri, shown)
        return Address(uri, shown, None, secrets)
    if scheme == "sqlite":
        path = _sqlite_file(uri, shown)
        return Address(f"sqlite:///{path}", f"sqlite:///{path}", path, secrets)
    if scheme.split("+")[0] in DATABASES or scheme.startswith("databricks") or uri == "databricks":
        return Address(uri, shown, None, secrets)
    if scheme in ("", "file"):
        raise UserError(f"MLflow address {shown!r}: MLflow no longer keeps runs in folders; {HINT}")
    raise UserError(f"MLflow address {shown!r}: no scheme that MLflow knows; {HINT}")


def _without_credentials(uri: str) -> tuple[str, tuple[str, ...]]:
    names = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME")
    secrets = [os.environ.get(name, "") for name in names]
    head, separator, rest = uri.partition("://")
    if separator and "@" in rest:  # up to the last @: a password may hold one, and a slash too
        user, _, rest = rest.rpartition("@")
        secrets += [user, *user.split(":", 1), *(unquote(part) for part in user.split(":", 1))]
    shown = (head + separator + rest).split("?", 1)[0]
    return shown, tuple(sorted({secret for secret in secrets if secret}, key=len, reverse=True))


def _check_host(uri: str, shown: str) -> None:
    try:
        parts = urlsplit(uri)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        named = False
    if not named:
        raise UserError(f"MLflow address {shown!r}: no host and port in it; {HINT}")


def _sqlite_file(uri: str, shown: str) -> Path:
    name = unquote(uri[len("sqlite:///") :].split("?", 1)[0]) if uri.startswith("sqlite:///") else ""
    if not name or name == ":memory:":
        raise UserError(
            f"MLflow address {shown!r}: names no file; write sqlite:///mlflow.db or sqlite:////absolute/mlflow.db"
        )
    path = Path(name).absolute()
    if not path.parent.is_dir():
        raise UserError(f"MLflow address {shown!r}: the folder {path.parent} is not there; make it first")
    return path
