"""A report in a browser, as GitHub shows it: `python -m tests.browser reports/digits FOLDER` makes pictures to look at.

The markdown is rendered by markdown-it-py within GitHub's measures (a column of at most 980 pixels, tables that scroll
in a box of their own, images no wider than the column). Chromium then says what is wider than the column and which
images are missing.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path
from typing import Literal

from markdown_it import MarkdownIt

Theme = Literal["light", "dark"]
PROGRAM = shutil.which("chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *(
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--allow-file-access-from-files",
    ),
)
COLOURS: dict[Theme, str] = {
    "light": "--ground:#fff;--ink:#1f2328;--line:#d1d9e0;--row:#f6f8fa;--link:#0969da;--note:#8250df",
    "dark": "--ground:#0d1117;--ink:#f0f6fc;--line:#3d444d;--row:#151b23;--link:#4493f8;--note:#ab7df8",
}
STYLE = """
body { margin: 0; background: var(--ground); color: var(--ink);
       font: 16px/1.5 "Liberation Sans", "DejaVu Sans", sans-serif; }
article { box-sizing: border-box; width: WIDTHpx; max-width: 980px; padding: 24px; overflow-wrap: break-word; }
h1, h2 { border-bottom: 1px solid var(--line); padding-bottom: .3em; }
img { max-width: 100%; height: auto; }
a { color: var(--link); }
.wide { overflow: auto; margin-bottom: 16px; }
table { border-collapse: collapse; width: max-content; max-width: 100%; }
th, td { border: 1px solid var(--line); padding: 6px 13px; overflow-wrap: normal; }
tr:nth-child(2n) { background: var(--row); }
pre { background: var(--row); padding: 16px; overflow: auto; }
code { font: 85% "Liberation Mono", "DejaVu Sans Mono", monospace; }
blockquote { margin: 0 0 16px; padding: 8px 16px; border-left: 4px solid var(--note); }
"""
MEASURE = """
addEventListener("load", () => {
  const article = document.querySelector("article"), right = article.getBoundingClientRect().right + 1;
  const free = [...article.querySelectorAll("*")].filter(e => !e.closest(".wide") && !e.closest("pre"));
  const images = [...document.images];
  const boxes = [...free, ...article.querySelectorAll(".wide, pre")];
  const wider = boxes.filter(e => e.getBoundingClientRect().right > right);
  const found = {
    wider: wider.map(e => e.tagName + " " + (e.textContent || e.getAttribute("src") || "").slice(0, 60)),
    missing: images.filter(i => !i.complete || i.naturalWidth === 0).map(i => i.getAttribute("src")),
    images: images.map(i => [i.getAttribute("src"), i.naturalWidth, Math.round(i.getBoundingClientRect().width)]),
    tables: document.querySelectorAll("table").length,
    scripts: document.scripts.length,
    height: Math.ceil(document.documentElement.scrollHeight),
  };
  const out = document.createElement("output");
  out.textContent = JSON.stringify(found);
  document.body.append(out);
  out.style.display = "none";
});
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the browser measured."""

    wider: list[str]  # elements that reach beyond the column
    missing: list[str]  # images that are not there
    images: list[tuple[str, int, int]]  # source, own width, shown width in pixels
    tables: int
    scripts: int  # ours is one
    height: int  # of the page in pixels


def page(report: Path, theme: Theme, width: int) -> str:
    """report.md as a page of its own that finds its figures."""
    body = str(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(report.read_text()))
    body = body.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    body = re.sub(r"\[!(IMPORTANT|WARNING)\]", lambda m: f"<b>{m[1].capitalize()}</b><br>", body)
    style = STYLE.replace("WIDTH", str(width))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><base href="{escape(report.parent.as_uri())}/">'
        f"<title>report</title><style>:root{{{COLOURS[theme]}}}{style}</style><script>{MEASURE}</script></head>"
        f"<body><article>{body}</article></body></html>"
    )


def look(report: Path, theme: Theme, width: int) -> Seen:
    """Opens the page. Raises FileNotFoundError without chromium, RuntimeError where it measures nothing."""
    with tempfile.TemporaryDirectory() as folder:
        html = Path(folder) / "page.html"
        html.write_text(page(report, theme, width), encoding="utf-8")
        done = _chromium(folder, width, 1000, "--virtual-time-budget=10000", "--dump-dom", html.as_uri())
    match = re.search(r"<output[^>]*>(.*?)</output>", done, re.DOTALL)
    if match is None:
        raise RuntimeError(f"the page did not load: {done[:300]}")
    return Seen(**json.loads(unescape(match[1])))


def picture(report: Path, theme: Theme, width: int, target: Path) -> None:
    """The whole page as a PNG."""
    height = look(report, theme, width).height
    with tempfile.TemporaryDirectory() as folder:
        html = Path(folder) / "page.html"
        html.write_text(page(report, theme, width), encoding="utf-8")
        _chromium(folder, max(width, 500), height, f"--screenshot={target}", html.as_uri())


def _chromium(folder: str, width: int, height: int, *arguments: str) -> str:
    if PROGRAM is None:
        raise FileNotFoundError("chromium")
    flags = (*FLAGS, f"--user-data-dir={folder}/profile", f"--window-size={width},{height}")
    done = subprocess.run([PROGRAM, *flags, *arguments], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


if __name__ == "__main__":
    source, target = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    target.mkdir(parents=True, exist_ok=True)
    themes: tuple[Theme, ...] = ("light", "dark")
    for theme in themes:
        for width in (980, 490):
            picture(source / "report.md", theme, width, target / f"{theme}-{width}.png")
            print(target / f"{theme}-{width}.png", look(source / "report.md", theme, width).wider)
