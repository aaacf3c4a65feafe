"""docs/networks.md says what the code builds."""

from argparse import Namespace
from pathlib import Path

import pytest

from pipeline import networks
from resnet.architectures import ARCHITECTURES

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"


@pytest.mark.slow
def test_the_page_is_what_the_command_writes(tmp_path: Path) -> None:
    networks.main(Namespace(out=tmp_path / "page.md"))
    page = PAGE.read_text(encoding="utf-8")
    assert page == (tmp_path / "page.md").read_text(encoding="utf-8"), "write it with: python -m pipeline networks"
    assert [name for name in ARCHITECTURES if f"| {name} |" not in page] == []


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    columns = 0
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            columns = 0
            continue
        columns = columns or line.count("|")
        assert line.count("|") == columns, line
