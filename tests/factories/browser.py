"""A report in a browser: report.md as GitHub shows it, and report.html as it is.

The markdown is rendered by markdown-it-py within GitHub's measures (a column of at most 980 pixels, tables that scroll
in a box of their own, images no wider than the column). Chromium then says what is wider than the column and which
images are missing. A page of HTML is opened unchanged in a frame, whose scripts and layout a test can read.
"""

import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

PROGRAM = shutil.which("chromium")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--allow-file-access-from-files")
STYLE = """
body { margin: 0; font: 16px/1.5 "Liberation Sans", "DejaVu Sans", sans-serif; }
article { box-sizing: border-box; width: WIDTHpx; max-width: 980px; padding: 24px; overflow-wrap: break-word; }
img { max-width: 100%; height: auto; }
.wide { overflow: auto; margin-bottom: 16px; }
table { border-collapse: collapse; width: max-content; max-width: 100%; }
th, td { border: 1px solid #ccc; padding: 6px 13px; overflow-wrap: normal; }
pre { padding: 16px; overflow: auto; }
code { font: 85% "Liberation Mono", "DejaVu Sans Mono", monospace; }
blockquote { margin: 0 0 16px; padding: 8px 16px; border-left: 4px solid #ccc; }
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
  };
  const out = document.createElement("output");
  out.textContent = JSON.stringify(found);
  document.body.append(out);
});
"""

FRAME = """<!doctype html><body style="margin: 0"><iframe src="PAGE" style="border: 0; width: WIDTHpx; height: 1000px">
</iframe><script>
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentWindow, out = document.createElement("output");
  out.textContent = JSON.stringify((() => { SCRIPT })());
  document.body.append(out);
});
</script></body>
"""
DARK = "--blink-settings=preferredColorScheme=0"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the browser measured."""

    wider: list[str]  # elements that reach beyond the column
    missing: list[str]  # images that are not found
    images: list[tuple[str, int, int]]  # source, own width, shown width in pixels
    tables: int


def look(report: Path, width: int) -> Seen:
    """Opens the page. Raises RuntimeError where the browser measures nothing."""
    with tempfile.TemporaryDirectory() as folder:
        html = Path(folder) / "page.html"
        html.write_text(_page(report, width), encoding="utf-8")
        return Seen(**_output(html, f"--window-size={width},1000"))


def run(html: Path, width: int, script: str, *flags: str) -> Any:
    """Opens a page of `width` pixels; returns what the body of a function, in which `page` is its window, returns.

    A frame has this width; the browser's own window has at least 500 pixels. Raises RuntimeError where it fails.
    """
    content = FRAME.replace("PAGE", html.as_uri()).replace("WIDTH", str(width)).replace("SCRIPT", script)
    with tempfile.TemporaryDirectory() as folder:
        frame = Path(folder) / "frame.html"
        frame.write_text(content, encoding="utf-8")
        return _output(frame, f"--window-size={max(width, 500)},1000", *flags)


def _output(html: Path, *flags: str) -> Any:
    """Returns the JSON that a page writes into its element `output`."""
    assert PROGRAM is not None
    with tempfile.TemporaryDirectory() as profile:
        every = (*FLAGS, f"--user-data-dir={profile}", "--virtual-time-budget=10000", *flags)
        command = [PROGRAM, *every, "--dump-dom", html.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    match = re.search(r"<output[^>]*>(.*?)</output>", done.stdout, re.DOTALL)
    if match is None:
        raise RuntimeError(f"the page did not load: {done.stdout[:300]}")
    return json.loads(unescape(match[1]))


def _page(report: Path, width: int) -> str:
    body = str(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(report.read_text()))
    body = body.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    style = STYLE.replace("WIDTH", str(width))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><base href="{report.parent.as_uri()}/">'
        f"<title>report</title><style>{style}</style><script>{MEASURE}</script></head>"
        f"<body><article>{body}</article></body></html>"
    )
