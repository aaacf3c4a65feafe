"""report.html: it loads nothing, shows the numbers of report.json, and text stays text."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.config import load
from pipeline.reporting import curves, html, report_json, style
from pipeline.reporting.inputs import Inputs, gather
from pipeline.reporting.markdown import cell
from pipeline.reporting.report_json import ReportJson
from resnet.claims import CLAIMS
from resnet.claims.headline import judge_headline
from resnet.claims.verdicts import judge_all
from tests.factories.reports import EXPERIMENT, Made, inputs, read, report, tokens

MADE = Made(
    networks=("plain-18", "plain-34", "resnet-18", "resnet-34", "resnet-50"),
    leave_out=("resnet-50-seed0", "resnet-50-seed1", "resnet-50-seed2", "resnet-34-seed1"),
    diverged=("plain-34-seed0",),
)
HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)><!--{{ 7 * 7 }}&amp;"


class Page(HTMLParser):
    """The elements of a page, the cells of its tables, and what its scripts and styles contain."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.code = {"script": "", "style": ""}
        self.inside = ""
        self.feed(text)
        (self.data,) = (
            json.loads(found) for found in re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
        )

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside in self.code:
            self.code[self.inside] += data
        elif self.inside in ("th", "td") or (self.inside == "button" and self.tables and self.tables[-1]):
            self.tables[-1][-1][-1] += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page(found: Inputs, **changes: Any) -> Page:
    headline, judged = judge_headline(found.study), judge_all(found.study, CLAIMS)
    made = report_json.report_json(found, headline, judged, Path())
    numbers = curves.errors(found.study.networks)
    return Page(html.page(made.model_copy(update=changes), found, headline, judged, numbers))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment that has missing and diverged runs, and its report."""
    root = tmp_path_factory.mktemp("html")
    report(root, MADE)
    return root


@pytest.fixture(scope="module")
def made(root: Path) -> tuple[Page, ReportJson]:
    """The page and report.json of the report."""
    text = (root / "reports" / EXPERIMENT / "report.html").read_text(encoding="utf-8")
    return Page(text), read(root)[1]


def test_the_same_inputs_give_the_same_bytes(root: Path, tmp_path: Path) -> None:
    report(tmp_path, MADE)
    first, second = ((of / "reports" / EXPERIMENT / "report.html").read_bytes() for of in (root, tmp_path))
    assert first == second


def test_it_loads_nothing(made: tuple[Page, ReportJson]) -> None:
    shown, _ = made
    assert {tag for tag, _ in shown.elements} & {"link", "img", "iframe", "object", "embed", "base", "video"} == set()
    assert all("src" not in attributes and "style" not in attributes for _, attributes in shown.elements)
    assert "default-src 'none'" in str(shown.of("meta"))
    assert re.search(r"url\(|@import|@font-face", shown.code["style"]) is None
    loads = r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|import|eval|innerHTML)\b"
    assert re.search(loads, shown.code["script"]) is None
    addresses = re.findall(r"https?://[^\s\"']+", shown.code["script"])
    assert addresses == ["http://www.w3.org/2000/svg"]  # the name of a kind of elements, which is never loaded


def test_its_links_lead_to_sections_of_the_report_and_to_files_next_to_it(
    root: Path, made: tuple[Page, ReportJson]
) -> None:
    folder, flat = root / "reports" / EXPERIMENT, tokens(read(root)[0])
    headings = [flat[i + 1].content for i, token in enumerate(flat) if token.type == "heading_open"]
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = [str(link["href"]) for link in made[0].of("a")]
    assert len(links) > 8
    for link in links:
        path, _, section = link.partition("#")
        assert (folder / path).is_file(), link
        assert not section or section in slugs, link


def test_its_values_are_those_of_the_report(root: Path, made: tuple[Page, ReportJson]) -> None:
    shown, found = made
    content = json.loads(found.model_dump_json())
    fields = shown.data["claims"][0].keys()
    assert shown.data["claims"] == [{f: c[f] for f in fields} for c in [*content["headline"], *content["claims"]]]
    assert {"effect", "interval", "bounds", "verdict", "p_for", "p_against"} <= set(fields)
    headline, *_, networks = shown.tables
    rows = [(row[0], row[1].partition(" ")[2]) for row in headline[1:]]  # without the verdict's symbol
    assert rows == [(part.claim, part.verdict) for part in found.headline]
    assert [row[2].partition(" ")[0] for row in headline[1:]] == [f"{part.effect:+.2f}" for part in found.headline]
    for row in networks[1:]:
        part = found.networks[row[0]]
        errors = [getattr(part, field) for field in report_json.ERRORS]
        assert row[2:6] == [cell(summary, (), 3) for summary in errors]


def test_its_curves_are_those_of_the_figures(root: Path, made: tuple[Page, ReportJson]) -> None:
    shown, _ = made
    study = gather(load(EXPERIMENT, root / "params.yaml"), root).study
    looks = style.looks([network for network in study.networks if network.runs])
    means = pd.read_csv(root / "reports" / EXPERIMENT / "numbers" / "curves.csv")
    drawn = shown.data["networks"]
    assert [one["name"] for one in drawn] == ["plain-18", "plain-34", "resnet-18", "resnet-34"]
    assert [button["data-network"] for button in shown.of("button") if "data-network" in button] == list(looks)
    for one in drawn:
        network = next(network for network in study.networks if network.name == one["name"])
        assert one["color"] == looks[one["name"]]["color"]
        assert [run["seed"] for run in one["runs"]] == [run.seed for run in network.runs]
        for split in ("train", "val"):
            rows = means[(means["network"] == one["name"]) & (means["split"] == split)]
            assert one["mean"][split] == [
                list(row) for row in zip(rows["iteration"], rows["error_percent"], strict=True)
            ]
        for shown_run, run in zip(one["runs"], network.runs, strict=True):
            assert shown_run["train"] == [[point.iteration, round(point.train, 4)] for point in run.history]


def test_missing_runs_are_said_first_and_a_network_without_runs_is_only_in_the_table(root: Path) -> None:
    text = (root / "reports" / EXPERIMENT / "report.html").read_text(encoding="utf-8")
    before, _, rest = text.partition("<main>")
    assert "4 of 15 runs are missing" in before
    assert "because it was never registered" in " ".join(before.split())
    assert re.search(r'<th scope="row">resnet-50</th>\s*<td>50</td><td>not run</td>', rest)
    assert 'data-network="resnet-50"' not in rest


def test_names_and_reasons_stay_text(tmp_path: Path) -> None:
    found = inputs(tmp_path, Made(seeds=2))
    plain = page(found)
    first, *others = found.study.networks
    named = replace(found.study, networks=(replace(first, name=HOSTILE), *others))
    manifest = found.manifest.model_copy(update={"source": HOSTILE})
    shown = page(replace(found, study=named, manifest=manifest), status_reason=HOSTILE)
    assert [tag for tag, _ in shown.elements] == [tag for tag, _ in plain.elements]
    assert shown.data["networks"][0]["name"] == HOSTILE
    assert shown.tables[-1][1][0] == HOSTILE
    assert HOSTILE in {button.get("data-network") for button in shown.of("button")}
    assert all(not name.startswith("on") for _, attributes in shown.elements for name in attributes)
