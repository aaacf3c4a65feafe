"""Whether the nodes' clocks agree with this machine's."""

import time
from collections.abc import Iterator, Sequence

from pipeline.checks.line import Line
from pipeline.checks.nodes import Ask, Node, on_each

MOST_S = 5.0


def now() -> float:
    """On a node: seconds since 1970."""
    return time.time()


def off_s(before: float, there: float, after: float) -> float:
    """The least difference that explains a time told between two times of one's own."""
    return max(before - there, there - after, 0.0)


def lines(nodes: Sequence[Node], ask: Ask = on_each) -> Iterator[Line]:
    """One node after the other, so that what one takes to answer does not hide another's difference."""
    for node in nodes:
        before = now()
        answer, after = ask([node], now)[0], now()
        if answer.value is not None:
            off = off_s(before, answer.value, after)
            seen = f"{off:.1f} s from this machine's at least" if off else "as this machine's"
            yield Line(f"clock on {node.name}", seen, "run NTP or chrony on every node" if off >= MOST_S else "")
