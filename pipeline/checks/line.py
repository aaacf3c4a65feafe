"""One line of the doctor: what was looked at, what was seen and, where that is not as it must be, how to mend it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    what: str
    seen: str
    mend: str = ""  # empty where all is well

    @property
    def ok(self) -> bool:
        return not self.mend

    def __str__(self) -> str:
        text = f"ok {self.what}: {self.seen}" if self.ok else f"mend {self.what}: {self.seen}; {self.mend}"
        return " ".join(text.split())  # one line, whatever a message of others holds


def refused(what: str, error: Exception) -> Line:
    """Of a message that says `what is wrong; how to mend it` itself."""
    seen, _, mend = str(error).rpartition("; ")
    return Line(what, seen, mend) if seen else Line(what, mend, "mend what it names")


def size(byte_count: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if byte_count < 1024:
            return f"{byte_count:.3g} {unit}"
        byte_count /= 1024
    return f"{byte_count:.4g} TiB"
