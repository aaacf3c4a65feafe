"""report.html in a real browser: what is drawn, what the buttons do, what the pointer finds, and what is legible."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.reporting import curves, html, report_json
from resnet.claims import CLAIMS
from resnet.claims.headline import judge_headline
from resnet.claims.verdicts import judge_all
from resnet.study import Network, Point, Run
from tests.factories import browser
from tests.factories.reports import EXPERIMENT, Made, inputs, report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(browser.PROGRAM is None, reason="chromium is not on PATH; apt-get install chromium"),
]
NETWORKS = ("plain-18", "plain-34", "resnet-18", "resnet-34", "resnet-50")
TOOLS = """
const all = (selector) => [...page.document.querySelectorAll(selector)];
const click = (selector) => all(selector)[0].click();
const texts = (selector) => all(selector).map((one) => one.textContent);
const lines = () => all(".panel").map((panel) => ["seed", "mean"].map(
  (kind) => panel.querySelectorAll(`[data-kind=${kind}]`).length));
const box = (one) => one.getBoundingClientRect();
const outside = () => all("svg text").filter((one) => {
  const [a, b] = [box(one), box(one.closest("svg"))];
  return a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 1 || a.bottom > b.bottom + 1;
}).map((one) => one.textContent);
const ends = () => all(".panel").map((panel) => [...panel.querySelectorAll(".end")].map((one) => box(one).top));
const tight = () => Math.min(...ends().flatMap((tops) => tops.slice(1).map((top, i) => top - tops[i])));
const wider = () => page.document.documentElement.scrollWidth - page.innerWidth;
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """report.html of five networks with three seeds, one of which diverged."""
    root = tmp_path_factory.mktemp("browser")
    report(root, Made(networks=NETWORKS, diverged=("plain-34-seed0",)))
    return root / "reports" / EXPERIMENT / "report.html"


@pytest.mark.parametrize("width", [1280, 390])
def test_it_draws_all_networks_and_loads_nothing(path: Path, width: int) -> None:
    script = """return {
      width: page.innerWidth, loaded: page.performance.getEntriesByType("resource").length,
      titles: texts(".panel .title"), lines: lines(), outside: outside(), tight: tight(), wider: wider(),
      columns: new Set(all(".panel").map((one) => box(one).left)).size,
      scales: new Set(all(".panel").map((one) => [...one.querySelectorAll("text")].map((t) => t.getAttribute("y")
        + t.textContent).slice(0, 5).join())).size,
      claims: all("[data-claim]").map((one) => one.dataset.claim),
    }"""
    seen = browser.run(path, width, TOOLS + script)
    assert (seen["width"], seen["loaded"]) == (width, 0)
    assert seen["titles"] == [
        f"{family} networks, {split} error (%)"
        for split in ("training", "validation")
        for family in ("plain", "residual")
    ]
    assert seen["lines"] == [[6, 2], [9, 3]] * 2
    assert seen["columns"] == (2 if width == 1280 else 1)
    assert seen["scales"] == 1
    assert seen["wider"] <= 0
    assert seen["outside"] == []
    assert seen["tight"] >= 12
    content = json.loads(path.with_name("report.json").read_text())
    claims = [*content["headline"], *content["claims"]]
    assert seen["claims"] == [c["id"] for c in claims if c["scale"] == "log odds" and c["interval"]]
    assert len(seen["claims"]) > 4


def test_buttons_choose_networks_splits_seeds_scale_and_theme(path: Path) -> None:
    script = """
    const ticks = () => texts(".panel text").slice(0, 6).join(" ");
    const seen = { linear: ticks() };
    click("[data-network=plain-34]"); seen.one_off = lines();
    click("[data-family=residual]"); seen.family_off = lines();
    seen.pressed = all("[data-network]").filter((b) => b.ariaPressed === "true").map((b) => b.dataset.network);
    click("[data-family=residual]"); click("[data-switch=seeds]"); seen.means = lines();
    click("[data-switch=val]"); seen.training = texts(".panel .title");
    click("[data-switch=log]"); seen.log = ticks();
    const ground = () => page.getComputedStyle(page.document.body).backgroundColor;
    const other = () => { click("#theme"); return ground(); };
    seen.grounds = [ground(), other(), other()];
    const column = () => texts("#networks tbody th");
    const errors = "#networks thead th:nth-child(3) button";
    click(errors); seen.ascending = column(); click(errors); seen.descending = column();
    return seen;"""
    seen = browser.run(path, 1280, TOOLS + script)
    assert seen["one_off"] == [[3, 1], [9, 3]] * 2
    assert seen["family_off"] == [[3, 1], [0, 0]] * 2
    assert seen["pressed"] == ["plain-18"]
    assert seen["means"] == [[0, 1], [0, 3]] * 2
    assert seen["training"] == ["plain networks, training error (%)", "residual networks, training error (%)"]
    assert seen["linear"].startswith("0 20 40")
    assert seen["log"].split()[:2] in (["1", "2"], ["2", "5"])
    light, dark, again = seen["grounds"]
    assert light == again == "rgb(255, 255, 255)"
    assert dark == "rgb(22, 24, 29)"
    assert sorted(seen["ascending"]) == sorted(NETWORKS)
    assert seen["ascending"][-1] == seen["descending"][0] == "plain-34"
    assert seen["descending"] == seen["ascending"][::-1]


