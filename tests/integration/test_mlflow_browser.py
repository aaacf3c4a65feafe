"""The page in MLflow whose address a sync prints, in a browser that has never seen MLflow."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.tracking.sync import sync
from tests.factories import browser
from tests.factories.tracking import NAME, Server, rows, write_data, write_finished

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(browser.PROGRAM is None, reason="chromium is not on PATH; apt-get install chromium"),
]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.chdir(tmp_path)
    made = Server(tmp_path / "server")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # the machine may be busy
    try:
        made.start()
        yield made
    finally:
        made.kill()


def test_it_opens_on_the_error_curves_of_all_networks(server: Server, tmp_path: Path) -> None:
    write_data()
    networks = [f"network-{number}" for number in range(1, 13)]  # without a view MLflow draws ten runs
    for number, network in enumerate(networks, 1):
        write_finished(number, rows(20), network=network)
    outcome = sync(NAME, patience_s=300)
    assert outcome.line().endswith(f"has 12 runs of {NAME}: {outcome.page}")
    assert outcome.page.startswith(server.uri)
    flags = (*browser.FLAGS, f"--user-data-dir={tmp_path}/profile", "--window-size=1280,1000")
    command = [str(browser.PROGRAM), *flags, "--virtual-time-budget=60000", "--dump-dom", outcome.page]
    page = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    for metric in ("train/top1_error", "val/top1_error"):
        assert set(re.findall(rf">([\w-]+) \({metric}\)<", page)) == set(networks)
