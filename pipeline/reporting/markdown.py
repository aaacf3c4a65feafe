"""Text into GitHub markdown: whatever comes from data or parameters cannot become markup."""

import re
import unicodedata
from dataclasses import dataclass
from importlib import resources
from typing import Any

ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
MOST = 2_000  # characters in a cell: no sentence of ours is that long, but what comes in from outside can be
BLANKS = re.compile(r"[^\S\xa0]+")  # a no-break space stays
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "@": "&#64;"}
MARKUP = re.compile(r"([\\`*_\[\]~$])")
LEADING = re.compile(r"^([-+#=])")  # would start a list, a heading or a rule
NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")
LINKS = re.compile(r"(?i)\b(https?|ftp|mailto|javascript|data|www)([:.])")  # what GitHub links unasked


class Md(str):
    """Markdown of our own making, put into the report as it is."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Cells that are not Md are escaped. Every row has as many cells as the head."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[int, ...] = ()  # columns that are aligned to the right

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.head):
                raise ValueError(f"a row has {len(row)} cells, the head {len(self.head)}: {row}")


def visible(text: str) -> str:
    """One line without terminal codes, control, bidirectional and zero-width characters."""
    text = BLANKS.sub(" ", ANSI.sub("", text)).strip()
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else c for c in text)


def _cut(text: str) -> str:
    return text if len(text) <= MOST else f"{text[: MOST - 1]}…"


def escape(value: Any) -> str:
    """Text that GitHub shows as it is, also inside a table."""
    if isinstance(value, Md):
        return value
    text = _cut(visible(str(value)))
    text = MARKUP.sub(r"\\\1", "".join(ENTITIES.get(c, c) for c in text))
    text = LINKS.sub(lambda m: m[1] + ("&#58;" if m[2] == ":" else "&#46;"), text)
    text = re.sub(r"(?<=\S):(?=\S)", "&#58;", text)
    return NUMBERED.sub(r"\1\\\2", LEADING.sub(r"\\\1", text))


def code(value: Any) -> Md:
    """A code span; a backtick or a pipe in it gives way to a character like it."""
    text = _cut(visible(str(value))).replace("`", "'").replace("|", "¦")
    return Md(f"`{text}`") if text else Md("")


def table(content: Table) -> Md:
    """A GitHub table."""
    rule = ["---:" if i in content.numeric else "---" for i in range(len(content.head))]
    lines = [content.head, tuple(Md(r) for r in rule), *content.rows]
    return Md("\n".join("| " + " | ".join(escape(cell) for cell in line) + " |" for line in lines))


def render(values: dict[str, Any]) -> str:
    """report.md from report.md.j2. A name that the template uses and nobody gave is an error."""
    import jinja2

    template = resources.files("pipeline.reporting").joinpath("report.md.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(  # noqa: S701 - `finalize` escapes every value, for markdown
        undefined=jinja2.StrictUndefined, finalize=escape, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(table=table, code=code)
    text = environment.from_string(template).render(values)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
