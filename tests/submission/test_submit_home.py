"""Outputs come home whole or not at all, and a bundle is laid out as it was sent."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.checkout import BUNDLED
from pipeline.errors import EnvironmentFault, UserError
from pipeline.store.records import sha256
from pipeline.submission import home, lock, outputs, there

LOCK = (
    "schema: '2.0'\nstages:\n  train@{name}:\n    cmd: python -m pipeline.train {name}\n    outs:\n    - md5: '{md5}'\n"
)


class Copies:
    """A cluster whose files are in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.fetched, self.damaged = folder, [], ""  # type: ignore[var-annotated]

    def fetch(self, name: str, target: Path) -> str:
        path = name.removeprefix(f"{outputs.FILES}/")
        self.fetched.append(path)
        shutil.copy(self.folder / path, target)
        if path == self.damaged:
            target.write_bytes(target.read_bytes()[:-1])
        return sha256(target)


@pytest.fixture
def made(tmp_path: Path) -> Copies:
    """What a job has made of the experiment `tiny`; another one is in the same checkout."""
    folder = tmp_path / "cluster"
    for name in ("data/tiny/a.npy", "runs/tiny/r0/run.json", "runs/tiny/r0/weights", "results/tiny/r0.json"):
        put(folder / name, f"new {name}")
    put(folder / "reports/tiny/report.md", "new report")
    put(folder / "reports/tiny/figures/a.png", "")
    put(folder / "reports/other/report.md", "not asked for")
    put(folder / outputs.LOCK, LOCK.format(name="tiny", md5="new"))
    return Copies(folder)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    put(folder / "results/tiny/old.json", "old")
    put(folder / "reports/other/report.md", "mine")
    put(folder / outputs.LOCK, LOCK.format(name="other", md5="mine"))
    return folder


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def tree(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def bring(made: Copies, here: Path, tmp_path: Path) -> list[str]:
    return home.bring(made, outputs.index(made.folder, ["tiny"]), here, tmp_path)  # type: ignore[arg-type]


def test_outputs_replace_what_was_there(made: Copies, here: Path, tmp_path: Path) -> None:
    lines = bring(made, here, tmp_path)
    assert [line.partition(":")[0] for line in lines] == ["data/tiny", "runs/tiny", "results/tiny", "reports/tiny"]
    wanted = {name: text for name, text in tree(made.folder).items() if name.split("/")[1:2] == ["tiny"]}
    text = (here / outputs.LOCK).read_text()
    assert tree(here) == {**wanted, "reports/other/report.md": "mine", outputs.LOCK: text}
    assert "md5: 'new'" in text.replace("md5: new", "md5: 'new'")
    assert "train@other" in text


def test_what_is_here_is_not_fetched_again(made: Copies, here: Path, tmp_path: Path) -> None:
    bring(made, here, tmp_path)
    (here / "runs/tiny/r0/weights").write_text("other")
    made.fetched.clear()
    assert bring(made, here, tmp_path) == ["runs/tiny: 1 of 2 files fetched, 0.0 MiB"]
    assert made.fetched == ["runs/tiny/r0/weights", outputs.LOCK]
    (here / "results/tiny/stray.json").write_text("not one of the job's")
    assert bring(made, here, tmp_path) == ["results/tiny: 0 of 1 files fetched, 0.0 MiB"]
    assert not (here / "results/tiny/stray.json").exists()


@pytest.mark.parametrize("damaged", ["results/tiny/r0.json", outputs.LOCK])
def test_damage_on_the_way_replaces_nothing(damaged: str, made: Copies, here: Path, tmp_path: Path) -> None:
    before = tree(here)
    made.damaged = damaged
    with pytest.raises(EnvironmentFault, match=rf"^{damaged}: arrived with another SHA-256"):
        bring(made, here, tmp_path)
    after = tree(here)
    assert after[outputs.LOCK] == before[outputs.LOCK]  # so DVC takes nothing of it for done
    if damaged.startswith("results"):
        assert after["results/tiny/old.json"] == "old"
        assert not list((here / "results").glob(".*"))
    made.damaged = ""
    bring(made, here, tmp_path)
    assert "results/tiny/old.json" not in tree(here)


def test_large_data_stay(made: Copies, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "DATA_AT_MOST", 3)
    lines = bring(made, here, tmp_path)
    assert lines[0] == "data/tiny: 0.0 GiB, stays on the cluster; dvc repro prepare@tiny makes it here"
    assert not (here / "data/tiny").exists()
    assert (here / "runs/tiny/r0/weights").is_file()


@pytest.mark.parametrize(
    "path", ["../x", "/etc/x", "runs/tiny/../../x", "pipeline/tiny/x.py", "runs/x", "runs//tiny/x"]
)
def test_paths_from_the_cluster_stay_among_outputs(path: str) -> None:
    content: dict[str, Any] = {"experiments": ["tiny"], "files": [{"path": path, "bytes": 1, "sha256": "0"}]}
    with pytest.raises(ValueError, match="not an output"):
        outputs.Index.model_validate(content)


def test_an_index_that_is_none(made: Copies, tmp_path: Path) -> None:
    put(made.folder / outputs.INDEX, "<html>")
    with pytest.raises(EnvironmentFault, match=r"^index\.json: not what a job writes"):
        home.index(made, tmp_path)  # type: ignore[arg-type]


# dvc.lock


def test_entries_of_others_stay() -> None:
    ours = (
        LOCK.format(name="tiny", md5="old") + LOCK.format(name="other", md5="mine").partition("stages:\n")[2]
    ).encode()
    text = lock.merged(ours, LOCK.format(name="tiny", md5="new").encode(), ["tiny"]).decode()
    assert text.replace("'", "") == ours.decode().replace("old", "new").replace("'", "")
    assert lock.merged(b"", ours, ["tiny"]).decode().count("train@") == 1


def test_the_form_is_dvcs() -> None:
    """Byte for byte, so that git shows only what has changed."""
    ours = (Path(__file__).parents[2] / "dvc.lock").read_bytes()
    assert lock.merged(ours, ours, ["digits"]) == ours


@pytest.mark.parametrize("damaged", [b"a: [", b"- 1", b"stages: 3", b"\xff"])
def test_a_damaged_lock(damaged: bytes) -> None:
    with pytest.raises(UserError, match=r"^dvc\.lock: damaged .*; git restore dvc\.lock$"):
        lock.merged(damaged, LOCK.format(name="tiny", md5="new").encode(), ["tiny"])


# The folder on the cluster


def unpacked(tmp_path: Path, number: int, **files: str) -> Path:
    folder = tmp_path / f"package{number}"
    for name, text in {BUNDLED: "", **files}.items():
        put(folder / name.replace("__", "/"), text)
    return folder


def test_a_new_bundle_takes_the_place_of_the_old(tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    there.lay_out(unpacked(tmp_path, 1, params="1", resnet__gone="x", resnet__kept="1"), folder)
    put(folder / "runs/tiny/run.json", "made by a stage")
    there.lay_out(unpacked(tmp_path, 2, params="2", resnet__kept="2"), folder)
    files = tree(folder)
    assert {name: files[name] for name in ("params", "resnet/kept", "runs/tiny/run.json")} == {
        "params": "2",
        "resnet/kept": "2",
        "runs/tiny/run.json": "made by a stage",
    }
    assert "resnet/gone" not in files
    assert "no_scm = true" in files[".dvc/config.local"]


def test_what_a_killed_copy_left_is_tidied_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "there"
    folder.mkdir()

    def is_killed(_source: Path, target: Path) -> None:
        put(target, "half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", is_killed)
        with pytest.raises(KeyboardInterrupt):
            there.lay_out(unpacked(tmp_path, 1, a="1", b="1"), folder)
    there.lay_out(unpacked(tmp_path, 2, b="2"), folder)
    assert {name for name in tree(folder) if not name.startswith(".")} == {"b"}


def test_two_jobs_do_not_work_in_one_folder(tmp_path: Path) -> None:
    with (
        there._alone(tmp_path / "w"),
        pytest.raises(EnvironmentFault, match="another job works here"),
        there._alone(tmp_path / "w"),
    ):
        pass


def test_started_by_hand(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="not started by Ray as a job; use python"):
        there.run(tmp_path, str(tmp_path / "w"), ["tiny"])
    assert list(tmp_path.iterdir()) == []
