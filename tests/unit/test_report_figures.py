"""The figures: drawn where there are data, with their numbers, legible and the same byte for byte."""

import csv
from pathlib import Path

import matplotlib
import pytest
from matplotlib.transforms import Bbox

from pipeline.reporting import figures, style
from resnet.claims import CLAIMS
from resnet.claims.headline import judge_headline
from resnet.claims.verdicts import judge_all
from tests.factories.reports import CIFAR, EXPERIMENT, Made, inputs, links, report

EVERY = {"curves", "forest", "plain", "depth", "responses", "gradients", "lesions", "noise"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report with all its pictures."""
    root = tmp_path_factory.mktemp("report")
    report(root, Made(seeds=2), pictures=True)
    return root / "reports" / EXPERIMENT


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    report(tmp_path, Made(seeds=2), pictures=True)
    contents = []
    for one in (folder, tmp_path / "reports" / EXPERIMENT):
        paths = sorted(path for path in one.rglob("*") if path.is_file())
        contents.append({path.relative_to(one).as_posix(): path.read_bytes() for path in paths})
    assert contents[0] == contents[1]


def test_a_report_has_its_files_and_links_to_them(folder: Path) -> None:
    kinds = (("figures", "png"), ("svg", "svg"), ("numbers", "csv"))
    pictures = {f"{part}/{name}.{ending}" for part, ending in kinds for name in EVERY}
    tables = {"report.md", "report.html", "report.json", "metrics.json", "plots/train_error.csv", "plots/val_error.csv"}
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == pictures | tables
    targets = links((folder / "report.md").read_text(encoding="utf-8"))
    own = {target for target in targets if not target.startswith(("#", "https:", "../../docs/"))}
    assert own == pictures | {"report.html"}


def test_only_what_was_measured_is_drawn(tmp_path: Path) -> None:
    runs = tuple(f"{network}-seed0" for network in Made().networks)
    text, _ = report(tmp_path, Made(seeds=1, not_evaluated=runs))
    assert "## Why" in text  # gradients are recorded in training
    assert "figures/gradients.png" in text
    assert not any(f"figures/{name}.png" in text for name in ("responses", "lesions", "noise"))
    assert "plain" not in figures.every(inputs(tmp_path / "residual", Made(networks=("resnet-18",), seeds=1)))
    assert set(figures.every(inputs(tmp_path / "nothing", Made(seeds=1, leave_out=runs)))) == {"curves", "depth"}


def test_the_curves_are_the_means_of_the_histories(tmp_path: Path) -> None:
    numbers = figures.every(inputs(tmp_path, Made(networks=("plain-18",), seeds=2)))["curves"][1]
    last = numbers[numbers["split"] == "train"].iloc[-1]
    runs = (tmp_path / "runs" / EXPERIMENT).glob("*/history.csv")
    ends = [float(list(csv.DictReader(path.open()))[-1]["train_top1_error_percent"]) for path in runs]
    assert last["error_percent"] == pytest.approx(sum(ends) / 2)
    assert last["runs"] == 2


LONG = "a-name-that-is-as-long-as-a-name-in-params-yaml-may-be-at-most-"


@pytest.mark.parametrize(
    "networks",
    [
        pytest.param(dict.fromkeys(CIFAR), marks=pytest.mark.slow),
        {f"{LONG}{i}": {"network": name} for i, name in enumerate(("resnet-34", "resnet-34", "resnet-34", "plain-34"))},
        {name: {"architecture": {"blocks": [1, 1]}} for name in ("plain-18", "resnet-18")},
    ],
    ids=["a depth each", "long names of one depth", "none of the paper's"],
)
@pytest.mark.filterwarnings("error")  # matplotlib warns where the space is too small
def test_nothing_overlaps_is_cut_off_or_too_small(tmp_path: Path, networks: dict[str, object]) -> None:
    content = Made(networks=(), seeds=2, changes={f"{EXPERIMENT}.networks": networks})
    found = inputs(tmp_path, content)
    seen = []
    judged = [*judge_headline(found.study), *judge_all(found.study, CLAIMS)]
    for name, (draw, numbers) in figures.every(found, judged).items():
        with matplotlib.rc_context(fname=style.SHEET):
            figure = draw(found.study, numbers)
            figure.draw_without_rendering()
        page = Bbox.from_bounds(0, 0, figure.bbox.width, figure.bbox.height).padded(1)
        axes = [panel.get_tightbbox() for panel in figure.axes]
        boxes = [box for box in (*axes, *(legend.get_window_extent() for legend in figure.legends)) if box is not None]
        for i, box in enumerate(boxes):
            assert all((page.containsx(box.x0), page.containsx(box.x1), page.containsy(box.y0), page.containsy(box.y1)))
            assert not [other for other in boxes[i + 1 :] if box.padded(-1).overlaps(other.padded(-1))], name
        texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text() and text.get_visible()]
        smallest = min(float(text.get_fontsize()) for text in texts)
        assert smallest / 72 / figure.get_figwidth() * 442 >= 7.5, name  # pixels, in a column as on a phone
        seen.append(name)
    assert {"curves", "depth", "responses", "lesions", "noise", "gradients"} <= set(seen)
