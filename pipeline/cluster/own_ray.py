"""Ray on this machine for one driver alone: nobody else can submit work, and no servers that nobody would ask."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

OBJECT_STORE_BYTES = 256 * 2**20  # messages only: data and weights go by files
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",  # for a Prometheus that is not there
}
# Each is a Python process that takes a processor for a second or two, just when the workers start: the page of the
# cluster, the autoscaler of a cluster that does not grow, and the reader of logs that are not shown.
SERVERS = ("start_api_server", "start_monitor", "start_log_monitor")


def prepare() -> None:
    """The environment of Ray and of all its processes; to be called before Ray is imported."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    # A token that only this process and its children know: nobody else on the machine can submit work.
    if not any(name in os.environ for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def start(**options: Any) -> None:
    """ray.init with a node of its own, and these options; once more where a busy machine let it wait too long."""
    import ray

    for last in (False, True):
        try:
            with _without_servers():
                ray.init(address="local", include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **options)
            return
        except Exception:
            ray.shutdown()
            if last:
                raise


@contextmanager
def _without_servers() -> Iterator[None]:
    """Ray has no options for it; its Node starts them by methods of these names.

    The node's agent remains, and takes Ray's word that there is no dashboard: it opens no ports then, one of which is
    the same for all Rays of a machine, and this process imports no web server.
    """
    from ray._private import utils
    from ray._private.node import Node

    replaced = [(Node, name, _nothing) for name in SERVERS] + [(utils, "get_dashboard_dependency_error", _no_dashboard)]
    kept = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
    _replace(replaced)
    try:
        yield
    finally:
        _replace(kept)


def _replace(attributes: list[tuple[Any, str, Any]]) -> None:
    for owner, name, value in attributes:
        setattr(owner, name, value)


def _nothing(_node: Any, **_options: Any) -> None:
    pass


def _no_dashboard() -> ImportError:
    return ImportError("nobody would look at it")
