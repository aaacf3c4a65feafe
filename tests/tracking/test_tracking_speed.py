"""Images a second, share of the roofline and runs done in MLflow: from the rows' own seconds, each point once."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.store.records import RunRecord, read
from pipeline.tracking import Invocation, Tracker, reconcile
from pipeline.tracking.facts import RunFacts
from pipeline.tracking.ledger import Ledger
from pipeline.tracking.speed import Speed, speed
from resnet.history import Row
from tests.tracking_maker import Database, facts, finished, fresh_database, key, record, row, rows, until

ASKED = Invocation(command="python -m pipeline.train digits", asked=("a", "b"))


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return fresh_database(tmp_path)


def at(iteration: int, seconds: float) -> Row:
    return replace(row(iteration), seconds=seconds)


def test_the_speed_is_that_since_the_row_before() -> None:
    known = facts(roofline=4000.0)  # batches of 128 images
    assert speed(known, at(10, 2.0), at(30, 4.0)) == Speed(20 * 128 / 2.0, 100 * 1280 / 4000)
    assert speed(known, None, at(10, 2.0)) == Speed(640.0, 16.0)
    assert speed(known, at(30, 4.0), at(10, 2.0)) == Speed(640.0, 16.0)  # an attempt begins with the first row
    assert speed(facts(), at(10, 2.0), at(30, 4.0)) == Speed(1280.0, None)
    assert speed(known, at(10, 2.0), at(30, 2.0)) is None


def test_no_speed_is_made_of_two_attempts() -> None:
    """The second one goes on from row 2, four times as fast, and makes row 3 again."""
    ledger = Ledger()
    ledger.begin(facts())
    (state,) = ledger.states()
    ledger.rows(key(1), [at(1, 4.0), at(2, 8.0), at(3, 12.0)])
    ledger.begin(facts(roofline=1280.0))
    ledger.rows(key(1), [at(1, 4.0), at(2, 8.0)])
    ledger.rows(key(1), [at(3, 9.0), at(4, 10.0)])
    speeds = ledger.speeds(state)
    assert speeds == {1: (32.0, None), 2: (32.0, None), 3: (32.0, None), 4: (128.0, 10.0)}
    ledger.rows(key(1), [at(1, 4.0), at(2, 8.0), at(3, 9.0), at(4, 10.0)])  # as the file has them at the end
    assert ledger.speeds(state) == speeds
    ledger.forget_rows(state)
    assert ledger.speeds(state) == {}


def test_the_facts_of_a_record_have_its_roofline() -> None:
    done = record(1, rows(3))
    assert RunFacts.from_record(done).roofline == pytest.approx(4000.0)
    old = done.model_copy(update={"peak_multiply_adds_per_second": None})
    assert RunFacts.from_record(old).roofline is None


def test_a_record_of_before_the_peak_was_measured_is_read(tmp_path: Path) -> None:
    old = record(1, rows(3)).model_dump_json(exclude={"peak_multiply_adds_per_second"})
    (tmp_path / "run.json").write_text(old)
    assert read(RunRecord, tmp_path / "run.json", "").peak_multiply_adds_per_second is None


def test_rows_have_their_speed_however_they_arrive(database: Database, tmp_path: Path) -> None:
    """Some while it trains, some after a resume, some from the file; a run trained elsewhere from its file alone."""
    uri = f"sqlite:///{database.path}"
    for count in (10, 25):
        tracking = Tracker("digits", uri=uri)
        tracking.begin(facts(roofline=4000.0))
        tracking.rows(key(1), rows(count))
        assert tracking.close(60).complete
    for number in (1, 2):
        finished(tmp_path, number, rows(40))
    for _ in range(2):
        assert reconcile("digits", root=tmp_path, uri=uri).complete
        for number in (1, 2):
            database.holds_once(number, rows(40))
            assert database.values(number, "images_per_second") == [128.0] * 40  # an iteration a second
            assert database.values(number, "roofline_percent") == pytest.approx([3.2] * 40)
            assert database.values(number, "perf/roofline_percent") == pytest.approx([25.0])  # 1,000 of 4,000


def test_the_invocation_says_how_it_stands(database: Database, tmp_path: Path) -> None:
    tracking = Tracker("digits", uri=f"sqlite:///{database.path}", invocation=ASKED)
    query = (
        "SELECT m.key, m.step, m.value FROM metrics m JOIN tags t USING (run_uuid) "
        "WHERE t.key = 'pipeline.kind' AND t.value = 'invocation' ORDER BY m.key, m.step"
    )
    tracking.standing(1, None)  # nothing is known of the others yet
    until(lambda: database.ask(query) == [("runs_done", 1, 1.0)])
    tracking.finish(*finished(tmp_path, 1, rows(3)))
    tracking.standing(2, 90.5)
    tracking.standing(3, 0.0)
    assert tracking.close(60).complete
    seconds = [("seconds_left", 2, 90.5), ("seconds_left", 3, 0.0)]
    assert database.ask(query) == [*(("runs_done", n, float(n)) for n in (1, 2, 3)), *seconds]
