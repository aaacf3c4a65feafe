"""What a user can cause: one line saying what, where and how to mend it, and a stable exit code."""

import contextlib
import gc
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from pipeline import lifeline

BAD_INPUT = 2  # parameters, data, arguments
ENVIRONMENT = 3  # cluster, storage, network
FAILED = 4  # runs that could not be finished
MISSED = 5  # benchmarks that are not as fast as they have to be
LOST = 6  # the head of the Ray cluster
INTERRUPTED = 130  # SIGINT
TERMINATED = 143  # SIGTERM


class UserError(Exception):
    """Refused before anything was changed. The text is the one line that the user sees."""

    exit_code = BAD_INPUT


class EnvironmentFault(UserError):
    """The world around the pipeline is not as it must be."""

    exit_code = ENVIRONMENT


class RunsFailed(UserError):
    """Some runs could not be finished; those that could are kept."""

    exit_code = FAILED


class GateMissed(UserError):
    """Everything was measured and kept; a figure is not what it has to be."""

    exit_code = MISSED


class HeadLost(UserError):
    """The head of the cluster is gone; finished runs and checkpoints are kept."""

    exit_code = LOST


_ending = threading.Lock()


def end_lost(reason: str) -> NoReturn:
    """Ends the process here: on its ordinary way out Ray would wait for the head. For any thread."""
    if _ending.acquire(blocking=False):
        with contextlib.suppress(OSError):  # past sys.stderr, whose lock a thread that hangs may hold
            os.write(2, f"error: {reason}\n".encode())
        os._exit(LOST)
    while True:
        threading.Event().wait()


def run_stage(main: Callable[[], None]) -> None:
    """Runs a stage and ends the process: UserError as one line, a bug with its traceback."""
    logging.basicConfig(level=os.environ.get("LOG_LEVEL", "WARNING"), format="%(levelname)s %(name)s: %(message)s")
    lifeline.hold()
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        if (reason := lifeline.reason()) is not None:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
            end_lost(reason)
        what, code = ("terminated", TERMINATED) if lifeline.terminated() else ("interrupted", INTERRUPTED)
        print(f"{what}: finished runs and checkpoints are kept; the same command goes on", file=sys.stderr)
        sys.exit(code)
    finally:
        gc.freeze()  # else the interpreter looks through all of torch and MLflow before it ends, for a second or more
