"""The report in a real browser: nothing is wider than the page, and every figure is there."""

from pathlib import Path

import pytest

from tests.factories import browser
from tests.factories.reports import EXPERIMENT, Made, report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(browser.PROGRAM is None, reason="chromium is not on PATH; apt-get install chromium"),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """report.md of an experiment with tables and figures of all kinds."""
    root = tmp_path_factory.mktemp("browser")
    content = Made(
        networks=("plain-18", "plain-34", "resnet-18", "resnet-50", "cifar-plain-20", "cifar-resnet-20"),
        seeds=2,
        protocols={"10-crop": 0.0, "multi-scale": 0.0},
        leave_out=("plain-18-seed1",),
        diverged=("plain-34-seed0",),
        device="a device with a long name " * 10 + "x" * 200,
    )
    report(root, content, pictures=True)
    return root / "reports" / EXPERIMENT / "report.md"


@pytest.mark.parametrize("width", [980, 490])
def test_everything_is_within_the_column(path: Path, width: int) -> None:
    seen = browser.look(path, width)
    assert seen.wider == []
    assert seen.missing == []
    assert len(seen.images) == len(list((path.parent / "figures").iterdir()))
    assert all(shown == width - 48 for _, own, shown in seen.images if own > width)
    assert seen.tables >= 8


def test_what_is_too_wide_or_missing_is_seen(tmp_path: Path) -> None:
    (tmp_path / "report.md").write_text(f'![x](nowhere.png)\n\n<div style="width:2000px">wide</div>\n\n{"x" * 3000}\n')
    seen = browser.look(tmp_path / "report.md", 980)
    assert seen.missing == ["nowhere.png"]
    assert [element.split()[0] for element in seen.wider] == ["DIV"]
