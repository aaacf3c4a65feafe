"""The Ray cluster: RAY_ADDRESS if it is set, else one of this machine's own. Requests carry a token."""

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pipeline import ahead, lifeline
from pipeline.cluster import head, own_ray
from pipeline.cluster.capacity import Capacity
from pipeline.errors import EnvironmentFault

KNOCK_S = 10.0
QUIETLY = {"logging_level": logging.ERROR, "log_to_driver": False}


@contextmanager
def connected(soon: Sequence[str] = ()) -> Iterator[Capacity]:
    """A connection for the length of the block. Raises EnvironmentFault where there is no cluster to connect to.

    Modules that are needed `soon` are imported while Ray starts.
    """
    address = os.environ.get("RAY_ADDRESS") or None
    # Driver and workers share one environment already; Ray's wish to rebuild it through uv only costs time.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is None:
        own_ray.prepare()
    else:
        _knock(address)
    import ray

    ahead.begin(soon)
    try:
        if address is None:
            own_ray.start(**QUIETLY)
        else:
            ray.init(address=address, **QUIETLY)
    except Exception as error:  # of a machine that is too busy Ray says it by a plain one
        what = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise _no_cluster(address, what) from None
    lifeline.hold()  # Ray puts handlers of its own in place
    gcs = head.Gcs(str(ray.get_runtime_context().gcs_address))
    with head.watched(gcs.answers, _lost(address, gcs.address)):
        try:
            yield _capacity(address is None)
        except Exception:
            head.settle()
            raise
        finally:
            if lifeline.reason() is None:  # else Ray would wait for the head that is gone
                ray.shutdown()
                lifeline.hold()


def _capacity(local: bool) -> Capacity:
    import ray

    total = ray.cluster_resources()
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    each = tuple((has.get("CPU", 0.0), has.get("GPU", 0.0)) for has in alive)
    return Capacity(total.get("CPU", 0.0), total.get("GPU", 0.0), len(alive), local, each)


def _lost(address: str | None, gcs: str) -> str:
    what = f"Ray on this machine ({gcs})" if address is None else f"the head of the Ray cluster ({gcs})"
    where = "" if address is None else ", on a new cluster too"
    return f"{what} does not answer any more; finished runs and checkpoints are kept: the same command goes on{where}"


def _no_cluster(address: str | None, what: str) -> EnvironmentFault:
    if address is None:
        return EnvironmentFault(
            f"Ray did not start on this machine ({what}); give it more memory or rest, or a cluster by RAY_ADDRESS"
        )
    return EnvironmentFault(
        f"RAY_ADDRESS={address}: no Ray cluster ({what}); start one, or unset RAY_ADDRESS to use this machine"
    )


def _knock(address: str) -> None:
    """Raises EnvironmentFault where nothing listens at HOST:PORT: Ray itself would go on asking for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isascii() or not port.isdigit():
        return  # a name such as `auto`, or something that Ray refuses
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise _no_cluster(address, getattr(error, "strerror", None) or str(error)) from None
