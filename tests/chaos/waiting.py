"""Whether calls wait: for the network at all, or for anything else."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

SCHEDULER = Path("/proc/thread-self/schedstat")  # ns on a processor, ns of waiting for one, turns
NETWORK = ("connect", "send", "getresponse")  # of http.client.HTTPConnection: all that MLflow's client does there


class Calls:
    """Counts what its calls wait for. `held_s` is the longest that one of them was held up: by a lock, by sleep, by a
    disk or the network, but not by a busy machine, which makes it slow without holding it."""

    def __init__(self) -> None:
        self.held_s, self.network, self.number = 0.0, 0, 0
        self._within: int | None = None

    def make(self, call: Callable[..., Any], *arguments: Any) -> None:
        began, busy = time.monotonic(), _busy_s()
        self._within = threading.get_ident()
        try:
            call(*arguments)
        finally:
            self._within = None
            self.held_s = max(self.held_s, time.monotonic() - began - (_busy_s() - busy))
            self.number += 1

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Where `network` counts what a call does there by HTTP."""
        connection = http.client.HTTPConnection
        noting: dict[str, Any] = {name: self._noting(getattr(connection, name)) for name in NETWORK}
        with patch.multiple(connection, **noting):
            yield

    def _noting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **named: Any) -> Any:
            self.network += threading.get_ident() == self._within
            return original(*arguments, **named)

        return noted


def _busy_s() -> float:
    """Seconds that this thread has worked, or would have had it been given a processor."""
    if not SCHEDULER.exists():
        return time.thread_time()
    worked, waited, _ = SCHEDULER.read_text().split()
    return (int(worked) + int(waited)) / 1e9
