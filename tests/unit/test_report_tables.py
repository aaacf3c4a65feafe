"""Tables next to the paper's: the right cells, differences only of like and like; and the tables of costs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UserError
from pipeline.records import Ensembles, RunRecord, write_json
from pipeline.reporting import paper_tables, tables
from pipeline.reporting.inputs import Inputs, gather
from pipeline.reporting.report_json import report_json
from resnet.paper import published
from resnet.paper.published import Band
from tests.factories.reports import CIFAR, EXPERIMENT, PEAK, Made, inputs, make

PAPERS_OWN: dict[str, Any] = {f"{EXPERIMENT}.architecture": {}}


def shown(found: Inputs) -> dict[str, list[list[str]]]:
    """Returns the tables of the paper by their number, heads first."""
    return {
        title.partition(":")[0]: [[cell.replace("\xa0", " ") for cell in line] for line in (table.head, *table.rows)]
        for title, table in paper_tables.every(found).items()
        if table is not None
    }


def test_a_difference_of_the_same_protocol_data_and_network(tmp_path: Path) -> None:
    content = Made(seeds=1, protocols={"10-crop": 0.0}, changes=PAPERS_OWN, dataset="imagenet")
    found = shown(inputs(tmp_path, content))["Table 2"]
    assert found[0] == ["network", "top-1, here", "paper", "here − paper"]
    name, here, paper, difference = found[1]
    assert (name, paper) == ("plain-18", "27.94 (10-crop, ImageNet)")
    assert float(difference) == pytest.approx(float(here.split()[0]) - 27.94, abs=0.011)


@pytest.mark.parametrize(
    "content",
    [
        Made(seeds=1, changes=PAPERS_OWN, dataset="imagenet"),  # a single view
        Made(seeds=1, protocols={"10-crop": 0.0}, dataset="imagenet"),  # another stem and width
    ],
)
def test_no_difference_of_another_protocol_or_network(tmp_path: Path, content: Made) -> None:
    assert shown(inputs(tmp_path, content))["Table 2"][0] == ["network", "top-1, here", "paper"]


def test_table_3_has_the_options_of_resnet_34(tmp_path: Path) -> None:
    options = {f"resnet-34-{s}": {"network": "resnet-34", "architecture": {"shortcut": s}} for s in ("B", "C")}
    networks = {"plain-34": None, "resnet-34": None, **options}
    content = Made(seeds=1, changes={f"{EXPERIMENT}.networks": networks}, dataset="imagenet")
    found = {line[0]: line[1:] for line in shown(inputs(tmp_path, content))["Table 3"]}
    assert list(found)[1:] == ["plain-34", *(f"ResNet-34 {s}" for s in "ABC"), "ResNet-50", "ResNet-101", "ResNet-152"]
    assert found["ResNet-101"][0] == found["ResNet-152"][0] == "not run"
    assert "single view" in found["ResNet-34 B"][0]
    assert found["ResNet-34 B"][1:] == ["24.52 (10-crop, ImageNet)", "24.76 (1)"]


def with_ensembles(root: Path, **changes: Any) -> Inputs:
    """Two ensembles of plain-18 and resnet-18, of 10 and 20 errors in 300 images."""
    asked = {f"{EXPERIMENT}.evaluation": {"ensemble": ["plain-18", "resnet-18"]}}
    experiment = make(root, Made(networks=("plain-18", "resnet-18"), seeds=2, changes=asked, dataset="imagenet"))

    def key(run: str) -> str:
        return RunRecord.model_validate_json((root / "runs" / EXPERIMENT / run / "run.json").read_bytes()).key

    def one(seed: int) -> dict[str, Any]:
        runs = [f"{network}-seed{seed}" for network in ("plain-18", "resnet-18")]
        split = {"images": 300, "top1_errors": 10 + 10 * seed, "top5_errors": 3, "loss": 0.1}
        return {"members": {run: key(run) for run in runs}, "protocols": {"multi-scale": split}}

    content = {"networks": ["plain-18", "resnet-18"], "split": "test", "ensembles": [one(0), one(1)], **changes}
    write_json(root / "results" / EXPERIMENT / "ensemble.json", Ensembles.model_validate(content))
    return gather(experiment, root)


def test_table_5_is_the_mean_over_ensembles(tmp_path: Path) -> None:
    found = with_ensembles(tmp_path)
    assert shown(found)["Table 5"] == [
        ["networks", "top-1, here", "top-5, here", "paper, top-5"],
        [
            "plain-18 + resnet-18",
            "5.00 ± 2.36 (n=2, multi-scale, imagenet test)",
            "1.00 ± 0.00 (n=2, multi-scale, imagenet test)",
            "3.57 (ensemble, ImageNet test)",
        ],
    ]
    part = report_json(found, [], [], tmp_path).ensemble
    assert part is not None
    assert part["protocols"]["multi-scale"]["top1_error_percent"].n == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"networks": ["plain-18", "plain-18"]},
        {"ensembles": [{"members": {"plain-18-seed0": "other"}, "protocols": {}}]},
        {"ensembles": [{"members": {"plain-18-seed9": "other"}, "protocols": {}}]},
    ],
)
def test_ensembles_of_other_runs_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"ensemble\.json: of other runs .* python -m pipeline evaluate tiny"):
        with_ensembles(tmp_path, **changes)


def test_table_6_has_plain_twins_and_other_peoples_results(tmp_path: Path) -> None:
    found = shown(inputs(tmp_path, Made(networks=CIFAR, seeds=2, dataset="cifar10")))["Table 6"]
    head = ["network", "parameters, here", "paper's", "top-1, here", "paper", "here − paper", "others"]
    assert found[0] == head
    by_name = {line[0]: line[1:] for line in found[1:]}
    assert by_name["cifar-plain-20"][3:] == ["Fig. 6 only", "", "9.74 to 12.42 (4)"]
    assert by_name["cifar-resnet-20"][3] == "8.75 (n=1, single view, CIFAR-10)"
    of_five = "6.61 ± 0.16 (n=5, single view, CIFAR-10)"
    assert by_name["cifar-resnet-110"][:4] == ["not run", "1.7 M", "not run", of_five]
    here = float(by_name["cifar-resnet-20"][2].split()[0])
    assert float(by_name["cifar-resnet-20"][4]) == pytest.approx(here - 8.75, abs=0.011)


def test_a_diverged_run_is_all_errors_by_every_protocol(tmp_path: Path) -> None:
    diverged = ("plain-18-seed0", "plain-18-seed1")
    content = Made(seeds=2, diverged=diverged, protocols={"10-crop": 0.0}, dataset="imagenet")
    found = inputs(tmp_path, content)
    assert shown(found)["Table 2"][1][1] == "100.00 ± 0.00 (n=2, 10-crop, imagenet)"
    networks = tables.networks(found)
    line = dict(zip(networks.head, networks.rows[0], strict=True))
    assert {line["test"], line[f"{found.study.headline}, 10-crop"]} == {"100.00\xa0±\xa00.00 (n=2)"}


def test_others_are_neither_the_authors_nor_of_another_recipe() -> None:
    band = published.others("resnet-50", "B", "1-crop, ImageNet")
    assert band is not None
    assert 24.7 not in band.errors  # the authors' own weights
    assert 19.142 not in band.errors  # torchvision's second recipe
    assert min(band.errors) == 23.19
    assert published.others("resnet-50", "B", "10-crop, ImageNet") == Band((22.24,), 0)
    assert published.others("resnet-34", "A", "10-crop, ImageNet") is None
    assert published.others("cifar-plain-110", "none", "single view") == Band((), 1)


def test_costs_are_fractions_of_the_peak_of_a_device_in_one_precision(tmp_path: Path) -> None:
    found = inputs(tmp_path, Made(networks=("plain-18", "resnet-50"), seeds=2))
    table = tables.costs(found)
    fraction = table.head.index("fraction of the peak")
    records = list(found.records.values())
    rates = [3 * record.multiply_adds * record.images_per_second for record in records]
    assert [row[fraction] for row in table.rows] == [f"{100 * rate / PEAK:.0f} %" for rate in rates[::2]]
    assert "device" not in table.head
    first, second, *others = records
    moved = first.model_copy(update={"device": "another", "peak_multiply_adds_per_second": 4e11})
    faster = second.model_copy(update={"peak_multiply_adds_per_second": 3e11})
    rounded = [record.model_copy(update={"recipe": {**record.recipe, "precision": "bf16"}}) for record in others]
    two = replace(found, records={record.run: record for record in (moved, faster, *rounded)})
    table = tables.costs(two)
    assert [(row[0], row[fraction], row[-1]) for row in table.rows] == [
        ("plain-18", f"{100 * rates[0] / 4e11:.0f} %", "another, 1 thread(s), fp32"),  # its evaluation was slower
        ("plain-18", f"{100 * rates[1] / 3e11:.0f} %", "CPU, 1 thread(s), fp32"),
        ("resnet-50", f"{100 * rates[2] / PEAK:.0f} %", "CPU, 1 thread(s), bf16"),
    ]
    assert tables.devices(two)[:2] == [
        "CPU, 1 thread(s), bf16: peak 200.0·10⁹ multiply-adds/s",
        "CPU, 1 thread(s), fp32: peak 300.0·10⁹ multiply-adds/s",
    ]


def test_time_to_half_of_guessing_is_a_mean_over_the_runs_that_reach_it(tmp_path: Path) -> None:
    found = inputs(tmp_path, Made(networks=("plain-18", "plain-34"), seeds=2))
    assert tables.target(found) == 45.0  # of ten classes
    row = found.histories["plain-18-seed0"][0]
    errors = {"plain-18-seed0": (80, 45, 30), "plain-18-seed1": (80, 44, 50), "plain-34-seed0": (40,)}
    histories = {
        run: [
            replace(row, iteration=20 * i, seconds=5.0 * i, train_top1_error_percent=error)
            for i, error in enumerate(errors.get(run, (90, 46)), 1)
        ]
        for run in found.histories
    }
    table = tables.costs(replace(found, histories=histories))
    at = table.head.index("s to 45 %")
    assert table.head[at + 1] == "iterations to 45 %"
    shown = [[cell.replace("\xa0", " ") for cell in row[at : at + 2]] for row in table.rows]
    assert shown == [["10.0 ± 0.0", "40 ± 0"], ["5.0 (n=1 of 2)", "20 (n=1 of 2)"]]
    never = {run: rows[:1] for run, rows in histories.items() if run != "plain-34-seed0"} | {"plain-34-seed0": [row]}
    assert tables.costs(replace(found, histories=never)).rows[0][at] == "never"


def test_hours_count_parallel_runs_once_and_no_pause(tmp_path: Path) -> None:
    """Two runs side by side; the first one is resumed after a day."""
    found = inputs(tmp_path, Made(networks=("plain-18",), seeds=2))
    first, second = found.histories.values()
    day = 86400.0
    resumed = [replace(first[0], seconds=s, unix_time_s=t) for s, t in ((3600.0, 3600.0), (7200.0, 7200.0 + day))]
    whole = [replace(second[0], seconds=5400.0, unix_time_s=5400.0)]
    histories = dict(zip(found.histories, (resumed, whole), strict=True))
    records = {
        run: record.model_copy(update={"seconds": histories[run][-1].seconds, "threads": 2, "workers": 2})
        for run, record in found.records.items()
    }
    assert tables.time_taken(replace(found, histories=histories, records=records)) == (
        "2.5 hours with at least one run in training; 3.5 hours and 14 core-hours of training over all runs"
    )
