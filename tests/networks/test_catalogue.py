"""docs/networks.md says what the code builds."""

from pipeline import catalogue
from resnet.architectures import ARCHITECTURES

MADE_BY = "make it again with: python -m pipeline.catalogue"


def test_the_page_is_the_codes() -> None:
    page = catalogue.PAGE.read_text(encoding="utf-8")
    assert page == catalogue.page(), MADE_BY
    assert [name for name in ARCHITECTURES if f"| {name} |" not in page] == []


def test_tables_are_whole() -> None:
    """Every row has as many cells as the head above it."""
    columns = 0
    for line in catalogue.PAGE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            columns = 0
            continue
        columns = columns or line.count("|")
        assert line.count("|") == columns, line
