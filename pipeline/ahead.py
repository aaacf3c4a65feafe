"""Imports that take seconds, made in a thread while this process waits for something else.

Who needs a module imports it as ever, and waits no longer than without this.
"""

import contextlib
import threading
from collections.abc import Sequence
from importlib import import_module


def of_training(*, together: bool) -> list[str]:
    """What the train stage needs in its own process, for runs of which some are trained `together` by workers."""
    return ["resnet.counting", *(["pipeline.training.small_trainer"] if together else []), "pipeline.training.worker"]


def begin(modules: Sequence[str]) -> None:
    """One after the other."""
    threading.Thread(target=_load, args=(modules,), name="ahead").start()


def _load(modules: Sequence[str]) -> None:
    for name in modules:
        with contextlib.suppress(Exception):  # it fails again where it is needed, and that is said there
            import_module(name)
