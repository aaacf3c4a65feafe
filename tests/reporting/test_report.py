"""The report stage: what it says, what it refuses, and that nothing from data becomes markup."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.checkout import revision
from pipeline.errors import UserError
from pipeline.report import write
from pipeline.reporting import inputs, verdicts
from resnet.claims.all_claims import CLAIMS
from resnet.claims.judges import Verdict
from resnet.claims.verdicts import Judged
from resnet.history import Row
from tests.report_maker import EXPERIMENT, Made, make
from tests.report_reader import made, read, rows, without_pictures

ROOT = Path(__file__).parents[2]


def test_the_report_of_a_complete_experiment(tmp_path: Path) -> None:
    text, report = made(tmp_path, Made(spread=0.1, seeds=5), pictures=True)
    verdicts = {c.id: c.verdict for c in report.claims}
    assert verdicts["IN-2"] == verdicts["IN-4"] == "reproduced"
    assert "says nothing about ImageNet" in text
    assert "27.94 (10-crop, ImageNet)" in text
    assert "(n=5, single view, digits)" in text
    assert f"All {len(report.runs)} runs finished" in text
    assert "10⁹ multiply-adds/s" in text
    assert "top-5" not in text
    assert [d.field for d in report.departures if d.field.startswith("train.")]
    errors = report.networks["plain-34"].test_top1_error_percent
    assert errors is not None
    assert errors.n == 5
    numbers = json.loads((tmp_path / "reports" / EXPERIMENT / "metrics.json").read_text())
    assert set(numbers["plain-34"]) == {"train_error", "val_error", "test_error"}


def test_missing_diverged_and_failed_runs_are_said(tmp_path: Path) -> None:
    failed = [{"run": "resnet-34-seed2", "key": "k", "reason": "the worker's machine is gone"}]
    content = Made(diverged=("plain-34-seed0",), leave_out=("resnet-34-seed1", "resnet-34-seed2"))
    experiment = make(tmp_path, content)
    (tmp_path / "runs" / EXPERIMENT / "failed.json").write_text(json.dumps(failed))
    with without_pictures():
        write(experiment, tmp_path)
    text, _ = read(tmp_path)
    assert "2 of 12 runs are missing" in text
    assert "n=1 of 3" in text
    assert "| plain-34-seed0 | diverged | after 140 iterations |" in text
    assert "| resnet-34-seed1 | missing |" in text
    assert "| resnet-34-seed2 | failed | the worker's machine is gone |" in text
    assert "1 diverged run(s) of plain-34 count as 100 %" in text
    assert "A run that diverged is in the curve up to where it did." in text


def test_nothing_there_yet_is_a_report_too(tmp_path: Path) -> None:
    every = tuple(f"{network}-seed{seed}" for network in Made().networks for seed in range(3))
    text, report = made(tmp_path, Made(leave_out=every))
    assert {c.verdict for c in report.claims} == {"not run"}
    assert "No claim could be judged" in text
    assert [row[2] for row in rows(text, "Does depth hurt?")[1:3]] == ["not run", "not run"]


def test_the_answer_stands_on_top(tmp_path: Path) -> None:
    text, report = made(tmp_path, Made(spread=0.1, seeds=5))
    answer = rows(text, "Does depth hurt?")
    assert [row[:3] for row in answer[1:3]] == [
        ["✔", "Deeper plain networks train worse", "yes, reproduced"],
        ["✔", "Deeper residual networks do not", "yes, reproduced"],
    ]
    assert answer[1][3].startswith("IN-2, training error: plain-34 50.")
    assert answer[1][3].endswith("; p < 0.001")
    head, papers, articles = rows(text, "Does depth hurt?", table=1)
    assert head[1:] == ["all", "✔ reproduced", "✘ contradicted", "~ undecided", "◦ indicative", "· not run"]
    for line, prefixes in ((papers, ("IN", "CF")), (articles, ("AR",))):
        verdicts = [c.verdict for c in report.claims if c.id.startswith(prefixes)]
        assert line[1:3] == [str(len(verdicts)), str(verdicts.count("reproduced"))]
        assert sum(map(int, line[2:])) == len(verdicts)


def test_the_answer_of_the_cifar_family(tmp_path: Path) -> None:
    names = ("cifar-plain-20", "cifar-plain-56", "cifar-resnet-20", "cifar-resnet-56")
    text, _ = made(tmp_path, Made(networks=names, seeds=5))
    answer = rows(text, "Does depth hurt?")
    assert answer[1][2:] == ["yes, reproduced", answer[1][3]]
    assert answer[1][3].startswith("CF-1, training error: ")
    assert answer[2][3].startswith("CF-3a, training error: ")
    assert "In the manner of the paper's Fig. 6." in text


def test_verdicts_in_words() -> None:
    claim = next(c for c in CLAIMS if c.id == "IN-2")
    words: dict[Verdict, str] = {"contradicted": "no, contradicted", "undecided": "undecided by these seeds"}
    for verdict, said in words.items():
        judged = Judged(claim=claim, verdict=verdict, evidence="numbers; more", statistic={"p_against_holm": 0.01})
        cells = verdicts.answer([judged]).rows[0]
        assert said in cells[2]
        assert cells[3] == ("IN-2, numbers; p = 0.010" if verdict == "contradicted" else "IN-2, numbers")


def test_results_of_another_run_are_refused(tmp_path: Path) -> None:
    experiment = make(tmp_path)
    path = tmp_path / "results" / EXPERIMENT / "plain-34-seed1.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "key": "other"}))
    with pytest.raises(UserError, match=r"plain-34-seed1\.json: of another run .* pipeline\.evaluate"):
        write(experiment, tmp_path)
    assert not (tmp_path / "reports" / EXPERIMENT).exists()


@pytest.mark.parametrize("field", ["recipe", "architecture", "data_digest", "seed", "network"])
def test_runs_of_other_parameters_are_refused(tmp_path: Path, field: str) -> None:
    experiment = make(tmp_path)
    path = tmp_path / "runs" / EXPERIMENT / "plain-34-seed1" / "run.json"
    record = json.loads(path.read_text())
    record[field] = {"recipe": {}, "architecture": {}, "seed": 7}.get(field, "other")
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=f"run.json: {field} is not that of params.yaml"):
        write(experiment, tmp_path)


@pytest.mark.parametrize("content", ["", "iteration,epoch\n1,2\n", "iteration,train_top1_error_percent\nx,y\n"])
def test_damaged_histories_are_refused(tmp_path: Path, content: str) -> None:
    experiment = make(tmp_path)
    (tmp_path / "runs" / EXPERIMENT / "plain-34-seed1" / "history.csv").write_text(content)
    if content == "":
        assert inputs.gather(experiment, tmp_path)
        return
    with pytest.raises(UserError, match=r"history\.csv: damaged"):
        write(experiment, tmp_path)


def test_a_failed_report_leaves_the_old_one(tmp_path: Path) -> None:
    experiment = make(tmp_path)
    with without_pictures():
        write(experiment, tmp_path)
    before = (tmp_path / "reports" / EXPERIMENT / "report.md").read_bytes()
    (tmp_path / "runs" / EXPERIMENT / "plain-18-seed0" / "run.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        write(experiment, tmp_path)
    assert (tmp_path / "reports" / EXPERIMENT / "report.md").read_bytes() == before


def test_the_columns_of_a_history_are_those_of_training() -> None:
    assert tuple(field.name for field in dataclasses.fields(Row)) == inputs.HISTORY


def test_the_commit_and_whether_the_code_is_as_committed(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True, timeout=60)

    git("init")
    (tmp_path / "reports").mkdir()
    for name in ("code.py", "reports/report.md"):
        (tmp_path / name).write_text("a")
    git("add", ".")
    git("commit", "-m", "first")
    (tmp_path / "reports" / "report.md").write_text("b")  # by the stage itself
    found = revision(tmp_path)
    assert found is not None
    assert len(found.commit) == 40
    assert not found.dirty
    (tmp_path / "code.py").write_text("b")
    changed = revision(tmp_path)
    assert changed is not None
    assert changed.dirty


def test_help_is_quick_and_imports_little() -> None:
    program = (
        "import sys\ntry:\n    import runpy; sys.argv = ['report', '--help']\n"
        "    runpy.run_module('pipeline.report', run_name='__main__')\n"
        "finally:\n    heavy = {'torch', 'matplotlib', 'scipy', 'jinja2', 'pydantic'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "experiment" in done.stdout
