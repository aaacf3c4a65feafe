"""The dashboard on the head of a cluster, which takes jobs: connected to, and watched while it is needed."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.cluster import head
from pipeline.errors import EnvironmentFault

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
KNOCK_S = 10.0
ANSWER_S = (2.0, 4.0)  # for a connection, and then for an answer that the head is well


def connect(address: str | None) -> "JobSubmissionClient":
    """A client of the dashboard. The token is taken from the environment. Raises EnvironmentFault."""
    given = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS") or DEFAULT_ADDRESS
    os.environ["RAY_API_SERVER_ADDRESS"] = given  # Ray prefers its variables to its own arguments
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # else the SDK sends none
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if path is not None and "RAY_AUTH_TOKEN" not in os.environ and not os.access(path, os.R_OK):
        raise EnvironmentFault(f"RAY_AUTH_TOKEN_PATH={path}: no file that can be read; put the cluster's token there")
    _knock(given)
    import logging

    import requests
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for module in ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk"):
        logging.getLogger(module).setLevel(logging.WARNING)  # set to INFO by the modules themselves
    try:
        return JobSubmissionClient(given)
    except AuthenticationError:
        raise EnvironmentFault(
            f"{given}: the cluster refused the token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH "
            "to a file with the cluster's token"
        ) from None
    except (RuntimeError, ConnectionError, ValueError, requests.RequestException) as error:
        raise _nobody(given, (str(error).strip().splitlines() or [type(error).__name__])[0]) from None


def _nobody(address: str, what: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"{address}: no Ray dashboard ({what}); "
        "give the head's by --address http://HEAD:8265, or by RAY_API_SERVER_ADDRESS"
    )


def _knock(address: str) -> None:
    """Ray would ask for minutes where nobody listens."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        host, port = parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        if host is None or port is None:
            return  # a name such as `auto`
        socket.create_connection((host, port), timeout=KNOCK_S).close()
    except (OSError, ValueError, UnicodeError) as error:
        raise _nobody(address, getattr(error, "strerror", None) or str(error)) from None


def lost(client: "JobSubmissionClient") -> str:
    return (
        f"{client.get_address()}: the head of the cluster does not answer any more; finished runs and checkpoints are "
        "kept: the same command follows the job again, or starts it on a new cluster"
    )


def _answers(client: "JobSubmissionClient") -> bool:
    """Whether the dashboard is there, and says that the head's GCS is."""
    try:
        status: int = client._do_request("GET", "/api/gcs_healthz", timeout=ANSWER_S).status_code
    except (OSError, RuntimeError):  # requests' errors are OSErrors
        return False
    return status < 500


@contextmanager
def attended(client: "JobSubmissionClient") -> Iterator[None]:
    """For the length of the block, left where the head is lost. Raises EnvironmentFault where a connection breaks."""
    import requests

    with head.watched(lambda: _answers(client), lost(client)):
        try:
            yield
        except RuntimeError:  # as which the client reports a status of HTTP
            head.settle()
            raise
        except requests.RequestException as error:
            head.settle()
            what = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise EnvironmentFault(f"{client.get_address()}: {what}; give the same command again") from None
