"""Two reports side by side: what differs is said, and what is no report is refused in one line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from pipeline.errors import UserError
from pipeline.report import compare, main
from pipeline.reporting import stored
from pipeline.reporting.schema import ReportJson
from tests.report_maker import EXPERIMENT, Made
from tests.report_reader import made, rows

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReportJson, ReportJson]:
    """A folder with two experiments' reports: the second has another rate, one network less and other spreads."""
    root = tmp_path_factory.mktemp("compare")
    found = []
    contents = {
        "first": Made(seeds=3),
        "second": Made(
            networks=("plain-18", "plain-34", "resnet-34"),
            seeds=3,
            spread=20.0,
            device="another",
            changes={f"{EXPERIMENT}.train.lr": 0.05, f"{EXPERIMENT}.train.momentum": 0.8},
        ),
    }
    for name, content in contents.items():
        found.append(made(root / name, content)[1])
        (root / "reports" / name).mkdir(parents=True)
        (root / name / "reports" / EXPERIMENT / "report.json").rename(root / "reports" / name / "report.json")
    return root, found[0], found[1]


def test_errors_beside_each_other_with_welchs_p(reports: tuple[Path, ReportJson, ReportJson]) -> None:
    root, a, b = reports
    text = compare("first", "second", root)
    lines = {tuple(row[:2]): row[2:] for row in rows(text, "Errors")[1:]}
    assert set(lines) == {
        (network, measure)
        for network in ("plain-18", "plain-34", "resnet-34")
        for measure in ("train", "clean", "val", "test")
    }
    one, other = (report.networks["plain-34"].train_top1_error_percent for report in (a, b))
    assert one is not None
    assert other is not None
    expected = stats.ttest_ind(one.values, other.values, equal_var=False).pvalue
    shown = lines["plain-34", "train"]
    assert shown[0] == f"{one.mean:.2f} ± {one.sd:.2f} (n=3)"
    assert shown[2] == f"{other.mean - one.mean:+.2f}"
    assert float(shown[3]) == pytest.approx(expected, abs=5.1e-4)
    assert "Only in A: resnet-18." in text


def test_changed_verdicts_parameters_and_provenance(reports: tuple[Path, ReportJson, ReportJson]) -> None:
    root, a, b = reports
    text = compare("first", "second", root)
    before, after = ({claim.id: claim.verdict for claim in report.claims} for report in (a, b))
    changed = {name: [before[name], after[name]] for name in before if before[name] != after[name]}
    assert changed
    assert {row[0]: row[2:] for row in rows(text, "Verdicts")[1:]} == changed
    fields = {row[0]: row[1:] for row in rows(text, "Parameters")[1:]}
    assert fields == {
        "train.lr": ["all", "0.02", "0.05"],
        "train.momentum": ["all", "as in the paper", "0.8"],
    }
    about = {row[0]: row[1:] for row in rows(text, "Provenance")[1:]}
    assert about["devices"] == ["CPU, 1 thread(s)", "another, 1 thread(s)"]
    assert "data digest" not in about
    assert "The data are not the same" not in text


def test_one_seed_has_no_p_and_other_data_are_said(reports: tuple[Path, ReportJson, ReportJson]) -> None:
    root, a, _ = reports
    content: dict[str, Any] = a.model_dump(mode="json")
    content["provenance"]["data_digest"] = "other"
    for network in content["networks"].values():
        for name in [name for name in network if name.endswith("_percent") and network[name]]:
            network[name] = {**network[name], "sd": None, "n": 1, "values": network[name]["values"][:1]}
    (root / "one.json").write_text(json.dumps(content))
    text = compare("first", "one.json", root)
    assert "The data are not the same" in text
    assert {row[-1] for row in rows(text, "Errors")[1:]} == {""}


def test_a_report_beside_itself_has_no_differences(reports: tuple[Path, ReportJson, ReportJson]) -> None:
    root, _, _ = reports
    text = compare("first", str(root / "reports" / "first"), root)
    assert text.count("None.") == 3
    assert {tuple(row[-2:]) for row in rows(text, "Errors")[1:]} == {("+0.00", "1.000")}


def test_a_row_of_a_measure_that_one_has_not(reports: tuple[Path, ReportJson, ReportJson], tmp_path: Path) -> None:
    root, _, _ = reports
    made(tmp_path, Made(protocols={"10-crop": 0.0}))
    text = compare("first", str(tmp_path / "reports" / EXPERIMENT / "report.json"), root)
    lines = {tuple(row[:2]): row[2:] for row in rows(text, "Errors")[1:]}
    assert lines["plain-18", "10-crop"][0] == "not there"
    assert lines["plain-18", "10-crop"][2:] == ["", ""]


def test_a_report_of_a_git_revision(reports: tuple[Path, ReportJson, ReportJson], tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True, timeout=60)

    root, a, b = reports
    path = tmp_path / "reports" / "first" / "report.json"
    path.parent.mkdir(parents=True)
    path.write_bytes((root / "reports" / "first" / "report.json").read_bytes())
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    path.write_bytes((root / "reports" / "second" / "report.json").read_bytes())
    assert stored.find("HEAD:reports/first/report.json", tmp_path) == a
    assert stored.find("first", tmp_path) == b


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("nowhere", "neither a report.json, a folder with one"),
        ("no-revision:report.json", "give REVISION:PATH/report.json"),
        ("--output=x:report.json", "give REVISION:PATH/report.json"),
        ("a" * 5_000, "File name too long"),
        ("null\0byte", "neither a report.json"),
        ("text.json", "no report of this version (Invalid JSON"),
        ("older.json", "no report of this version (format: Input should be 1"),
        ("more.json", "no report of this version (surprise: Extra inputs are not permitted"),
        ("less.json", "no report of this version (networks: Field required"),
        ("escape.json", "no report of this version (\ufffd"),
    ],
)
def test_what_is_no_report_is_refused_in_one_line(
    reports: tuple[Path, ReportJson, ReportJson], tmp_path: Path, what: str, said: str
) -> None:
    content = reports[1].model_dump(mode="json")
    less = {name: value for name, value in content.items() if name != "networks"}
    files: dict[str, str] = {
        "text.json": "report",
        "older.json": json.dumps({**content, "format": 2}),
        "more.json": json.dumps({**content, "surprise": 1}),
        "less.json": json.dumps(less),
        "escape.json": json.dumps({**content, "\u202e\nkey": 1}),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as error:
        stored.find(what, tmp_path)
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 700
    assert {path.name for path in tmp_path.iterdir()} == set(files)


def test_it_prints_and_writes_nothing(reports: tuple[Path, ReportJson, ReportJson]) -> None:
    root, _, _ = reports
    before = sorted(root.rglob("*"))
    command = [sys.executable, "-m", "pipeline.report", "--compare", "first", "second"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# `first` (A) and `second` (B)\n")
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("arguments", [[], ["tiny", "--compare", "a", "b"], ["--compare", "a"]])
def test_either_an_experiment_or_two_reports(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "--compare" in capsys.readouterr().err
