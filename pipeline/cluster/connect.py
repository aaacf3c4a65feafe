"""The connection to Ray: the cluster that RAY_ADDRESS names, or a Ray of its own on this machine.

A thread asks Ray for its nodes every LOOK_S seconds. When Ray no longer answers, the command ends with one line and
exit code 6. A Ray of its own is started again by starting the command again, at most RESTARTS times: all state is in
the run store.
"""

import concurrent.futures
import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import psutil
import ray

from pipeline.cluster.capacity import Capacity
from pipeline.errors import LOST, ClusterLost, EnvironmentFault, UserError, handle_signals, is_alive
from pipeline.messages import one_line

CONNECT_S = 10.0
START_S = 120.0  # for `ray.init`
LOOK_S = 2.0  # between two looks, and for an answer
MISSED_LOOKS = 9  # in a row; a head under load may not answer for some seconds
GRACE_S = 10.0  # for the main thread, which may wait inside of Ray
RESTARTS = 2
RESTARTED = "DEEP_RESIDUAL_RAY_RESTARTS"  # environment variable: how often this command was started again
OBJECT_STORE_BYTES = 256 * 2**20  # for messages; data and weights are files
QUIET = {"logging_level": logging.ERROR, "log_to_driver": False}
SERVERS = {"gcs_server", "raylet"}  # processes of a Ray of its own


class Cluster:
    """A connected Ray."""

    def __init__(self, address: str | None) -> None:
        self.address = address
        self.capacity = _capacity(address is None)
        self.looks = 0  # answers so far
        self.lost: str | None = None  # why the cluster is lost
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, name="ray-watch", daemon=True)
        self._watch.start()

    def require(self, answers: int = 2) -> None:
        """Waits for new answers of Ray: two of them show what a failure was part of. Raises ClusterLost."""
        looks = self.looks
        while self.looks < looks + answers and self.lost is None:
            self._over.wait(LOOK_S / 10)
        if self.lost is not None:
            raise ClusterLost(self.lost)

    def has_node(self, node: str) -> bool:
        """Whether Ray takes the node for alive."""
        return any(entry["Alive"] for entry in ray.nodes() if entry["NodeID"] == node)

    def fail(self, reason: str) -> None:
        """Gives up the cluster: the main thread raises KeyboardInterrupt, or the process ends after GRACE_S."""
        self.lost = f"{self._name()} {reason}; finished runs and checkpoints are kept: the same command resumes"
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)  # SIGINT may be ignored
        if not self._over.wait(GRACE_S):
            self.end(self.lost)

    def end(self, reason: str) -> NoReturn:
        """Starts the command again with a new Ray, or ends the process: Ray's own way out waits for its head."""
        if self.address is None:
            restart(reason)
        _say(f"error: {reason}")
        os._exit(LOST)

    def close(self) -> None:
        """Ends the looks."""
        self._over.set()
        self._watch.join(LOOK_S)

    def _look(self) -> None:
        """Looks at Ray until `close`, and gives it up when it does not answer."""
        with concurrent.futures.ThreadPoolExecutor(1, "ray-nodes") as pool:
            missed, question = 0, pool.submit(_capacity, self.address is None)
            while missed < MISSED_LOOKS:  # counted, not timed: a suspended process has missed no answers
                answer = self._answer(question)
                missed = 0 if answer else missed + 1
                if self._over.wait(LOOK_S):
                    return
                if question.done():
                    question = pool.submit(_capacity, self.address is None)
            self.fail("does not answer any more")

    def _answer(self, question: "concurrent.futures.Future[Capacity]") -> bool:
        try:
            capacity = question.result(timeout=LOOK_S)
        except Exception:  # Ray has several kinds; none is an answer
            return False
        if self.address is None and (not capacity.nodes or not _servers_run()):
            return False
        self.capacity = capacity
        self.looks += 1
        return True

    def _name(self) -> str:
        return "Ray on this machine" if self.address is None else f"the Ray cluster at {self.address}"


@contextmanager
def connected() -> Iterator[Cluster]:
    """A connection within the block. Raises EnvironmentFault where there is no cluster, and ClusterLost."""
    address = os.environ.get("RAY_ADDRESS") or None
    _start(address)
    handle_signals()  # Ray has replaced the handlers
    cluster = Cluster(address)
    try:
        yield cluster
        if address is not None:  # without its head `ray.shutdown` blocks all threads, and Ray ends the process
            cluster.require(answers=1)
    except (Exception, KeyboardInterrupt) as error:
        if not isinstance(error, UserError | KeyboardInterrupt):  # it may be the first sign of a lost cluster
            with suppress(ClusterLost):
                cluster.require()
        if cluster.lost is not None or isinstance(error, ClusterLost):
            cluster.end(cluster.lost or str(error))
        raise
    finally:
        ray.shutdown()  # watched too: without a head it does not return
        cluster.close()
        handle_signals()


def restart(reason: str) -> None:
    """Starts this command again with a new Ray on this machine. Returns where that was done RESTARTS times."""
    restarts = int(os.environ.get(RESTARTED, "0"))
    if restarts < RESTARTS:
        _say(f"{reason}; starts Ray again")
        _kill_children()
        os.environ[RESTARTED] = str(restarts + 1)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  (no shell is wanted)


def _say(message: str) -> None:
    """Writes a line to standard error, which may be closed, without Python's locks."""
    with suppress(OSError):
        os.write(2, f"{one_line(message)}\n".encode())


def _start(address: str | None) -> None:
    # Where a worker is suspended meanwhile, Ray waits indefinitely, and no other thread of Python runs.
    faulthandler.dump_traceback_later(START_S, exit=True, file=2)
    try:
        if address is None:
            ray.init(address="local", include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **QUIET)
        else:
            _check_address(address)
            ray.init(address=address, **QUIET)
    except EnvironmentFault:
        raise
    except Exception as error:  # Ray raises plain ones too
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if address is None:
            restart(f"Ray did not start on this machine ({reason})")
        raise _no_cluster(address, reason) from None
    finally:
        faulthandler.cancel_dump_traceback_later()


def _check_address(address: str) -> None:
    """Raises EnvironmentFault where no process listens at HOST:PORT: Ray itself would ask for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isascii() or not port.isdigit():
        return  # a name such as `auto`, or an address that Ray refuses
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise _no_cluster(address, getattr(error, "strerror", None) or str(error)) from None


def _no_cluster(address: str | None, reason: str) -> EnvironmentFault:
    if address is None:
        return EnvironmentFault(
            f"Ray did not start on this machine ({reason}); free some memory, or use a cluster by RAY_ADDRESS"
        )
    return EnvironmentFault(
        f"RAY_ADDRESS={address}: no Ray cluster ({reason}); start one, or unset RAY_ADDRESS to use this machine"
    )


def _capacity(local: bool) -> Capacity:
    resources: list[dict[str, Any]] = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return Capacity(tuple((own.get("CPU", 0.0), own.get("GPU", 0.0)) for own in resources), local)


def _servers_run() -> bool:
    """Whether the servers of a Ray of its own, children of this process, run."""
    return {child.name() for child in psutil.Process().children() if is_alive(child)} >= SERVERS


def _kill_children() -> None:
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
