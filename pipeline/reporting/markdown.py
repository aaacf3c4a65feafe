"""GitHub markdown: templates, tables, text that stays text, and how numbers are written in a cell."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2

from resnet.statistics import Summary

BLANKS = re.compile(r"[^\S\xa0]+")  # a no-break space stays
MARKUP = re.compile(r"([\\*\[\]<>|~$&]|(?<![^\W_])_|_(?![^\W_]))")  # an underscore within a word is text
NOT_RUN = "not run"
PLUS_MINUS = "\xa0±\xa0"  # a mean and its spread stay in one line


class Md(str):
    """Markdown that is put into the report as it is."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Cells that are not Md are escaped. Every row has as many cells as the head."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[int, ...] = ()  # columns that are aligned to the right


def render(template: str, values: Mapping[str, Any]) -> str:
    """Returns markdown from a template in this folder. A name that it uses and `values` lacks is an error."""
    text = resources.files("pipeline.reporting").joinpath(template).read_text(encoding="utf-8")
    environment = jinja2.Environment(  # noqa: S701 - `finalize` escapes every value, for markdown
        undefined=jinja2.StrictUndefined, finalize=escape, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(table=table, code=code, md=Md)
    rendered = environment.from_string(text).render(values)
    return re.sub(r"\n{3,}", "\n\n", rendered).strip() + "\n"


def one_line(text: str) -> str:
    """Removes line breaks and what cannot be printed (control and bidirectional characters)."""
    return "".join(c for c in BLANKS.sub(" ", text).strip() if c.isprintable() or c == "\xa0")


def escape(value: Any) -> str:
    """Returns text that GitHub shows as it is, also inside a table; what is between backticks is code."""
    if isinstance(value, Md):
        return value
    parts = one_line(str(value)).split("`")
    if len(parts) % 2 == 0:  # a single backtick is none of ours
        parts = ["'".join(parts)]
    return "`".join(part.replace("|", r"\|") if i % 2 else MARKUP.sub(r"\\\1", part) for i, part in enumerate(parts))


def code(value: Any) -> Md:
    """Returns a code span."""
    text = one_line(str(value)).replace("`", "'")
    return Md(f"`{text}`")


def table(content: Table) -> Md:
    """Returns a GitHub table."""
    rule = tuple(Md("---:" if i in content.numeric else "---") for i in range(len(content.head)))
    lines = [content.head, rule, *content.rows]
    return Md("\n".join("| " + " | ".join(escape(cell) for cell in line) + " |" for line in lines))


def cell(summary: Summary | None, notes: Sequence[str] = (), wanted: int | None = None) -> str:
    """Returns `9.99 ± 0.14 (n=5, single view)`, or `n=3 of 5` where seeds are missing."""
    if summary is None:
        return NOT_RUN
    of = f" of {wanted}" if wanted is not None and wanted != summary.n else ""
    return f"{mean(summary)} ({', '.join([f'n={summary.n}{of}', *notes])})"


def mean(summary: Summary, digits: int = 2) -> str:
    """Returns the mean, with its standard deviation where there is one."""
    spread = "" if summary.sd is None else f"{PLUS_MINUS}{summary.sd:,.{digits}f}"
    return f"{summary.mean:,.{digits}f}{spread}"


def signed(points: float) -> str:
    """Returns a difference with its sign; a rounded zero is positive."""
    return f"{round(points, 2) + 0.0:+.2f}"