def test_the_page_follows_the_system_and_the_curves_keep_the_ground_of_the_figures(path: Path) -> None:
    script = "return ['body', '.panel'].map((one) => page.getComputedStyle(all(one)[0]).backgroundColor)"
    light, dark = (browser.run(path, 1280, TOOLS + script, *flags) for flags in ((), (browser.DARK,)))
    assert (light[0], dark[0]) == ("rgb(255, 255, 255)", "rgb(22, 24, 29)")
    assert light[1] == dark[1]


def test_the_pointer_finds_a_seed_and_its_values(path: Path) -> None:
    script = """
    const panel = all(".panel")[1], line = panel.querySelector("[data-line=resnet-18][data-kind=seed]");
    const point = line.getPointAtLength(0), at = box(panel);
    const where = { clientX: at.left + point.x, clientY: at.top + point.y, bubbles: true };
    panel.dispatchEvent(new page.PointerEvent("pointermove", where));
    const found = texts("#tip")[0];
    const dim = new Set(all("path.dim").map((one) => one.dataset.line));
    panel.dispatchEvent(new page.PointerEvent("pointerleave"));
    const hidden = all("#tip")[0].hidden && !all("path.dim").length;
    const claim = all("[data-claim=plain-ladder]")[0];
    claim.dispatchEvent(new page.PointerEvent("pointermove", { clientX: 9, clientY: 9 }));
    return { found, dim: [...dim], hidden, claim: texts("#tip")[0] };"""
    seen = browser.run(path, 1280, TOOLS + script)
    data = json.loads(path.read_text().partition('id="data">')[2].partition("</script>")[0])
    network = next(one for one in data["networks"] if one["name"] == "resnet-18")
    expected = {
        f"resnet-18, seed {run['seed']}\niteration 20: training error {_js(run['train'][0][1])} %\n"
        f"mean over seeds: {_js(network['mean']['train'][0][1])} %"
        for run in network["runs"]
    }
    assert seen["found"] in expected
    assert sorted(seen["dim"]) == sorted(set(NETWORKS) - {"resnet-18"})
    assert seen["hidden"]
    claim = data["claims"][0]
    assert seen["claim"].startswith(f"plain-ladder: {claim['claim']}")
    assert f"{claim['effect']:+.2f} [" in seen["claim"]


def _js(value: float) -> str:
    return f"{value:.6g}"


@pytest.mark.parametrize("width", [1280, 390])
def test_extreme_numbers_stay_legible(tmp_path: Path, width: int) -> None:
    page = tmp_path / "report.html"
    page.write_text(_extreme(tmp_path / "made"), encoding="utf-8")
    script = """
    const linear = { lines: lines(), outside: outside(), tight: tight(), wider: wider() };
    click("[data-switch=log]");
    const marks = texts(".panel text");
    return { linear, outside: outside(), tight: tight(), wider: wider(), lines: lines(), marks,
      bad: all(".panel path").filter((one) => /NaN|Infinity/.test(one.getAttribute("d"))).length };"""
    seen = browser.run(page, width, TOOLS + script)
    assert seen["lines"] == seen["linear"]["lines"] == [[0, 10], [0, 10]] * 2
    for scale in (seen, seen["linear"]):
        assert scale["outside"] == []
        assert scale["tight"] >= 12
        assert scale["wider"] <= 0
    assert seen["bad"] == 0
    assert {"0", "0.0001", "0.01", "1", "10"} <= set(seen["marks"])


def _extreme(root: Path) -> str:
    """Returns the page of twenty networks of one seed with errors from 0 over 0.00001 to 100 %."""
    found = inputs(root, Made(networks=("plain-18", "resnet-18"), seeds=1))
    networks = tuple(_scaled(network, i) for network in found.study.networks for i in range(10))
    study = replace(found.study, networks=networks)
    found = replace(found, study=study)
    headline, judged = judge_headline(study), judge_all(study, CLAIMS)
    content = report_json.report_json(found, headline, judged, root)
    return html.page(content, found, headline, judged, curves.errors(networks))


def _scaled(network: Network, i: int) -> Network:
    def run(of: Run) -> Run:
        factor = 0.0 if i == 9 else 10.0**-i
        return replace(of, history=tuple(_point(point, factor) for point in of.history))

    architecture = replace(network.architecture, blocks=(2 + i, 2, 2, 2))
    changes: dict[str, Any] = {"name": f"{network.name}-{i}", "architecture": architecture}
    return replace(network, runs=tuple(run(one) for one in network.runs), **changes)


def _point(point: Point, factor: float) -> Point:
    return Point(point.iteration, factor * point.train, None if point.val is None else factor * point.val)
