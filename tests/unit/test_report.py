"""The report stage: what a report says, what the stage refuses, and that text stays text."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.__main__ import parser
from pipeline.errors import UserError
from pipeline.records import Manifest, RunResult, write_json
from pipeline.records import read as read_record
from pipeline.report import write
from pipeline.reporting.markdown import Table, one_line, table
from tests.factories.reports import EXPERIMENT, Made, make, read, report, rows, tokens, without_pictures


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment of five seeds and its report."""
    root = tmp_path_factory.mktemp("complete")
    report(root, Made(spread=0.1, seeds=5))
    return root


def test_the_report_of_a_complete_experiment(complete: Path) -> None:
    text, found = read(complete)
    verdicts = {c.id: c.verdict for c in found.claims}
    assert verdicts["IN-2"] == verdicts["IN-4"] == "consistent with the paper"
    assert "says nothing about ImageNet" in text
    assert f"All {len(found.runs)} runs finished" in text
    assert "top-5" not in text
    errors = found.networks["plain-34"].test_top1_error_percent
    assert errors is not None
    assert errors.n == 5
    numbers = json.loads((complete / "reports" / EXPERIMENT / "metrics.json").read_text())
    assert set(numbers["plain-34"]) == {"train_error", "val_error", "test_error"}
    headline = {part.id: part for part in found.headline}
    assert set(numbers["headline"]) == set(headline) == {"plain-ladder", "residual-ladder", "interaction"}
    for claim, shown in numbers["headline"].items():
        low, high = headline[claim].interval or (None, None)
        assert shown == pytest.approx({"effect": headline[claim].effect, "low": low, "high": high}, abs=1e-4)


def test_missing_diverged_and_failed_runs_are_said(tmp_path: Path) -> None:
    content = Made(diverged=("plain-34-seed0",), leave_out=("resnet-34-seed1", "resnet-34-seed2"))
    experiment = make(tmp_path, content)
    reason = "<b>lost</b> | [x](https://example.org) \x1b[31m**red**\n\n# heading"  # as a machine may say it
    failures = [{"run": "resnet-34-seed2", "key": "k", "reason": reason}]
    (tmp_path / "runs" / EXPERIMENT / "failed.json").write_text(json.dumps(failures))
    with without_pictures():
        write(experiment, tmp_path)
    text, _ = read(tmp_path)
    assert "2 of 12 runs are missing" in text
    assert "n=1 of 3" in text
    assert "| plain-34-seed0 | diverged | after 140 iterations |" in text
    assert "| resnet-34-seed1 | missing |" in text
    shown = ["resnet-34-seed2", "failed", "<b>lost</b> | [x](https://example.org) [31m**red** # heading"]
    assert shown in rows(text, "Runs that did not finish")
    assert "1 diverged run(s) of plain-34 count as 100 %" in text
    assert "A run that diverged is in the curve up to where it did." in text


def test_an_experiment_without_runs_has_a_report_too(tmp_path: Path) -> None:
    every = tuple(f"{network}-seed{seed}" for network in Made().networks for seed in range(3))
    text, found = report(tmp_path, Made(leave_out=every))
    assert {c.verdict for c in found.claims} == {"not run"}
    assert "No claim could be judged" in text
    assert [row[1] for row in rows(text, "Does depth hurt?")[1:]] == ["· not run"] * 3


def test_the_headline_is_on_top(complete: Path) -> None:
    text, found = read(complete)
    shown = rows(text, "Does depth hurt?")
    assert [row[1] for row in shown[1:]] == ["✔ consistent with the paper"] * 3
    assert [part.claim for part in found.headline] == [row[0] for row in shown[1:]]
    assert re.search(r"\(plain-18 \d\.\d\d % to plain-34 5\d\.\d\d %\)", shown[1][2])
    assert text.index("figures/curves.png") < text.index("## Claims") < text.index("figures/forest.png")
    verdicts = [claim.verdict for claim in found.claims]
    assert f"{verdicts.count('consistent with the paper')} consistent with the paper, " in text.lower()
    evidence = [row[6] for row in rows(text, "Claims")[1:]]
    assert max(map(len, evidence)) <= 200


def test_every_command_of_a_report_is_accepted(tmp_path: Path) -> None:
    networks = {"plain_18": {"network": "plain-18"}, "plain-34": None, "resnet-18": None, "resnet-34": None}
    missing = tuple(f"{network}-seed{seed}" for network in ("plain_18", "resnet-34") for seed in range(3))
    text, _ = report(tmp_path, Made(leave_out=missing, changes={f"{EXPERIMENT}.networks": networks}))
    commands = re.findall(r"python -m pipeline [^`|\n]+", text)
    assert len(commands) > 5
    for command in commands:
        parser().parse_args(shlex.split(command)[3:])
    assert f"python -m pipeline train {EXPERIMENT} --only plain_18" in text


def test_results_of_another_run_are_refused(tmp_path: Path) -> None:
    experiment = make(tmp_path, Made(seeds=1))
    path = tmp_path / "results" / EXPERIMENT / "plain-34-seed0.json"
    write_json(path, read_record(RunResult, path, "").model_copy(update={"key": "other"}))
    with pytest.raises(UserError, match=r"plain-34-seed0\.json: of another run .* python -m pipeline evaluate tiny"):
        write(experiment, tmp_path)
    assert not (tmp_path / "reports" / EXPERIMENT).exists()


@pytest.mark.parametrize("what", ["recipe", "data", "code"])
def test_runs_of_other_parameters_data_or_code_are_refused(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = make(tmp_path, Made(networks=("plain-18",), seeds=1))
    path = tmp_path / "data" / EXPERIMENT / "manifest.json"
    if what == "recipe":
        experiment = replace(experiment, runs=tuple(run.with_lr(0.5) for run in experiment.runs))
    elif what == "data":
        write_json(path, read_record(Manifest, path, "").model_copy(update={"classes": list("ABCDEFGHIJ")}))
    else:
        monkeypatch.setattr("pipeline.run_store.run_key.code_digest", lambda _: "other")
    with pytest.raises(
        UserError, match=r"run.json: of other parameters, data or code .* python -m pipeline train tiny$"
    ):
        write(experiment, tmp_path)


MARKUP = ("html_inline", "html_block", "link_open", "image", "em_open", "strong_open", "s_open", "heading_open", "hr")
SIGNS = st.text(alphabet="ab _*~<>[]()!|\\&$#-+1.\n\x1b\u202e", max_size=40)


@settings(max_examples=300, deadline=None)
@given(SIGNS)
def test_text_in_a_cell_stays_text(text: str) -> None:
    found = tokens(table(Table(("a", "b"), ((text, "x"), ("x", "y")))))
    assert [t.type for t in found if t.type in MARKUP] == []
    assert sum(t.type == "td_open" for t in found) == 4
    first = found[next(i for i, t in enumerate(found) if t.type == "td_open") + 1]
    assert "".join(t.content for t in first.children or []).split() == one_line(text).split()
