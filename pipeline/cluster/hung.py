"""Whether a process hangs, seen from its own node: one is known by its id and the time of its start."""

import os
import signal
import time
from pathlib import Path
from typing import Literal

PROC = Path("/proc")
LOOK_S = 1.0  # for how long a process is looked at

Finding = Literal["gone", "runs", "killed"]


def end_if_hung(pid: int, since: int, force: bool) -> Finding:
    """Kills the process that was started at `since` if it stands still, or by `force`; on its own node."""
    if started(pid) != since:
        return "gone"
    if not force:
        before = _switches(pid)
        time.sleep(LOOK_S)
        if before is None or _switches(pid) != before:
            return "runs"
    try:
        if started(pid) == since:
            os.kill(pid, signal.SIGKILL)
            return "killed"
    except ProcessLookupError:
        pass
    return "gone"


def _switches(pid: int) -> int | None:
    """How often threads of the process have left a processor: the same number twice if none has run. None: not known.

    Threads of Ray's run in every worker many times a second, whatever Python does.
    """
    try:
        texts = [path.read_text() for path in (PROC / str(pid) / "task").glob("*/status")]
        lines = [line for text in texts for line in text.splitlines() if "ctxt_switches:" in line]
        return sum(int(line.split()[1]) for line in lines) if lines else None
    except OSError:
        return None


def started(pid: int) -> int | None:
    """When the process was started, in clock ticks since the machine's start; None where there is none.

    A process id is given anew; the two together are not.
    """
    try:
        return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return None
