"""Checkpoints cut short, or with a bit flipped: the one before is taken, or the beginning; never a wrong state."""

import logging
import random
import tempfile
from itertools import islice
from pathlib import Path

from torch import Tensor

from pipeline.store import checkpoints
from pipeline.store.checkpoints import restore, write
from resnet.training import Training
from tests.chaos.log import Log
from tests.tiny_run import SEED, begin, equal, going, weights

KEY = "a" * 64
KINDS = ("truncation", "bit flip")


def damages(count: int, seed: int, log: Log) -> None:
    """`count` of each kind, on the newest of two checkpoints, or on both."""
    draw = random.Random(seed)
    logging.getLogger(checkpoints.__name__).setLevel(logging.ERROR)  # it says of each that it is passed over
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        folder = Path(temporary)
        run = begin()
        states = {}
        for _ in islice(going(run), 6):
            if run.iteration in (5, 6):
                write(folder, KEY, run)
                states[run.iteration] = weights(run)
        files = sorted(folder.glob("checkpoint-*"))
        whole = {path: path.read_bytes() for path in files}
        for kind in KINDS:
            for _ in range(count):
                hit = files[-1:] if draw.random() < 0.75 else files
                for path in hit:
                    path.write_bytes(_damaged(whole[path], kind, draw))
                again = begin(seed=SEED + 99)
                fresh = weights(again)
                found = restore(folder, KEY, again)
                log.fault(kind, both=len(hit) == 2)
                _check(again, found, states[5] if len(hit) == 1 else fresh, len(hit) == 1, log)
                for path in hit:
                    path.write_bytes(whole[path])


def _damaged(content: bytes, kind: str, draw: random.Random) -> bytes:
    if kind == "truncation":
        return content[: draw.randrange(len(content))]
    changed = bytearray(content)
    changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _check(again: Training, found: bool, expected: dict[str, Tensor], one_left: bool, log: Log) -> None:
    log.check(found is one_left, "a good checkpoint is found where there is one, and none where there is none")
    log.check(again.iteration == (5 if one_left else 0), "the state is that of its iteration")
    log.check(equal(weights(again), expected), "the state is a good one")
