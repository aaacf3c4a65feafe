"""Checks the words of docs, messages, comments and docstrings: python -m tests.words (part of `make lint`).

Plain modern technical English: one term for one thing, the term of the field. The table holds words that are replaced.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

REPLACED = {  # pattern -> what to write
    r"mend(s|ed|ing)?": "fix",
    r"beside": "next to, compared with, after",
    r"anew|once more": "again",
    r"(goes|go|going|went) on": "resumes, continues",
    r"(to )?the same bits|same bits": "bit-identical",
    r"stands? (in|beside|there|behind|above|as|on)": "is (in)",
    r"lies (in|on|at|beside|there|outside|between)": "is (in), is stored (in)",
    r"at hand": "available",
    r"(is|are) asked( of| for)?|asked of": "required, target",
    r"by the code of before": "at commit X",
    r"nobody": "no process, no user",
    r"(its|own) gate|gates? (is|are|was) (missed|held)": "threshold",
    r"rivals?": "baseline",
    r"(comes?|came|brings?|brought) home": "is downloaded",
    r"AVX2 alone": "AVX2 only",
    r"of one's own": "local, your own",
    r"for ever": "indefinitely",
    r"told|tells?": "reported, says, records",
    r"room": "free space, free CPUs",
    r"share of": "fraction, shard",
    r"as well as ever|by and by|hitherto|thereof|wherein": "plain English",
}
PATTERN = re.compile("|".join(rf"(?P<w{i}>\b(?:{pattern})\b)" for i, pattern in enumerate(REPLACED)), re.IGNORECASE)
ADVICE = list(REPLACED.values())
PREPOSITIONS = ("of", "on", "by", "for", "with", "without", "in", "at", "from", "to", "under", "over", "between")
TEXTS = ("README.md", "CONTRIBUTING.md", "params.yaml", "dvc.yaml", "Makefile", "docs/*.md", "docs/**/*.md", "*.j2")
CODE = ("resnet/*.py", "pipeline/*.py", "benchmarks/*.py")
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
QUOTES = re.compile(r'"[^"\n]{25,}"|“[^”]*”')  # sentences of the paper


def main() -> None:
    """Prints one line per finding; exit code 1 if there is one."""
    found = [*_of_texts(), *_of_code()]
    print("\n".join(found) or "words: nothing to replace")
    sys.exit(bool(found))


def _files(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", *patterns], capture_output=True, text=True)
    return [path for path in map(Path, listed.stdout.split()) if path.is_file()]


def _of_texts() -> Iterator[str]:
    for path in _files(*TEXTS):
        yield from _in_text(path, 1, QUOTES.sub("", path.read_text(encoding="utf-8")))


def _of_code() -> Iterator[str]:
    for path in _files(*CODE):
        source = path.read_text(encoding="utf-8")
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield from _in_text(path, token.start[0], token.string)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from _in_text(path, node.lineno, node.value)
            if isinstance(node, Documented):
                yield from _of_docstring(path, node)


def _of_docstring(path: Path, node: Documented) -> Iterator[str]:
    first = (ast.get_docstring(node) or "").partition(" ")[0].lower()
    if first in PREPOSITIONS:
        line = getattr(node, "lineno", 1)
        yield f"{path}:{line}: docstring begins with the preposition {first!r}: begin with a verb or a noun phrase"


def _in_text(path: Path, line: int, text: str) -> Iterator[str]:
    for match in PATTERN.finditer(text):
        at = line + text.count("\n", 0, match.start())
        advice = ADVICE[int((match.lastgroup or "w0")[1:])]
        yield f"{path}:{at}: {match.group()!r}: write {advice}"


if __name__ == "__main__":
    main()
