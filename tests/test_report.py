"""The report stage: what it says, what it refuses, and that nothing from data becomes markup."""

import csv
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from pipeline.checkout import revision
from pipeline.config import load
from pipeline.errors import UserError
from pipeline.report import write
from pipeline.reporting import inputs
from pipeline.reporting.departures import departures
from pipeline.reporting.markdown import Md, Table, code, escape, table, visible
from pipeline.reporting.schema import ReportJson
from resnet.study import Study
from resnet.training import Row
from tests.report_maker import EXPERIMENT, Made, make

ROOT = Path(__file__).parents[1]
MARKUP = (
    *("html_inline", "html_block", "link_open", "image", "code_inline", "em_open", "strong_open", "s_open"),
    *("heading_open", "bullet_list_open", "ordered_list_open"),
)
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "a|b\n\n# heading",
    "![x](https://example.org/x.png)",
    "[click](javascript:alert(1))",
    "`x` **bold** ~~gone~~ $x$",
    "https://example.org www.example.org <https://example.org>",
    "\x1b[31mred\x1b[0m \u202eright\u2066\u200b",
    "&lt;b&gt; \\",
    "<!-- ",
    "</details>",
    "- item",
    "[ref]: https://example.org",
)


def tokens(text: str) -> list[Token]:
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    flat = []
    for token in parser.parse(text):
        flat += [token, *(token.children or [])]
    return flat


