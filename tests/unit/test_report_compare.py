"""Two reports compared: what differs is said, and what is no report is refused in one line."""

import json
import subprocess
from pathlib import Path

import pytest
from scipy import stats

from pipeline.__main__ import main
from pipeline.errors import UserError
from pipeline.reporting import compare
from pipeline.reporting.report_json import ReportJson, find
from tests.factories.reports import CIFAR, EXPERIMENT, Made, report, rows

Reports = dict[str, ReportJson]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three experiments' reports.

    The second has another rate, one network less and other spreads than the first; the third has no network of both.
    """
    root = tmp_path_factory.mktemp("compare")
    changes = {f"{EXPERIMENT}.train.lr": 0.05, f"{EXPERIMENT}.train.momentum": 0.8}
    networks = ("plain-18", "plain-34", "resnet-34")
    contents = {
        "first": Made(seeds=5),
        "second": Made(networks=networks, seeds=5, spread=20.0, device="another", changes=changes),
        "third": Made(networks=CIFAR, seeds=5, changes=changes),
    }
    for name, content in contents.items():
        report(root / name, content)
        (root / "reports" / name).mkdir(parents=True)
        (root / name / "reports" / EXPERIMENT / "report.json").rename(root / "reports" / name / "report.json")
    return root


@pytest.fixture
def reports(root: Path) -> Reports:
    return {name: find(name, root) for name in ("first", "second", "third")}


def compared(a: ReportJson, b: ReportJson) -> str:
    return compare.markdown(a, b, ("A", "B")).replace("\xa0", " ")


def test_errors_with_their_difference_and_welchs_p(reports: Reports) -> None:
    a, b = reports["first"], reports["second"]
    text = compared(a, b)
    lines = {tuple(row[:2]): row[2:] for row in rows(text, "Errors")[1:]}
    assert {network for network, _ in lines} == {"plain-18", "plain-34", "resnet-34"}
    assert {measure for _, measure in lines} == {"train", "clean", "val", "test"}
    one, other = (side.networks["plain-34"].train_top1_error_percent for side in (a, b))
    assert one is not None
    assert other is not None
    shown = lines["plain-34", "train"]
    assert shown[0] == f"{one.mean:.2f} ± {one.sd:.2f} (n=5)"
    assert shown[2] == f"{other.mean - one.mean:+.2f}"
    assert float(shown[3]) == pytest.approx(stats.ttest_ind(one.values, other.values, equal_var=False).pvalue, abs=5e-4)
    assert "Only in A: resnet-18." in text


def test_changed_verdicts_parameters_and_provenance(reports: Reports) -> None:
    a, b = reports["first"], reports["second"]
    text = compared(a, b)
    before, after = ({claim.id: claim.verdict for claim in side.claims} for side in (a, b))
    changed = {name: [before[name], after[name]] for name in before if before[name] != after[name]}
    assert changed
    shown = {row[0]: [cell.partition(" (")[0] for cell in row[2:]] for row in rows(text, "Verdicts")[1:]}
    assert changed.items() <= shown.items()
    assert shown.keys() <= {*before, "plain-ladder", "residual-ladder", "interaction"}
    fields = {row[0]: row[1:] for row in rows(text, "Parameters")[1:]}
    assert fields == {"train.lr": ["all", "0.02", "0.05"], "train.momentum": ["all", "as in the paper", "0.8"]}
    about = {row[0]: row[1:] for row in rows(text, "Provenance")[1:]}
    assert about["devices"] == ["CPU, 1 thread(s)", "another, 1 thread(s)"]
    assert "data digest" not in about
    assert "The data are not the same" not in text


def test_without_a_common_network_claims_are_compared(reports: Reports) -> None:
    a, b = reports["first"], reports["third"]
    text = compared(a, b)
    assert f"A has {', '.join(a.networks)}; B has {', '.join(b.networks)}." in text
    claims = {row[0]: row[2:] for row in rows(text, "Claims")[1:]}
    assert {"AR-2", "plain-ladder", "interaction"} <= claims.keys()
    assert all("log odds: +" in cell for cell in claims["plain-ladder"])
    assert all(" " in cell for cells in claims.values() for cell in cells)
    assert ["train.lr", "all", "0.02", "0.05"] in rows(text, "Parameters")


def test_one_seed_has_no_p_and_other_data_are_said(reports: Reports) -> None:
    content = reports["first"].model_dump(mode="json")
    content["provenance"]["data_digest"] = "other"
    for network in content["networks"].values():
        for name in [name for name in network if name.endswith("_percent") and network[name]]:
            network[name] = {**network[name], "sd": None, "n": 1, "values": network[name]["values"][:1]}
    text = compared(reports["first"], ReportJson.model_validate(content))
    assert "The data are not the same" in text
    assert {row[-1] for row in rows(text, "Errors")[1:]} == {""}


def test_a_report_does_not_differ_from_itself(reports: Reports) -> None:
    text = compared(reports["first"], reports["first"])
    assert text.count("None.") == 3
    assert {tuple(row[-2:]) for row in rows(text, "Errors")[1:]} == {("+0.00", "1.000")}


def test_a_report_of_a_git_revision(root: Path, reports: Reports, tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True, timeout=60)

    path = tmp_path / "reports" / "first" / "report.json"
    path.parent.mkdir(parents=True)
    path.write_bytes((root / "reports" / "first" / "report.json").read_bytes())
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    path.write_bytes((root / "reports" / "second" / "report.json").read_bytes())
    assert find("HEAD:reports/first/report.json", tmp_path) == reports["first"]
    assert find("HEAD:reports/first", tmp_path) == reports["first"]
    assert find("first", tmp_path) == reports["second"]
    with pytest.raises(UserError, match=r"^no-revision:report\.json: neither .* nor REVISION:PATH"):
        find("no-revision:report.json", tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "neither a report.json, a folder with one"),
        ("report", "no report of this version (Invalid JSON"),
        ({"format": 1}, "no report of this version (format: Input should be 2"),
        ({"surprise": 1}, "no report of this version (surprise: Extra inputs are not permitted"),
    ],
)
def test_what_is_no_report_is_refused_in_one_line(reports: Reports, tmp_path: Path, content: object, said: str) -> None:
    if content is not None:
        changed = {**reports["first"].model_dump(mode="json"), **content} if isinstance(content, dict) else None
        (tmp_path / "a.json").write_text(json.dumps(changed) if changed else str(content))
    with pytest.raises(UserError) as error:
        find("a.json", tmp_path)
    assert str(error.value).startswith(f"a.json: {said}")
    assert len(str(error.value).splitlines()) == 1


def test_the_command_prints_and_writes_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(root.rglob("*"))
    monkeypatch.chdir(root)
    main(["report", "--compare", "first", "second"])
    assert capsys.readouterr().out.startswith("# `first` (A) and `second` (B)\n")
    assert sorted(root.rglob("*")) == before
