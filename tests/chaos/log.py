"""What a scenario did and found, a line of JSON an event."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Log:
    """Of one scenario. Written as it happens, so that a harness that hangs or is killed leaves it behind."""

    path: Path | None
    scenario: str
    seed: int
    done: Counter[str] = field(default_factory=Counter)  # faults by kind
    wrong: list[str] = field(default_factory=list)

    def fault(self, kind: str, **facts: Any) -> None:
        self.done[kind] += 1
        self._write("fault", kind=kind, **facts)

    def check(self, holds: bool, what: str, **facts: Any) -> None:
        """Something that must hold whatever happened."""
        if not holds:
            self.wrong.append(what)
        self._write("check", holds=holds, what=what, **facts)

    def _write(self, event: str, **facts: Any) -> None:
        if self.path is not None:
            line = {"scenario": self.scenario, "seed": self.seed, "event": event, **facts}
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")
