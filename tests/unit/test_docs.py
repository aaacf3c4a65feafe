"""README.md and docs/: commands parse, links lead somewhere, snippets of params.yaml load, the code of how-tos runs."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dvc.cli import DvcParserError
from dvc.cli.parser import get_main_parser
from markdown_it import MarkdownIt
from markdown_it.token import Token
from ruamel.yaml import YAML

from pipeline import config
from pipeline.__main__ import COMMANDS, parser
from pipeline.data import idx
from pipeline.data.prepared import verify
from pipeline.errors import UserError
from resnet.claims.verdicts import judge_all
from resnet.study import Network, Study
from tests.factories.params import write
from tests.factories.studies import of_errors, seeds

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
PAGES = [*TOP, *sorted(DOCS.rglob("*.md"))]
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
STAGES = set(config.read_yaml(ROOT / "dvc.yaml")["stages"])
PLACEHOLDER = re.compile(r"[A-Z]+")  # EXPERIMENT, NAME


@cache
def tokens(page: Path) -> tuple[Token, ...]:
    """The blocks of a page, each followed by what is in it."""
    blocks = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    return tuple(one for block in blocks for one in (block, *(block.children or ())))


def fences(page: Path, language: str) -> list[str]:
    return [token.content for token in tokens(page) if token.type == "fence" and token.info == language]


def sections(page: Path) -> dict[str, Any]:
    """The experiments in a page's snippets of params.yaml."""
    found: dict[str, Any] = {}
    for snippet in fences(page, "yaml"):
        found |= YAML(typ="safe", pure=True).load(snippet)
    return found


# Commands


