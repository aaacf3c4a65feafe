"""Work in a process of its own: what it does to itself, its mounts among it, is gone with it."""

import ctypes
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

PR_SET_PDEATHSIG = 1  # of sys/prctl.h


def apart(work: Callable[[], Any]) -> Any:
    """What `work` returns, by way of JSON. A fork: what was imported is there. Raises AssertionError where it fails."""
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile("w+") as answer:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                json.dump(work(), answer)
                code = 0
            except BaseException:
                traceback.print_exc(file=answer)
            finally:
                answer.flush()
                os._exit(code)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        answer.seek(0)
        assert ended == 0, f"the process that plays the faults ended with {ended}: {answer.read()}"
        return json.load(answer)
