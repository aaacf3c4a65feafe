"""docs/networks.md says what the code builds, and README.md what the committed reports found."""

from pathlib import Path

import pytest

from pipeline import networks, pages
from resnet.architectures import ARCHITECTURES

ROOT = Path(__file__).parents[2]
PAGE, README = ROOT / pages.NETWORKS, ROOT / pages.README


@pytest.mark.slow
def test_the_networks_page_is_what_the_command_writes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == networks.page(), "write it with: python -m pipeline pages"
    assert [name for name in ARCHITECTURES if f"| {name} |" not in page] == []


def test_the_readme_has_the_results_of_the_committed_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = pages.reports()
    expected = pages.BEGIN + pages.results(found) + pages.END
    assert expected in README.read_text(encoding="utf-8"), "write it with: python -m pipeline pages"
    assert len(found) >= 2
    statuses = [report.status for report in found]
    assert statuses == sorted(statuses, reverse=True)  # registered ones first


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    columns = 0
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            columns = 0
            continue
        columns = columns or line.count("|")
        assert line.count("|") == columns, line
