"""What DVC draws from the report's tables, by `dvc plots` of a small repository."""

import json
import re
import shutil
from typing import Any

import pytest

from tests.factories.params import params, write
from tests.factories.workspace import ROOT, Workspace

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@t")
TEMPLATE = "pipeline/reporting/by_network.json"
TABLES = {"train_error.csv": ["plain-18", "plain-34", "resnet-18"], "val_error.csv": ["plain-18", "resnet-18"]}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A git and DVC repository with params.yaml, dvc.yaml, the template and the tables of one report, committed."""
    workspace = Workspace(tmp_path_factory.mktemp("plots") / "w")
    (workspace.folder / TEMPLATE).parent.mkdir(parents=True)
    write(workspace.folder / "params.yaml", params())
    for name in ("dvc.yaml", TEMPLATE):
        shutil.copy(ROOT / name, workspace.folder / name)
    write_tables(workspace, 0.5)
    workspace.repository()
    workspace.run("git", "add", "--all")
    workspace.run(*GIT, "commit", "--quiet", "--message", "all")
    return workspace


def write_tables(workspace: Workspace, error: float) -> None:
    folder = workspace.folder / "reports/tiny/plots"
    folder.mkdir(parents=True, exist_ok=True)
    for name, networks in TABLES.items():
        rows = [f"{iteration},{iteration + error},{network}" for network in networks for iteration in (1, 2)]
        (folder / name).write_text("\n".join(["iteration,error_percent,network", *rows, ""]))


def drawn(workspace: Workspace, *words: str) -> list[dict[str, Any]]:
    """The charts on the page that `dvc plots` writes, as Vega-Lite specifications."""
    workspace.run("dvc", "plots", *words, "--out", "page")
    page = (workspace.folder / "page" / "index.html").read_text()
    found = [json.loads(text) for text in re.findall(r"var spec = (\{.*?\});\s*vegaEmbed", page, re.DOTALL)]
    return [chart for chart in found if chart]  # the first one is of the bitmaps


def test_a_chart_has_the_rows_of_all_networks(repository: Workspace) -> None:
    charts = drawn(repository, "show")
    assert len(charts) == len(TABLES)
    for chart, networks in zip(charts, TABLES.values(), strict=True):
        rows = chart["data"]["values"]
        assert [row["network"] for row in rows] == [network for network in networks for _ in (1, 2)]
        x, y, color = (chart["encoding"][channel]["field"] for channel in ("x", "y", "color"))
        assert (x, y, color) == ("iteration", "error_percent", "network")
        assert {(float(row[x]), float(row[y])) for row in rows} == {(1.0, 1.5), (2.0, 2.5)}


def test_revisions_are_drawn_in_one_chart(repository: Workspace) -> None:
    write_tables(repository, 0.25)
    charts = drawn(repository, "diff", "HEAD")
    assert len(charts) == len(TABLES)
    for chart in charts:
        assert chart["encoding"]["strokeDash"]["field"] == "rev"
        shown = {(row["rev"], float(row["error_percent"])) for row in chart["data"]["values"]}
        assert shown == {("HEAD", 1.5), ("HEAD", 2.5), ("workspace", 1.25), ("workspace", 2.25)}