@pytest.fixture
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the text alone."""
    from pipeline.reporting import figures

    monkeypatch.setattr(figures, "save", lambda figure, path: None)


def made(tmp_path: Path, content: Made | None = None) -> tuple[str, ReportJson]:
    write(make(tmp_path, content), tmp_path)
    folder = tmp_path / "reports" / EXPERIMENT
    report = ReportJson.model_validate_json((folder / "report.json").read_bytes())
    return (folder / "report.md").read_text(encoding="utf-8"), report


def test_the_report_of_a_complete_experiment(tmp_path: Path) -> None:
    text, report = made(tmp_path, Made(spread=0.1, seeds=5))
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


@pytest.mark.usefixtures("_no_figures")
def test_missing_diverged_and_failed_runs_are_said(tmp_path: Path) -> None:
    failed = [{"run": "resnet-34-seed2", "key": "k", "reason": "the worker's machine is gone"}]
    content = Made(diverged=("plain-34-seed0",), leave_out=("resnet-34-seed1", "resnet-34-seed2"))
    experiment = make(tmp_path, content)
    (tmp_path / "runs" / EXPERIMENT / "failed.json").write_text(json.dumps(failed))
    write(experiment, tmp_path)
    text = (tmp_path / "reports" / EXPERIMENT / "report.md").read_text(encoding="utf-8")
    assert "2 of 12 runs are missing" in text
    assert "n=1 of 3" in text
    assert "| plain-34-seed0 | diverged | after 140 iterations |" in text
    assert "| resnet-34-seed1 | missing |" in text
    assert "| resnet-34-seed2 | failed | the worker's machine is gone |" in text
    assert "1 diverged run(s) of plain-34 count as 100 %" in text


def test_nothing_there_yet_is_a_report_too(tmp_path: Path) -> None:
    every = tuple(f"{network}-seed{seed}" for network in Made().networks for seed in range(3))
    text, report = made(tmp_path, Made(leave_out=every))
    assert {c.verdict for c in report.claims} == {"not run"}
    assert "No claim could be judged" in text


@pytest.mark.usefixtures("_no_figures")
def test_the_cifar_family_has_table_6(tmp_path: Path) -> None:
    names = ("cifar-plain-20", "cifar-plain-56", "cifar-resnet-20", "cifar-resnet-56")
    text, report = made(tmp_path, Made(networks=names))
    assert "Table 6" in text
    assert "8.75 (n=1, single view, CIFAR-10)" in text
    assert {c.id: c.verdict for c in report.claims}["CF-1"] == "reproduced"


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    experiment = make(tmp_path, Made(seeds=2))
    folder = tmp_path / "reports" / EXPERIMENT
    contents = []
    for _ in range(2):
        write(experiment, tmp_path)
        contents.append({p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()})
    assert contents[0] == contents[1]
    assert {p.as_posix() for p in contents[0]} == {
        "report.md",
        "report.json",
        "metrics.json",
        "figures/curves.png",
        "figures/curves.svg",
        "figures/curves.csv",
        "figures/depth.png",
        "figures/depth.svg",
        "plots/train_error.csv",
        "plots/val_error.csv",
    }


def test_links_of_the_report_lead_to_its_files(tmp_path: Path) -> None:
    text, _ = made(tmp_path)
    targets = [str(t.attrs.get("href") or t.attrs.get("src") or "") for t in tokens(text)]
    local = [target for target in targets if target and not target.startswith(("#", "https://arxiv.org"))]
    assert local
    assert all((tmp_path / "reports" / EXPERIMENT / target).is_file() for target in local)


@pytest.mark.usefixtures("_no_figures")
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


@pytest.mark.usefixtures("_no_figures")
def test_a_failed_report_leaves_the_old_one(tmp_path: Path) -> None:
    experiment = make(tmp_path)
    write(experiment, tmp_path)
    before = (tmp_path / "reports" / EXPERIMENT / "report.md").read_bytes()
    (tmp_path / "runs" / EXPERIMENT / "plain-18-seed0" / "run.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        write(experiment, tmp_path)
    assert (tmp_path / "reports" / EXPERIMENT / "report.md").read_bytes() == before


def test_the_columns_of_a_history_are_those_of_training() -> None:
    assert tuple(field.name for field in dataclasses.fields(Row)) == inputs.HISTORY


@pytest.mark.usefixtures("_no_figures")
def test_the_curves_are_the_means_of_the_histories(tmp_path: Path) -> None:
    made(tmp_path, Made(networks=("plain-18",), seeds=2))
    with (tmp_path / "reports" / EXPERIMENT / "figures" / "curves.csv").open() as file:
        last = [row for row in csv.DictReader(file) if row["split"] == "train"][-1]
    runs = (tmp_path / "runs" / EXPERIMENT).glob("*/history.csv")
    ends = [float(list(csv.DictReader(path.open()))[-1]["train_top1_error_percent"]) for path in runs]
    assert float(last["error_percent"]) == pytest.approx(sum(ends) / 2, abs=1e-3)
    assert last["runs"] == "2"


def test_departures_are_found_field_by_field(tmp_path: Path) -> None:
    changes = {f"{EXPERIMENT}.networks": {"plain-18": None, "plain-34": {"train": {"lr": 0.5}}}}
    gathered = inputs.gather(make(tmp_path, Made(changes=changes)), tmp_path)
    found = {(d.field, d.here): d for d in departures(inputs.study(gathered), gathered)}
    assert found["train.lr", "0.5"].networks == ("plain-34",)
    assert found["train.batch_size", "64"].paper == "256"
    assert found["architecture.width", "16"].paper == "64"
    assert not any(field == "train.momentum" for field, _ in found)


def test_the_papers_own_recipe_is_no_departure(tmp_path: Path) -> None:
    gathered = inputs.gather(make(tmp_path), tmp_path)
    runs = load("cifar10", ROOT / "params.yaml").runs if (ROOT / "params.yaml").is_file() else ()
    if not runs:
        pytest.skip("no experiment cifar10 in params.yaml")
    networks = tuple(inputs._network([spec], []) for spec in runs)
    study = Study(experiment="cifar10", dataset="cifar10", classes=10, networks=networks, headline="test")
    assert [d for d in departures(study, gathered) if d.field.startswith(("train.", "architecture."))] == []


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(HOSTILE), max_size=3).map("".join)))
def test_text_in_a_cell_stays_text(text: str) -> None:
    rendered = table(Table(("a", "b"), ((text, "x"), ("x", code(text)))))
    found = tokens(rendered)
    in_cells = [t for t in found if t.type in MARKUP and t.type != "code_inline"]
    assert in_cells == []
    assert sum(t.type == "td_open" for t in found) == 4
    first = found[next(i for i, t in enumerate(found) if t.type == "td_open") + 1]
    shown = "".join(t.content for t in first.children or [])
    assert " ".join(shown.split()) == visible(text)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(HOSTILE), st.text(max_size=30))
def test_text_in_a_paragraph_stays_text(hostile: str, more: str) -> None:
    for text in (escape(hostile + more), escape(more + hostile), f"said: {escape(hostile)}"):
        assert [t.type for t in tokens(text) if t.type in MARKUP] == []


@pytest.mark.usefixtures("_no_figures")
def test_hostile_values_become_no_markup(tmp_path: Path) -> None:
    everything = " ".join(HOSTILE)
    plain, _ = made(tmp_path / "plain")
    content = Made(device=everything, source=everything, versions={"torch": everything}, leave_out=("plain-18-seed0",))
    experiment = make(tmp_path, content)
    failed = [{"run": "plain-18-seed0", "key": everything, "reason": everything}]
    (tmp_path / "runs" / EXPERIMENT / "failed.json").write_text(json.dumps(failed))
    write(experiment, tmp_path)
    text = (tmp_path / "reports" / EXPERIMENT / "report.md").read_text(encoding="utf-8")

    def links(document: str) -> set[str]:
        found = (t for t in tokens(document) if t.type in ("link_open", "image"))
        return {str(t.attrs.get("href") or t.attrs.get("src")) for t in found}

    def html(document: str) -> set[str]:
        return {t.content for t in tokens(document) if t.type in ("html_inline", "html_block")}

    assert links(text) <= links(plain) | {"#runs-that-did-not-finish"}
    assert html(text) == html(plain)
    assert not any(c in text for c in "\x1b\u202e\u2066\u200b")


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


def test_only_our_own_markdown_is_left_alone() -> None:
    assert escape(Md("**x**")) == "**x**"
    assert escape("**x**") == r"\*\*x\*\*"
    with pytest.raises(ValueError, match="a row has 1 cells, the head 2"):
        Table(("a", "b"), (("x",),))


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
