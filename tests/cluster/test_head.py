"""A head that hangs, stalls, refuses or is gone, and a process that has to leave because of it."""

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from pipeline.cluster import head
from pipeline.errors import LOST

ROOT = Path(__file__).parents[2]

# It is asked once, twice stalls for as long as it may, and is gone then. Says how often it was asked.
WAITER = """
import os, sys, time
from pipeline.cluster import head
from pipeline import lifeline
from pipeline.errors import run_stage

head.EVERY_S, head.GRACE_S = 0.01, float(sys.argv[2])
asked = []

def answers():
    asked.append(len(asked) in (0, 9, 18))
    return asked[-1]

def say(what):
    os.write(1, f"{what} {len(asked)}\\n".encode())

def patient():
    try:
        time.sleep(60)
    finally:
        say("left in order")

def deaf():
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            say("heard nothing")

def wrong():
    while len(asked) < 20:
        time.sleep(0.001)
    head.settle()
    say("never")

def main():
    with lifeline.farewell(lambda: say("farewell")), head.watched(answers, "the head is gone"):
        globals()[sys.argv[1]]()

run_stage(main)
"""


def waiter(what: str, grace_s: float) -> list[str]:
    """What it says, after it has ended as it must."""
    words = [sys.executable, "-c", WAITER, what, str(grace_s)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (LOST, "error: the head is gone\n"), done.stdout
    return done.stdout.splitlines()


def test_the_main_thread_leaves_after_nine_silences_in_a_row() -> None:
    assert waiter("patient", 60) == ["left in order 28"]


def test_a_main_thread_that_cannot_leave_does_not_hold_the_process() -> None:
    assert waiter("deaf", 0.2) == ["heard nothing 28", "farewell 28"]


def test_an_error_that_comes_first_waits_for_the_verdict() -> None:
    assert waiter("wrong", 60) == []


def test_what_counts_as_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    assert head.greets(f"127.0.0.1:{port}")
    server.stop(None).wait()
    monkeypatch.setattr(head, "EVERY_S", 0.2)
    assert not head.greets(f"127.0.0.1:{port}")
    with socket.create_server(("127.0.0.1", 0)) as hangs:  # its kernel connects us, and nobody says a word
        assert not head.greets(f"127.0.0.1:{hangs.getsockname()[1]}")
    assert not head.greets("no.such.host.invalid:6379")
