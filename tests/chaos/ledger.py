"""Who wrote what into a run store, in order, by a few lines that are added to a checkout's copy of the code."""

from collections import Counter

from tests.workspace import Workspace

# A write is noted before it is made, and an attempt when its number is taken: what is noted after that was begun later.
LINES = """

def _note(path: Path) -> None:
    if len(path.parent.name) == 64:  # a run's
        with (path.parent.parent / "ledger").open("a") as ledger:
            ledger.write(f"{os.getpid()} {path.parent.name} {path.name}\\n")


def _noted(function: Any, before: bool) -> Any:
    def noted(path: Path, content: bytes) -> Any:
        if before:
            _note(path)
        done = function(path, content)
        if done and not before:
            _note(path)
        return done

    return noted


write_bytes, create = _noted(write_bytes, True), _noted(create, False)
"""


def keep(workspace: Workspace) -> None:
    """From now on every run in the checkout is noted."""
    with (workspace.folder / "pipeline" / "storage" / "paths.py").open("a") as file:
        file.write(LINES)


def overtaken(workspace: Workspace) -> int:
    """How many files an attempt wrote after a later one had begun, without the first of each.

    That one may have been allowed just before; at the next look the attempt has to see that it is not the last.
    """
    path = workspace.folder / ".runs" / "ledger"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    last: dict[str, str] = {}
    late: Counter[tuple[str, str]] = Counter()
    for pid, run, name in lines:
        if name.startswith("attempt-"):
            last[run] = pid
        elif last.get(run) != pid:
            late[run, pid] += 1
    return sum(count - 1 for count in late.values())
