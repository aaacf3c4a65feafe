"""Whether the run store is the same from every node: files go both ways, and what bars others here bars them there."""

import fcntl
import hashlib
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pipeline.checks.line import Line
from pipeline.checks.nodes import Ask, Node, alive, on_each
from pipeline.errors import EnvironmentFault
from pipeline.storage.paths import create, is_remote, locate, write_bytes
from pipeline.storage.storage_faults import is_fault, mend, reason

if TYPE_CHECKING:
    from pipeline.cluster.capacity import Capacity

MOUNT = "mount one folder there on all nodes, or set `storage` to one that they share"
BUCKET = "give all nodes the same endpoint and credentials in their environment"
LOCKS = "mount it by NFSv4, or with a lock daemon: two workers would train the same run"
CONDITIONS = "use an object store that creates conditionally for all: two workers would train the same run"
CHECKOUT = "let all nodes share the checkout, and start Ray on them with the same Python"
DATA = "let all nodes share the checkout with its data/"


@dataclass(frozen=True, slots=True)
class Echo:
    """What one node made of this machine's file."""

    word: str = ""  # what it read in it
    back: str = ""  # the name of the file that it wrote the word to
    locked: bool = False  # this machine's lock on the file held there too
    fault: str = ""
    mend: str = ""  # of the fault; empty for the usual
    digests: tuple[str, ...] = ()  # of files that are only read; empty where one is not there


@dataclass(frozen=True, slots=True)
class Trouble:
    """What one node does not share."""

    path: Path
    wrong: str
    mend: str


def echo(folder: Path, name: str, reading: Sequence[Path]) -> Echo:
    """On a node: reads the file `name`, tries its lock, and writes the word back beside it."""
    digests = tuple(_digest(path) for path in reading)
    try:
        word, locked = (folder / name).read_bytes().decode(), _bars(folder / name)
        back = f"{name}.{secrets.token_hex(4)}"
        write_bytes(folder / back, word.encode())
    except FileNotFoundError:
        return Echo(fault=f"another {_kind(folder)}: what is written here is not seen there", digests=digests)
    except Exception as error:
        if not is_fault(folder, error):
            raise
        mending = mend(folder, error) if is_remote(folder) else ""
        return Echo(fault=f"not to be used there: {reason(error)}", mend=mending, digests=digests)
    return Echo(word, back, locked, digests=digests)


def forget(folder: Path, name: str) -> None:
    """On a node: removes what it wrote."""
    (folder / name).unlink(missing_ok=True)


def troubles(
    folder: Path, reading: Sequence[Path], nodes: Sequence[Node], ask: Ask = on_each
) -> Iterator[tuple[Node, list[Trouble]]]:
    """What each node does not share with this process: `folder`, to write to, and files, to read. Raises OSError."""
    word, name = secrets.token_hex(16), f".probe-{secrets.token_hex(8)}"
    ours = [_digest(path) for path in reading]
    with _held(folder / name, word):
        for answer in ask(nodes, echo, folder, name, tuple(reading)):
            node, seen = answer.node, answer.value
            if seen is None:
                yield node, [Trouble(Path.cwd(), f"nothing runs there: {answer.fault}", CHECKOUT)]
                continue
            found = _judged(folder, word, seen)
            if seen.back and not _gone(folder / seen.back):
                ask([node], forget, folder, seen.back)
            for path, here, there in zip(reading, ours, seen.digests, strict=True):
                if here != there:
                    found.append(Trouble(path, "another file there" if there else "not there", DATA))
            yield node, found


def lines(folder: Path, reading: Sequence[Path], nodes: Sequence[Node], ask: Ask = on_each) -> Iterator[Line]:
    """The doctor's, one a node at least."""
    try:
        for node, found in troubles(folder, reading, nodes, ask):
            for trouble in found:
                yield Line(f"storage on {node.name}", f"{trouble.path}: {trouble.wrong}", trouble.mend)
            if not found:
                seen = f"{folder} is written, read and locked together with this machine"
                yield Line(f"storage on {node.name}", seen)
    except OSError as error:
        yield Line("storage", f"{folder}: {error.strerror}", "set `storage` to a folder you can write")


def require_shared(capacity: "Capacity | None", storage: str, data: Path, ask: Ask = on_each) -> None:
    """Before training on several nodes. Raises EnvironmentFault, naming the node and what it does not share."""
    if capacity is None or capacity.nodes < 2:
        return
    folder = locate(storage)
    try:
        for node, found in troubles(folder, [data.absolute() / "manifest.json"], alive(), ask):
            for trouble in found:
                raise EnvironmentFault(f"{trouble.path} on node {node.name}: {trouble.wrong}; {trouble.mend}")
    except OSError as error:
        raise EnvironmentFault(f"storage {folder}: {reason(error)}; set it to a folder you can write") from None


def _kind(store: Path) -> str:
    return "bucket" if is_remote(store) else "folder"


def _judged(folder: Path, word: str, seen: Echo) -> list[Trouble]:
    mount, locks, barred = (MOUNT, LOCKS, "a lock that is held here does not bar that node")
    if is_remote(folder):
        mount, locks, barred = (BUCKET, CONDITIONS, "an object that is there is created once more from that node")
    if seen.fault:
        return [Trouble(folder, seen.fault, seen.mend or mount)]
    if seen.word != word or _word(folder / seen.back) != word:
        return [Trouble(folder, f"another {_kind(folder)}: what is written there is not seen here", mount)]
    return [] if seen.locked else [Trouble(folder, barred, locks)]


@contextmanager
def _held(path: Path, word: str) -> Iterator[None]:
    """The file with the word in it, for the length of the block; in a folder it is locked meanwhile."""
    try:
        create(path, word.encode())
        if is_remote(path):
            yield
            return
        with path.open("r+", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    finally:
        path.unlink(missing_ok=True)


def _bars(path: Path) -> bool:
    """Whether this process is kept from what only one may have: the file's lock; an object of that name."""
    if is_remote(path):
        return not create(path, b"from a node")
    with path.open("r+", encoding="ascii") as file:
        return not _taken(file)


def _taken(file: IO[str]) -> bool:
    """Whether this process could take the file's lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _word(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, ValueError):
        return ""


def _gone(path: Path) -> bool:
    """Removes the file where it can be seen here; False where there is none."""
    try:
        path.unlink()
    except OSError:
        return False
    return True


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
