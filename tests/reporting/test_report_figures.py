"""The figures: drawn where there are data, with the numbers beside them, legible and the same byte for byte."""

import csv
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import matplotlib
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from pipeline.report import write
from pipeline.reporting import figure_curves, figures, inputs, inside, style
from pipeline.reporting.curves import Curve, over_runs
from resnet.architectures import ARCHITECTURES
from tests.report_maker import EXPERIMENT, Made, make
from tests.report_reader import links, made

CIFAR = ("cifar-plain-20", "cifar-plain-56", "cifar-resnet-20", "cifar-resnet-56")
EVERY = {"curves", "plain", "depth", "responses", "gradients", "lesions", "noise"}


def numbers(root: Path, name: str) -> list[dict[str, str]]:
    with (root / "reports" / EXPERIMENT / "numbers" / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def drawn(root: Path, content: Made) -> Iterator[tuple[str, Figure]]:
    """Every figure of the experiment as matplotlib lays it out."""
    gathered = inputs.gather(make(root, content), root)
    with matplotlib.rc_context(style.STYLE):
        for one in figures._found(inputs.study(gathered), gathered):
            figure = one.draw()
            figure.draw_without_rendering()
            yield one.name, figure


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report with all its pictures."""
    root = tmp_path_factory.mktemp("report")
    made(root, Made(seeds=2), pictures=True)
    return root / "reports" / EXPERIMENT


def test_the_same_inputs_give_the_same_bytes(report: Path, tmp_path: Path) -> None:
    made(tmp_path, Made(seeds=2), pictures=True)
    contents = []
    for folder in (report, tmp_path / "reports" / EXPERIMENT):
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        contents.append({path.relative_to(folder).as_posix(): path.read_bytes() for path in paths})
    assert contents[0] == contents[1]
    kinds = (("figures", "png"), ("svg", "svg"), ("numbers", "csv"))
    assert set(contents[0]) == {
        *("report.md", "report.json", "metrics.json", "plots/train_error.csv", "plots/val_error.csv"),
        *(f"{part}/{name}.{ending}" for part, ending in kinds for name in EVERY),
    }


def test_links_of_the_report_lead_to_its_files(report: Path) -> None:
    targets = links((report / "report.md").read_text(encoding="utf-8"))
    local = [target for target in targets if not target.startswith(("#", "https://arxiv.org"))]
    assert len(local) == 3 * len(EVERY)
    assert all((report / target).is_file() for target in local)


def test_the_bitmaps_are_opaque_white_and_wide_enough(report: Path) -> None:
    for path in (report / "figures").iterdir():
        with Image.open(path) as image:
            corners = {image.convert("RGBA").getpixel(at) for at in ((0, 0), (image.width - 1, image.height - 1))}
            assert corners == {(255, 255, 255, 255)}
            assert image.width == 1440


def test_only_what_was_measured_is_drawn(tmp_path: Path) -> None:
    runs = tuple(f"{network}-seed0" for network in Made().networks)
    text, _ = made(tmp_path, Made(seeds=1, not_evaluated=runs))
    assert "## Why" in text  # gradients are recorded in training
    assert "figures/gradients.png" in text
    assert not any(f"figures/{name}.png" in text for name in ("responses", "lesions", "noise"))
    text, _ = made(tmp_path / "residual", Made(networks=("resnet-18", "resnet-34"), seeds=1))
    assert "figures/plain.png" not in text


def test_no_figure_is_drawn_more_than_once_however_many_runs(tmp_path: Path) -> None:
    for seeds in (1, 4):
        experiment = make(tmp_path / str(seeds), Made(seeds=seeds))
        with patch.object(style, "save") as save:
            write(experiment, tmp_path / str(seeds))
        assert save.call_count == len(EVERY)


def test_the_curves_are_the_means_of_the_histories(tmp_path: Path) -> None:
    made(tmp_path, Made(networks=("plain-18",), seeds=2))
    last = [row for row in numbers(tmp_path, "curves") if row["split"] == "train"][-1]
    runs = (tmp_path / "runs" / EXPERIMENT).glob("*/history.csv")
    ends = [float(list(csv.DictReader(path.open()))[-1]["train_top1_error_percent"]) for path in runs]
    assert float(last["error_percent"]) == pytest.approx(sum(ends) / 2, abs=1e-3)
    assert last["runs"] == "2"


def test_values_that_are_not_finite_are_in_no_mean() -> None:
    curve = over_runs([[(1, 2.0), (2, float("nan"))], [(1, 4.0), (2, 5.0)]])
    assert (curve.x, curve.mean, curve.n) == ((1, 2), (3.0, 5.0), (2, 1))


def test_lesions_count_all_blocks_and_begin_with_the_whole_network(tmp_path: Path) -> None:
    made(tmp_path, Made(networks=CIFAR, seeds=2, lesions={"cifar-resnet-20": 5.0}))
    rows = numbers(tmp_path, "lesions")
    by_name = {name: [row for row in rows if row["network"] == name] for name in CIFAR}
    assert [int(row["block"]) for row in by_name["cifar-resnet-20"]] == list(range(10))
    assert [int(row["block"]) for row in by_name["cifar-plain-20"]] == [0, 1, 2, 3, 5, 6, 8, 9]
    whole, *without = [float(row["error_percent"]) for row in by_name["cifar-resnet-20"]]
    assert all(4 < error - whole < 6 for error in without)


def test_blocks_are_numbered_over_the_stages() -> None:
    layout = ARCHITECTURES["resnet-34"]
    assert inside._block_number("conv2_x.0", layout) == 1
    assert inside._block_number("conv5_x.2", layout) == 16
    assert inside._block_number("conv6_x.0", layout) is None
    assert inside._block_number("else", layout) is None


def test_gradients_are_of_the_first_iteration_and_one_amid_training(tmp_path: Path) -> None:
    gathered = inputs.gather(make(tmp_path, Made(seeds=2, gradient_ratio={"plain-34": 0.01})), tmp_path)
    found = {m.network.name: m for m in inside.gradients(inputs.study(gathered).networks)}
    plain = found["plain-34"]
    assert (plain.first, plain.amid) == (1, 1000)
    assert plain.start.x == tuple(range(1, 34))
    assert plain.start.mean[0] / plain.start.mean[-1] == pytest.approx(0.01, rel=0.2)


def test_responses_by_size_fall() -> None:
    curve = inside.descending(Curve((1, 2, 3), (0.2, 0.9, 0.5), (0.1, 0.2, 0.3), (2, 2, 1)))
    assert (curve.x, curve.mean, curve.sd, curve.n) == ((1, 2, 3), (0.9, 0.5, 0.2), (0.2, 0.3, 0.1), (2, 1, 2))


def test_figure_1_has_the_papers_two_depths(tmp_path: Path) -> None:
    content = Made(networks=("cifar-plain-20", "cifar-plain-56", "plain-18", "plain-34"), seeds=1)
    pair = figure_curves.shallow_and_deep(inputs.study(inputs.gather(make(tmp_path, content), tmp_path)))
    assert pair is not None
    assert [network.name for network in pair] == ["cifar-plain-20", "cifar-plain-56"]
    made(tmp_path / "numbers", content)
    assert {row["network"] for row in numbers(tmp_path / "numbers", "plain")} == {"cifar-plain-20", "cifar-plain-56"}


def lightness(colour: str) -> float:
    """Relative luminance (WCAG)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_depths_are_ordered_in_lightness_and_families_have_markers() -> None:
    shades = [lightness(colour) for colour in style.depth_colours([20, 32, 44, 56, 110]).values()]
    assert all(deep - shallow > 0.01 for shallow, deep in pairwise(shades))
    assert (1.05) / (shades[-1] + 0.05) > 1.9  # the lightest line on white
    assert len(set(style.FAMILY_MARKER.values())) == 2


LONG = "a-name-that-is-as-long-as-a-name-in-params-yaml-may-be-at-most-"


@pytest.mark.parametrize(
    "networks",
    [
        dict.fromkeys(CIFAR),
        {f"{LONG}{i}": {"network": name} for i, name in enumerate(("resnet-34", "resnet-34", "resnet-34", "plain-34"))},
        {name: {"architecture": {"blocks": [1, 1]}} for name in ("plain-18", "resnet-18")},
    ],
    ids=["a depth each", "long names of one depth", "none of the paper's"],
)
@pytest.mark.filterwarnings("error")  # matplotlib warns where it finds no room
def test_nothing_overlaps_or_is_cut_off(tmp_path: Path, networks: dict[str, object]) -> None:
    content = Made(networks=(), seeds=2, changes={f"{EXPERIMENT}.networks": networks})
    seen = []
    for name, figure in drawn(tmp_path, content):
        page = Bbox.from_bounds(0, 0, figure.bbox.width, figure.bbox.height)
        axes = [panel.get_tightbbox() for panel in figure.axes]
        legends = [legend.get_window_extent() for legend in figure.legends]
        boxes = [box for box in (*axes, *legends) if box is not None]
        for box in boxes:
            assert page.padded(1).containsx(box.x0), name
            assert page.padded(1).containsx(box.x1), name
            assert page.padded(1).containsy(box.y0), name
            assert page.padded(1).containsy(box.y1), name
        for i, one in enumerate(boxes):
            assert not [other for other in boxes[i + 1 :] if one.padded(-1).overlaps(other.padded(-1))], name
        seen.append(name)
    assert {"curves", "depth", "responses", "lesions", "noise", "gradients"} <= set(seen)


def test_letters_are_large_enough_at_half_the_width(tmp_path: Path) -> None:
    """A column of 442 pixels, as on a phone: no letter below 7.5 pixels."""
    for name, figure in drawn(tmp_path, Made(seeds=2)):
        texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text() and text.get_visible()]
        smallest = min(float(text.get_fontsize()) for text in texts)
        assert smallest / 72 / figure.get_figwidth() * 442 >= 7.5, name


def test_a_report_without_runs_has_figures_too(tmp_path: Path) -> None:
    every = tuple(f"{network}-seed0" for network in Made().networks)
    assert [name for name, _ in drawn(tmp_path, Made(seeds=1, leave_out=every))] == ["curves", "depth"]


def test_names_are_shortened_in_the_middle() -> None:
    shorten: Callable[[str], str] = style.short
    assert shorten("cifar-resnet-110-cold") == "cifar-resnet-110-cold"
    assert len(shorten(LONG)) == 24
    assert shorten(LONG).startswith("a-name-that-")
