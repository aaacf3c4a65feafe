"""The figures: drawn where there are data, with their numbers, legible and the same byte for byte."""

import csv
from itertools import pairwise
from pathlib import Path

import matplotlib
import pytest
from matplotlib.colors import to_rgb
from matplotlib.transforms import Bbox

from pipeline.reporting import curves, figures, style
from tests.factories.reports import CIFAR, EXPERIMENT, Made, inputs, links, report

EVERY = {"curves", "plain", "depth", "responses", "gradients", "lesions", "noise"}


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
    tables = {"report.md", "report.json", "metrics.json", "plots/train_error.csv", "plots/val_error.csv"}
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == pictures | tables
    targets = links((folder / "report.md").read_text(encoding="utf-8"))
    assert {target for target in targets if not target.startswith(("#", "https://arxiv.org"))} == pictures


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


def test_values_that_are_not_finite_are_in_no_mean() -> None:
    found = curves.over_seeds(
        [("a", 1, 2.0), ("a", 2, float("nan")), ("a", 1, 4.0), ("a", 2, 5.0)], "network", "x", "y"
    )
    assert found[["x", "y", "runs"]].to_numpy().tolist() == [[1, 3.0, 2], [2, 5.0, 1]]
    assert found["sd"].tolist() == pytest.approx([2**0.5, 0.0])


def test_lesions_count_all_blocks_and_begin_with_the_whole_network(tmp_path: Path) -> None:
    found = curves.lesions(
        inputs(tmp_path, Made(networks=CIFAR, seeds=2, lesions={"cifar-resnet-20": 5.0})).study.networks
    )
    by_name = {name: found[found["network"] == name] for name in CIFAR}
    assert by_name["cifar-resnet-20"]["block"].tolist() == list(range(10))
    assert by_name["cifar-plain-20"]["block"].tolist() == [0, 1, 2, 3, 5, 6, 8, 9]
    whole, *without = by_name["cifar-resnet-20"]["error_percent"]
    assert all(4 < error - whole < 6 for error in without)


def test_gradients_are_of_the_first_iteration_and_halfway_through_training(tmp_path: Path) -> None:
    found = curves.gradients(inputs(tmp_path, Made(seeds=2, gradient_ratio={"plain-34": 0.01})).study.networks)
    plain = found[found["network"] == "plain-34"]
    assert plain["iteration"].unique().tolist() == [1, 1000]
    start = plain[plain["iteration"] == 1]
    assert start["convolution"].tolist() == list(range(1, 34))
    assert start["gradient_norm"].iloc[0] / start["gradient_norm"].iloc[-1] == pytest.approx(0.01, rel=0.2)


def test_figure_1_has_the_papers_two_depths(tmp_path: Path) -> None:
    content = Made(networks=("cifar-plain-20", "cifar-plain-56", "plain-18", "plain-34"), seeds=1)
    numbers = figures.every(inputs(tmp_path, content))["plain"][1]
    assert set(numbers["network"]) == {"cifar-plain-20", "cifar-plain-56"}


def lightness(colour: str) -> float:
    """Returns the relative luminance (WCAG)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_depths_are_ordered_in_lightness_and_families_have_markers(tmp_path: Path) -> None:
    networks = inputs(tmp_path, Made(networks=("plain-18", "plain-34", "resnet-50", "cifar-plain-20"))).study.networks
    shades = sorted(lightness(look["color"]) for look in style.looks(networks).values())
    assert all(deep - shallow > 0.01 for shallow, deep in pairwise(shades))
    assert (1.05) / (shades[-1] + 0.05) > 1.9  # the lightest line on white
    assert len({look["marker"] for look in style.FAMILIES.values()}) == 2


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
    for name, (draw, numbers) in figures.every(found).items():
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