def commands(text: str) -> Iterator[list[str]]:
    """The simple commands of lines of shell, without variables in front of them."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        try:
            words = [*lexer, ";"]
        except ValueError:  # a lone apostrophe: no shell
            continue
        command: list[str] = []
        for word in words:
            if set(word) <= set("();<>|&"):
                yield from _simple(command)
                command = []
            else:
                command.append(word)


def _simple(words: list[str]) -> Iterator[list[str]]:
    while words and (words[0] == "exec" or re.match(r"[A-Z_]+=", words[0])):
        words = words[1:]
    if words[:3] == ["ray", "job", "submit"] and "--" in words:
        words = words[words.index("--") + 1 :]
    if words[:2] == ["bash", "-c"]:
        yield from commands(words[2])
    elif words:
        yield words


def check(words: list[str], known: set[str], *, prose: bool) -> bool:
    """Whether this is a command of ours; asserts that it can be given. In prose its name is enough."""
    if words[:3] == ["python", "-m", "pipeline"]:
        if not (prose and set(words[3:]) <= set(COMMANDS)):
            _check_pipeline(words[3:], known)
    elif words[0] == "make":
        assert {word for word in words[1:] if "=" not in word} <= set(TARGETS), words
    elif words[0] == "dvc" and len(words) > 1:
        _check_dvc(words[1:], known)
    else:
        return False
    return True


def _check_pipeline(words: list[str], known: set[str]) -> None:
    try:
        parsed = parser().parse_args(words)
    except SystemExit as end:
        if end.code:  # 0: --help
            raise AssertionError(words) from None
        return
    named = getattr(parsed, "experiment", None) or []
    names = [named] if isinstance(named, str) else named
    assert {name for name in names if not PLACEHOLDER.fullmatch(name)} <= known, words
    if getattr(parsed, "only", []):
        config.load(names[0], ROOT / "params.yaml").only(parsed.only)


def _check_dvc(words: list[str], known: set[str]) -> None:
    try:
        parsed = get_main_parser().parse_args(words)
    except DvcParserError:
        raise AssertionError(words) from None
    for target in getattr(parsed, "targets", None) or []:
        stage, _, name = target.partition("@")
        assert stage in STAGES, words
        assert name in known or PLACEHOLDER.fullmatch(name), words
    for change in getattr(parsed, "set_param", None) or []:
        key, _, value = change.partition("=")
        assert key == "experiments", words
        assert set(value.strip("[]").split(",")) <= known, words


def given(page: Path) -> Iterator[tuple[list[str], bool]]:
    """Every command of a page, and whether it is in prose."""
    for token in tokens(page):
        if "…" in token.content:  # a message
            continue
        if token.type in ("code_block", "code_inline") or (token.type == "fence" and token.info in ("", "sh")):
            yield from ((words, token.type == "code_inline") for words in commands(token.content))


@EVERY_PAGE
def test_every_command_can_be_given(page: Path) -> None:
    known = {*config.read_yaml(ROOT / "params.yaml"), *sections(page)} - set(config.SHARED_KEYS)
    ours = [words for words, prose in given(page) if check(words, known, prose=prose)]
    assert ours or page.parent != DOCS / "how-to"


def test_commands_are_found_in_all_their_forms() -> None:
    found = [words for page in PAGES for words, _ in given(page)]
    assert {words[0] for words in found} >= {"make", "dvc", "python", "git", "ray"}
    assert sum(words[:3] == ["python", "-m", "pipeline"] for words in found) > 50
    text = (
        "(cd x && A=1 exec dvc repro report@digits) # dvc no\nray job submit -- bash -c 'cd y && make\\\n test' | tee z"
    )
    assert list(commands(text)) == [
        ["cd", "x"],
        ["dvc", "repro", "report@digits"],
        ["cd", "y"],
        ["make", "test"],
        ["tee", "z"],
    ]


@pytest.mark.parametrize(
    "command",
    [
        "make tests",
        "python -m pipeline trian digits",
        "python -m pipeline train digits-deep",
        "python -m pipeline train fashion --only plain-19",
        "python -m pipeline report --compare fashion",
        "dvc repro report@digits-deep",
        "dvc repro judge@digits",
        "dvc repro --all-of-it",
        "dvc exp run -S experiments=[digits-deep]",
    ],
)
def test_a_command_that_cannot_be_given_is_seen(command: str) -> None:
    (words,) = commands(command)
    with pytest.raises((AssertionError, UserError)):
        check(words, {"digits", "fashion"}, prose=False)


# Links and the site


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges and the site make them."""
    blocks = tokens(page)
    titles = [blocks[i + 1].content for i, token in enumerate(blocks) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@EVERY_PAGE
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    targets = [str(token.attrs.get("href", token.attrs.get("src", ""))) for token in tokens(page)]
    for target in filter(None, targets):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target
        assert DOCS in found.parents or DOCS not in page.parents, f"{target}: the site has pages of docs/ only"


def test_the_navigation_has_every_page_once() -> None:
    def pages(entry: Any) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        else:
            for one in entry.values() if isinstance(entry, dict) else entry:
                yield from pages(one)

    listed = list(pages(config.read_yaml(ROOT / "mkdocs.yml")["nav"]))
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


# Snippets


@pytest.mark.parametrize("page", [page for page in PAGES if fences(page, "yaml")], ids=lambda page: page.stem)
def test_snippets_of_params_load(page: Path, tmp_path: Path) -> None:
    found = sections(page)
    path = write(tmp_path / "params.yaml", {"experiments": [*found], **found})
    for name in found:
        experiment = config.load(name, path)
        assert min(map(len, experiment.by_network().values())) >= 5, "too few seeds for a verdict"


def planned(page: str, name: str, tmp_path: Path) -> Study:
    """The networks of a page's experiment, before any is trained."""
    path = write(tmp_path / "params.yaml", sections(DOCS / "how-to" / page))
    rows = config.load(name, path).by_network().items()
    networks = [
        Network(
            name=row,
            architecture_name=runs[0].architecture_name,
            architecture=runs[0].architecture,
            recipe=runs[0].recipe,
            runs=(),
            wanted=len(runs),
        )
        for row, runs in rows
    ]
    return Study(experiment=name, dataset="idx", classes=10, networks=tuple(networks), headline="test")


def test_the_own_ladder_is_one_with_a_twin_for_each_network(tmp_path: Path) -> None:
    (ladder,) = planned("own-ladder.md", "my-ladder", tmp_path).ladders()
    twins = [(plain.name, residual.name) for plain, residual in ladder.twins()]
    assert twins == [(f"plain-{depth}", f"resnet-{depth}") for depth in (8, 20, 32)]


@pytest.mark.parametrize("page", ["own-images", "own-idx", "register"])
def test_the_other_experiments_have_a_headline_too(page: str, tmp_path: Path) -> None:
    (name,) = sections(DOCS / "how-to" / f"{page}.md")
    ladders = planned(f"{page}.md", name, tmp_path).ladders()
    assert [len(ladder.twins()) for ladder in ladders] == [2]


def run(page: str) -> dict[str, Any]:
    """The names that a how-to's code defines."""
    (code,) = fences(DOCS / "how-to" / page, "python")
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 30
    names: dict[str, Any] = {"__name__": f"docs_{page.removesuffix('.md').replace('-', '_')}"}
    exec(compile(code, page, "exec"), names)
    return names


def test_the_claim_of_the_how_to_is_judged_both_ways() -> None:
    (claim,) = run("add-claim.md")["CLAIMS"]
    names = ("cifar-resnet-20", "cifar-resnet-56")
    for errors, verdict in (((9.0, 7.0), "reproduced"), ((7.0, 9.0), "contradicted")):
        study = of_errors(dict(zip(names, map(seeds, errors), strict=True)))
        assert judge_all(study, (claim,))[0].verdict == verdict
    assert {claim.home, claim.small} <= set(config.read_yaml(ROOT / "params.yaml"))


def test_the_data_set_of_the_how_to_prepares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run("add-data-set.md")
    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    np.savez("mine.npz", images=pixels, labels=np.arange(60) % 3)
    section = {"dataset": "npz", "validation": 10, "test": 5}
    manifest = names["prepare"](
        names["Npz"](source="mine.npz", **section), tmp_path / "data" / "mine", "params.yaml: mine"
    )
    verify(tmp_path / "data" / "mine", manifest)
    assert (manifest.train.images, manifest.val.images, manifest.test.images) == (45, 10, 5)
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(UserError, match=r"params\.yaml: mine\.source: text\.npz: .*; name a file"):
        names["prepare"](names["Npz"](source="text.npz", **section), tmp_path / "data" / "text", "params.yaml: mine")


def test_the_idx_files_of_the_how_to_are_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_idx = run("own-idx.md")["write_idx"]
    data = sections(DOCS / "how-to" / "own-idx.md")["my-digits"]["data"] | {"validation": 10}
    Path(data["source"]).mkdir()
    for number, name in enumerate(idx.UNPUBLISHED.files):
        values = np.random.default_rng(number).integers(0, 256, (40, 6, 6), dtype=np.uint8)
        images = name.endswith("images-idx3-ubyte")
        write_idx(f"{data['source']}/{name}.gz", values if images else (np.arange(40) % 4).astype(np.uint8))
    manifest = idx.prepare(idx.Idx(**data), tmp_path / "data" / "mine", "params.yaml: mine")
    assert (manifest.train.images, manifest.size, len(manifest.classes)) == (30, 6, 4)


# Messages


def test_the_lines_of_troubleshooting_are_those_of_the_code() -> None:
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "pipeline").rglob("*.py"))
    said = [node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    strings = [text for text in said if isinstance(text, str)]
    lines = [token.content for token in tokens(DOCS / "troubleshooting.md") if token.type == "code_inline"]
    quoted = [line for line in lines if "…" in line]
    assert len(quoted) > 10
    for line in quoted:
        for part in filter(str.strip, line.split("…")):
            assert any(part in text for text in strings), (line, part)
