"""Whatever comes from data or parameters stays text in every table, through a real renderer of markdown."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.ensembles import Ensemble, Ensembles
from pipeline.report import write
from pipeline.reporting import compare, document, figures, inputs, paper_tables, provenance, schema, tables, verdicts
from pipeline.reporting.markdown import MOST, Md, Table, code, escape, table, visible
from pipeline.reporting.schema import ReportJson
from pipeline.store.records import SplitErrors
from resnet.claims.all_claims import CLAIMS
from resnet.claims.judges import Verdict
from resnet.claims.verdicts import Judged, judge_all
from tests.report_maker import EXPERIMENT, Made, make
from tests.report_reader import HOSTILE, INVISIBLE, MARKUP, html, links, made, read, rows, tokens, without_pictures

ANYTHING = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(HOSTILE[:-1]), min_size=1, max_size=3).map("".join),
    st.sampled_from(HOSTILE),
)
SPLIT = SplitErrors(images=10, top1_errors=1, top5_errors=1, loss=None)
OURS = {"em_open", "strong_open", "link_open"}  # markup of ours in the tables of verdicts


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(HOSTILE[:-1]), max_size=3).map("".join)))
def test_text_in_a_cell_stays_text(text: str) -> None:
    rendered = table(Table(("a", "b"), ((text, "x"), ("x", code(text)))))
    found = tokens(rendered)
    in_cells = [t for t in found if t.type in MARKUP and t.type != "code_inline"]
    assert in_cells == []
    assert sum(t.type == "td_open" for t in found) == 4
    first = found[next(i for i, t in enumerate(found) if t.type == "td_open") + 1]
    shown = "".join(t.content for t in first.children or [])
    assert " ".join(shown.split()) == " ".join(visible(text).split())


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(HOSTILE), st.text(max_size=30))
def test_text_in_a_paragraph_stays_text(hostile: str, more: str) -> None:
    for text in (escape(hostile + more), escape(more + hostile), f"said: {escape(hostile)}"):
        assert [t.type for t in tokens(text) if t.type in MARKUP] == []


def test_ten_kilobytes_are_cut() -> None:
    assert len(escape("x" * 10_000)) == MOST
    assert escape("x" * 10_000).endswith("x…")
    assert len(code("x" * 10_000)) == MOST + 2


def cells(content: Table) -> int:
    return len(content.head) * len(content.rows)


def check(content: Table, ours: int = 0) -> None:
    """A table of so many cells, and no markup but so much of ours."""
    rendered = table(content)
    found = tokens(rendered)
    assert sum(t.type == "td_open" for t in found) == cells(content)
    assert sum(t.type == "th_open" for t in found) == len(content.head)
    assert sum(t.type == "table_open" for t in found) == 1
    foreign = [t.type for t in found if t.type in MARKUP and t.type not in OURS]
    assert foreign == []
    assert sum(t.type in OURS for t in found) == ours
    assert not any(c in rendered for c in INVISIBLE)


@settings(max_examples=60, deadline=None)
@given(ANYTHING, ANYTHING, st.sampled_from(["reproduced", "undecided", "indicative", "not run"]))
def test_claims_stay_text(evidence: str, sentence: str, verdict: Verdict) -> None:
    claims = [replace(claim, sentence=sentence, where=evidence, family=sentence) for claim in CLAIMS]
    judged = [Judged(claim=claim, verdict=verdict, evidence=evidence) for claim in claims]
    if verdict == "not run":
        found = verdicts.not_run(judged)
        assert verdicts.table(judged) is None
    else:
        found = verdicts.table(judged)
    assert found is not None
    check(found, ours=0 if verdict == "not run" else len(judged))
    check(verdicts.answer(judged), ours=0 if verdict == "not run" else 2)
    check(verdicts.counts(judged), ours=1)


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> inputs.Inputs:
    root = tmp_path_factory.mktemp("gathered")
    names = ("plain-18", "resnet-18", "resnet-50", "cifar-plain-20", "cifar-resnet-20")
    content = Made(networks=names, seeds=2, leave_out=("plain-18-seed1",), protocols={"10-crop": 1.0})
    return inputs.gather(make(root, content), root)


def spoilt(given: inputs.Inputs, one: str, other: str) -> inputs.Inputs:
    """The same with hostile text wherever a file can hold text of its own."""
    measured = []
    for m in given.measured:
        assert m.result is not None
        record = m.record.model_copy(
            update={"device": one, "commit": other, "versions": {one: other}, "key": other, "code_digest": one}
        )
        protocols = {f"10-crop {one}": m.result.val, f"multi-scale {other}": m.result.val, one: m.result.val}
        result = m.result.model_copy(update={"protocol": other, "protocols": protocols, "device": one})
        measured.append(replace(m, record=record, result=result))
    together = Ensemble(members={one: other}, protocols={one: SPLIT, other: SPLIT})
    return replace(
        given,
        measured=tuple(measured),
        failed=tuple(inputs.Failed(run=spec.name, key=one, reason=other) for spec in given.missing),
        manifest=given.manifest.model_copy(update={"source": one}),
        ensembles=Ensembles(networks=[one, other], split="test", ensembles=[together]),
    )


@settings(max_examples=40, deadline=None)
@given(one=ANYTHING, other=ANYTHING)
def test_no_table_of_a_report_lets_text_become_markup(gathered: inputs.Inputs, one: str, other: str) -> None:
    found = spoilt(gathered, one, other)
    study = inputs.study(found)
    for beside in paper_tables.everything(replace(study, dataset=one), found):
        if beside.content is not None:
            check(beside.content)
    check(tables.networks(study, found))
    check(tables.costs(study, found))
    report = schema.report_json(study, found, [], provenance.collect(found, Path("/nowhere")))
    check(document._provenance(report))
    check(document._departures(report, study))
    unfinished = document._unfinished(report, found)
    assert unfinished is not None
    check(unfinished)


@pytest.fixture(scope="module")
def judged(gathered: inputs.Inputs) -> list[Judged]:
    """Their texts are a matter of the tables of claims, tested above."""
    return judge_all(inputs.study(gathered), CLAIMS)


@settings(max_examples=15, deadline=None)
@given(one=ANYTHING, other=ANYTHING)
def test_no_report_lets_text_become_markup(gathered: inputs.Inputs, judged: list[Judged], one: str, other: str) -> None:
    def text(found: inputs.Inputs) -> str:
        study = inputs.study(found)
        report = schema.report_json(study, found, judged, provenance.collect(found, Path("/nowhere")))
        return document.markdown(report, study, found, judged, list(figures._found(study, found)))

    hostile, plain = text(spoilt(gathered, one, other)), text(spoilt(gathered, "one", "other"))
    assert links(hostile) == links(plain)
    assert html(hostile) == html(plain)
    assert not any(c in hostile for c in INVISIBLE)
    outline = ("heading_open", "table_open", "fence")
    kinds = [[t.type for t in tokens(document) if t.type in outline] for document in (hostile, plain)]
    assert kinds[0] == kinds[1]


def report_of(text: str, value: float) -> ReportJson:
    errors: dict[str, Any] = {"mean": value, "sd": 1.0, "n": 2, "values": [value, value + 1]}
    none = dict.fromkeys(["val_top1_error_percent", "test_top1_error_percent", "train_clean_top1_error_percent"])
    network = {**none, "train_top1_error_percent": errors, "protocols": {text: errors}}
    claim = {"id": text, "section": text, "claim": text, "verdict": f"{text}{value}", "statistic": {}, "evidence": text}
    departure = {"field": text, "here": f"{text}{value}", "paper": text, "section": text, "networks": [text]}
    return ReportJson.model_validate(
        {
            "experiment": text,
            "networks": {text: {**network, "parameters": int(value), "multiply_adds": 1, "published": None}},
            "claims": [{**claim, "seeds_to_decide": None}],
            "runs": [],
            "departures": [departure],
            "provenance": {
                text: f"{text}{value}",
                "git": {"commit": f"{text}{value}", "dirty": True},
                "versions": [text],
            },
        }
    )


@settings(max_examples=80, deadline=None)
@given(ANYTHING, ANYTHING)
def test_no_comparison_lets_text_become_markup(text: str, name: str) -> None:
    hostile, plain = (compare.markdown(report_of(t, 1), report_of(t, 2), (n, n)) for t, n in ((text, name), ("a", "b")))
    for printed in (hostile, plain):
        found = [t.type for t in tokens(printed)]
        assert [found.count(kind) for kind in ("heading_open", "table_open")] == [5, 4]
        assert {"link_open", "image", "html_inline", "html_block", "fence", "s_open"} & set(found) == set()
    assert not any(c in hostile for c in INVISIBLE)


def test_hostile_values_in_files_become_no_markup(tmp_path: Path) -> None:
    everything = " ".join(HOSTILE)
    plain, _ = made(tmp_path / "plain")
    content = Made(device=everything, source=everything, versions={"torch": everything}, leave_out=("plain-18-seed0",))
    experiment = make(tmp_path, content)
    failed = [{"run": "plain-18-seed0", "key": everything, "reason": everything}]
    (tmp_path / "runs" / EXPERIMENT / "failed.json").write_text(json.dumps(failed))
    with without_pictures():
        write(experiment, tmp_path)
    text, _ = read(tmp_path)
    assert links(text) <= links(plain) | {"#runs-that-did-not-finish"}
    assert html(text) == html(plain)
    assert not any(c in text for c in INVISIBLE)
    assert rows(text, "Runs that did not finish")[1][:2] == ["plain-18-seed0", "failed"]


def test_only_our_own_markdown_is_left_alone() -> None:
    assert escape(Md("**x**")) == "**x**"
    assert escape("**x**") == r"\*\*x\*\*"
    assert escape("a\xa0±\xa0b  c") == "a\xa0±\xa0b c"
    with pytest.raises(ValueError, match="a row has 1 cells, the head 2"):
        Table(("a", "b"), (("x",),))
