"""The generated pages say what the code has, and README.md what the committed reports found."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from pipeline import config, networks, pages
from pipeline.__main__ import COMMANDS
from resnet.architectures import ARCHITECTURES, Architecture
from resnet.claims import CLAIMS
from resnet.claims.headline import HEADLINE
from resnet.recipe import Recipe

ROOT = Path(__file__).parents[2]
README = ROOT / pages.README
NETWORKS, CLI, PARAMS, CLAIMS_PAGE = (ROOT / path for path in pages.PAGES)
SLOW = {networks.page: pytest.mark.slow}
WRITTEN = [pytest.param(path, page, marks=SLOW.get(page, ()), id=path.stem) for path, page in pages.PAGES.items()]


def rows(path: Path, section: str = "") -> dict[str, list[str]]:
    """The tables of a page, or of one of its sections, by their first cells."""
    text = path.read_text(encoding="utf-8")
    text = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0] if section else text
    cells = [[cell.strip(" `*") for cell in line.split(" | ")] for line in text.splitlines() if line.startswith("|")]
    return {first.removeprefix("| ").strip("`*"): rest for first, *rest in cells}


@pytest.mark.parametrize(("path", "page"), WRITTEN)
def test_a_page_is_what_the_command_writes(path: Path, page: Callable[[], str]) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == page(), "write it with: python -m pipeline pages"


def test_the_pages_have_all_networks_commands_and_claims() -> None:
    assert set(ARCHITECTURES) <= set(rows(NETWORKS))
    assert [name for name in COMMANDS if f"usage: python -m pipeline {name} " not in CLI.read_text()] == []
    assert {claim.id for claim in (*HEADLINE, *CLAIMS)} <= set(rows(CLAIMS_PAGE))
    assert "Requires that ResNet-110 with each of these fields changed" in rows(CLAIMS_PAGE)["PA-1"][-1]


def test_the_page_of_params_has_every_key_with_its_range_and_default() -> None:
    for section, kind in (("architecture", Architecture), ("train", Recipe)):
        assert set(rows(PARAMS, section)) >= {field.name for field in fields(kind)}
    assert set(rows(PARAMS, "trial")) >= set(config.TrialSection.model_fields)
    assert rows(PARAMS, "trial")["odds_ratio"][:2] == ["number above 1 and at most 100", "1.1"]
    assert rows(PARAMS, "train")["momentum"][:2] == [r"number, must be in \[0, 1)", "required"]
    assert rows(PARAMS, "train")["workers"][:2] == ["integer, must divide batch_size", "1"]
    assert rows(PARAMS, "resources")["gpus"][:2] == ["must be auto or a number from 0 to 1", "auto"]
    assert rows(PARAMS, "architecture")["shortcut"][2].startswith('2015, Sec. 4.1; "none" is the plain network')
    assert rows(PARAMS, "evaluation")["ensemble"][2].startswith("Rows of `networks`")
    assert [key for key, (*_, meaning) in rows(PARAMS, "EXPERIMENT").items() if not meaning.strip(" |")] == []


def test_the_readme_has_the_results_of_the_committed_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = pages.reports()
    expected = pages.BEGIN + pages.results(found) + pages.END
    assert expected in README.read_text(encoding="utf-8"), "write it with: python -m pipeline pages"
    assert len(found) >= 2
    statuses = [report.status for report in found]
    assert statuses == sorted(statuses, reverse=True)  # registered ones first


@pytest.mark.parametrize("path", pages.PAGES, ids=lambda path: path.stem)
def test_every_row_of_a_table_has_as_many_cells_as_its_head(path: Path) -> None:
    columns = 0
    for line in (ROOT / path).read_text(encoding="utf-8").replace(r"\|", "").splitlines():
        if not line.startswith("|"):
            columns = 0
            continue
        columns = columns or line.count("|")
        assert line.count("|") == columns, line
