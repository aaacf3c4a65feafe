"""Makes the report of a made-up experiment and reads it as a renderer of markdown does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from markdown_it import MarkdownIt
from markdown_it.token import Token

from pipeline.report import write
from pipeline.reporting import style
from pipeline.reporting.schema import ReportJson
from tests.report_maker import EXPERIMENT, Made, make

MARKUP = (
    *("html_inline", "html_block", "link_open", "image", "code_inline", "em_open", "strong_open", "s_open"),
    *("heading_open", "bullet_list_open", "ordered_list_open", "blockquote_open", "fence", "code_block", "hr"),
)
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "a|b\n\n# heading",
    "![x](https://example.org/x.png)",
    "[click](javascript:alert(1))",
    "`x` **bold** ~~gone~~ $x$",
    "https://example.org www.example.org <https://example.org>",
    "\x1b[31mred\x1b[0m \u202eright\u2066\u200b",
    "&lt;b&gt; \\",
    "<!-- ",
    "</details>",
    "- item",
    "[ref]: https://example.org",
    "> quote",
    "```\nfence",
    "\\|",
    "long " + "name-" * 2_000,
)
INVISIBLE = "\x1b\u202e\u2066\u200b"


@contextmanager
def without_pictures() -> Iterator[None]:
    """For tests of the text alone."""
    with patch.object(style, "save"):
        yield


def made(root: Path, content: Made | None = None, *, pictures: bool = False) -> tuple[str, ReportJson]:
    """report.md and report.json of a made-up experiment."""
    experiment = make(root, content)
    if pictures:
        write(experiment, root)
    else:
        with without_pictures():
            write(experiment, root)
    return read(root)


def read(root: Path) -> tuple[str, ReportJson]:
    folder = root / "reports" / EXPERIMENT
    report = ReportJson.model_validate_json((folder / "report.json").read_bytes())
    return (folder / "report.md").read_text(encoding="utf-8").replace("\xa0", " "), report


def tokens(text: str) -> list[Token]:
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    flat = []
    for token in parser.parse(text):
        flat += [token, *(token.children or [])]
    return flat


def links(document: str) -> set[str]:
    found = (t for t in tokens(document) if t.type in ("link_open", "image"))
    return {str(t.attrs.get("href") or t.attrs.get("src")) for t in found}


def html(document: str) -> set[str]:
    return {t.content for t in tokens(document) if t.type in ("html_inline", "html_block")}


def rows(document: str, heading: str, table: int = 0) -> list[list[str]]:
    """The cells of a table under a heading, its head first."""
    tables: list[list[list[str]]] = []
    flat = tokens(document)
    at = next(i for i, t in enumerate(flat) if t.type == "heading_open" and flat[i + 1].content.startswith(heading))
    for i, token in enumerate(flat[at + 1 :], at + 1):
        if token.type == "heading_open":
            break
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type in ("th_open", "td_open"):
            tables[-1][-1].append("".join(t.content for t in flat[i + 1].children or []).replace("\xa0", " "))
    return tables[table]
