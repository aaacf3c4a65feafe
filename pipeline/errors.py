"""Errors that a user can cause, as one line (what, where, how to fix it) and a stable exit code; and signals."""

import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from types import FrameType

import psutil

from pipeline.messages import one_line, standard_streams

BAD_INPUT = 2  # parameters, data, arguments
ENVIRONMENT = 3  # cluster, storage, network
FAILED = 4  # runs that did not finish
MISSED = 5  # benchmarks that are slower than required
LOST = 6  # the Ray cluster
INTERRUPTED = 130  # SIGINT
TERMINATED = 143  # SIGTERM
PARENT_S = 1.0  # between two looks at the `dvc` that started this process


class UserError(Exception):
    """A refusal before anything was changed. Its text is the one line that the user sees."""

    exit_code = BAD_INPUT


class EnvironmentFault(UserError):
    """A condition outside of the pipeline that it cannot work with."""

    exit_code = ENVIRONMENT


class RunsFailed(UserError):
    """Some runs did not finish; those that did are kept."""

    exit_code = FAILED


class ThresholdMissed(UserError):
    """All figures were measured and kept; one is below its threshold."""

    exit_code = MISSED


class ClusterLost(UserError):
    """The Ray cluster no longer answers; finished runs and checkpoints are kept."""

    exit_code = LOST


_terminated = threading.Event()


def run_command(main: Callable[[], None]) -> None:
    """Runs a command and ends the process: a UserError as one line, a bug with its traceback."""
    with standard_streams():
        handle_signals()
        try:
            logging.basicConfig(level=_log_level(), format="%(levelname)s %(name)s: %(message)s")
            main()
        except UserError as error:
            print(f"error: {one_line(error)}", file=sys.stderr)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            what, code = ("terminated", TERMINATED) if _terminated.is_set() else ("interrupted", INTERRUPTED)
            print(f"{what}: finished runs and checkpoints are kept; the same command resumes", file=sys.stderr)
            sys.exit(code)
        finally:
            gc.freeze()  # otherwise the interpreter visits all objects of torch and MLflow before it ends


def _log_level() -> int:
    """Returns the level that LOG_LEVEL names, in upper or lower case or as a number. Raises UserError."""
    level = os.environ.get("LOG_LEVEL", "").strip().upper() or "WARNING"
    known = {**logging.getLevelNamesMapping(), **{str(number): number for number in range(logging.CRITICAL + 1)}}
    if level not in known:
        what = f"must be DEBUG, INFO, WARNING, ERROR, CRITICAL or a number up to {logging.CRITICAL}, got {level!r}"
        raise UserError(f"LOG_LEVEL: {what}; set one of them, or unset it")
    return known[level]


def handle_signals() -> None:
    """Lets SIGTERM end a command as Ctrl-C does; the end of the `dvc` that started it counts as SIGTERM.

    Ray passes no exception but KeyboardInterrupt on from a signal handler. Call this again after Ray was started or
    stopped, because Ray installs handlers of its own.
    """
    if not _terminated.is_set():
        signal.signal(signal.SIGTERM, _terminate)
    _follow_dvc()


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the clean-up
    _terminated.set()
    raise KeyboardInterrupt


@cache
def _follow_dvc() -> None:
    parents = _started_by_dvc()
    if parents:
        threading.Thread(target=_end_with, args=(parents,), name="parents", daemon=True).start()


def _started_by_dvc() -> list[psutil.Process]:
    """The parent processes up to `dvc`; empty without DVC."""
    if "DVC_STAGE" not in os.environ:
        return []
    try:
        parents = psutil.Process().parents()
        commands = [[os.path.basename(word) for word in process.cmdline()[:4]] for process in parents]
    except psutil.Error:
        return []
    dvc = next((i for i, command in enumerate(commands) if "dvc" in command), None)
    return [] if dvc is None else parents[: dvc + 1]


def _end_with(parents: list[psutil.Process]) -> None:
    while all(map(is_alive, parents)):
        time.sleep(PARENT_S)
    os.kill(os.getpid(), signal.SIGTERM)


def is_alive(process: psutil.Process) -> bool:
    """Whether the process runs or is suspended; a zombie does neither."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
