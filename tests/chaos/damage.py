"""Checkpoints that are cut short, or have a bit flipped: the one before is taken, or the run begins again."""

import logging
import random
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from torch import Tensor

from pipeline.run_store import checkpoint
from pipeline.run_store.checkpoint import restore, write
from tests.chaos.harness import Play
from tests.factories.tiny_run import SEED, begin, equal, going

KEY = "a" * 64
Damage = Callable[[bytes, random.Random], bytes]


def truncations(play: Play) -> None:
    _damages(play, "truncation", lambda content, draw: content[: draw.randrange(len(content))])


def bit_flips(play: Play) -> None:
    _damages(play, "bit flip", _flipped)


def _flipped(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _damages(play: Play, kind: str, damaged: Damage) -> None:
    """On the newest of two checkpoints, or on both."""
    logging.getLogger(checkpoint.__name__).setLevel(logging.ERROR)  # it warns of each that it passes over
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        folder, run, states = Path(temporary), begin(), dict[int, dict[str, Tensor]]()
        for _ in islice(going(run), 6):
            if run.iteration in (5, 6):
                write(folder, KEY, run)
                states[run.iteration] = {name: tensor.clone() for name, tensor in run.state_tensors().items()}
        whole = {path: path.read_bytes() for path in sorted(folder.glob("checkpoint-*"))}
        if play.mutation is not None:
            play.mutation()
        while not play.over:
            hit = list(whole)[-1:] if play.draw.random() < 0.75 else list(whole)
            for path in hit:
                path.write_bytes(damaged(whole[path], play.draw))
            play.log.fault(kind, both=len(hit) == 2)
            _check(play, folder, states.get(5) if len(hit) == 1 else None)
            for path in hit:
                path.write_bytes(whole[path])


def _check(play: Play, folder: Path, intact: dict[str, Tensor] | None) -> None:
    again = begin(seed=SEED + 99)
    fresh = {name: tensor.clone() for name, tensor in again.state_tensors().items()}
    try:
        found = restore(folder, KEY, again)
    except Exception as error:
        play.log.check(False, "damage raises no error", error=repr(error))
        return
    play.log.check(found is (intact is not None), "an intact checkpoint is found where there is one")
    play.log.check(again.iteration == (5 if intact else 0), "the state is that of its iteration")
    play.log.check(equal(again.state_tensors(), intact or fresh), "the state is an intact one")
