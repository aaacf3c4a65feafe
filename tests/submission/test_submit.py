"""What a submission is called, what goes up, and what is refused before anything does."""

import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import checkout
from pipeline.checkout import BUNDLED, Revision
from pipeline.errors import UserError
from pipeline.submission import bundle, order
from tests.params_maker import params, write

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@t")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small git checkout."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "checkout"
    (folder / "pipeline").mkdir(parents=True)
    write(folder / "params.yaml", params({"storage": "/shared/runs", "other": params()["tiny"]}))
    (folder / "pipeline" / "code.py").write_text("1\n")
    (folder / "dvc.lock").write_text("schema: '2.0'\n")
    (folder / "untracked").write_text("not for the cluster\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "params.yaml", "pipeline", "dvc.lock")
    git(folder, "commit", "--quiet", "--message", "all")
    return folder


def git(folder: Path, *words: str) -> str:
    return subprocess.run([*GIT, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def ordered(root: Path, *experiments: str, bundled: bool = True, path: str | None = None) -> order.Order:
    return order.read(list(experiments or ("tiny",)), path, bundled=bundled, root=root)


# Names


def test_equal_orders_have_equal_names(root: Path) -> None:
    write(root / "params.yaml", params({"experiments": ["tiny", "other"], "other": params()["tiny"]}))
    assert ordered(root, "other", "tiny", "tiny").name == ordered(root, "tiny", "other").name
    assert ordered(root, "tiny").place != ordered(root, "other").place


@pytest.mark.parametrize("changed", ["params.yaml", "pipeline/code.py"])
def test_code_and_parameters_change_the_name_but_not_the_place(changed: str, root: Path) -> None:
    before = ordered(root)
    (root / changed).write_text((root / changed).read_text() + "# new\n")
    after = ordered(root)
    assert before.name != after.name
    assert before.place == after.place


@pytest.mark.parametrize("changed", ["dvc.lock", "untracked", "reports/tiny/report.md"])
def test_what_stages_write_changes_nothing(changed: str, root: Path) -> None:
    """Else nobody could join a job that has written its first output."""
    before = ordered(root)
    (root / changed).parent.mkdir(parents=True, exist_ok=True)
    (root / changed).write_text("new\n")
    if not changed.startswith("untracked"):
        git(root, "add", changed)
    assert ordered(root).name == before.name


def test_forms_and_folders_are_places_of_their_own(root: Path) -> None:
    places = {
        ordered(root).place,
        ordered(root, bundled=False).place,
        ordered(root, path="/elsewhere").place,
        ordered(root, bundled=False, path="/elsewhere").place,
    }
    assert len(places) == 4


@pytest.mark.parametrize(
    ("storage", "folder"),
    [("/shared/runs", "/shared/runs/checkouts/tiny"), (".runs", order.ON_THE_HEAD), ("/a b", "/a b/checkouts/tiny")],
)
def test_a_bundle_is_laid_out_beside_the_runs(storage: str, folder: str, root: Path) -> None:
    write(root / "params.yaml", params({"storage": storage}))
    assert ordered(root).folder == folder


def test_entrypoints(root: Path) -> None:
    there = ordered(root, bundled=False)
    assert there.entrypoint() == f"cd {root} && exec dvc repro report@tiny"
    assert replace(there, folder="/a b").entrypoint() == "cd '/a b' && exec dvc repro report@tiny"
    up = replace(ordered(root), folder="", experiments=("a", "b"))
    assert up.entrypoint() == "exec python -m pipeline.submission.there '' a b"


def test_a_checkout_that_is_not_seen_from_here(root: Path) -> None:
    far = ordered(root, "anything", bundled=False, path="/nowhere/checkout")
    assert (far.folder, far.state) == ("/nowhere/checkout", "")
    assert far.name.endswith("-unseen")


# The bundle


def packed(root: Path, target: Path) -> tuple[Revision | None, dict[str, bytes]]:
    at = bundle.pack(root, target)
    with zipfile.ZipFile(target) as archive:
        return at, {name: archive.read(name) for name in archive.namelist()}


def test_a_bundle_has_the_tracked_files_as_they_stand(root: Path, tmp_path: Path) -> None:
    commit = git(root, "rev-parse", "HEAD")
    at, files = packed(root, tmp_path / "a.zip")
    assert at == Revision(commit, dirty=False)
    assert set(files) == {"params.yaml", "pipeline/code.py", "dvc.lock", BUNDLED}
    (root / "pipeline" / "code.py").write_text("2\n")
    (root / "params.yaml").unlink()
    at, files = packed(root, tmp_path / "b.zip")
    assert at == Revision(commit, dirty=True)
    assert set(files) == {"pipeline/code.py", "dvc.lock", BUNDLED}
    assert files["pipeline/code.py"] == b"2\n"


def test_equal_files_make_equal_bundles(root: Path, tmp_path: Path) -> None:
    packed(root, tmp_path / "a.zip")
    (root / "params.yaml").write_bytes((root / "params.yaml").read_bytes())  # another time of change
    packed(root, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_the_commit_travels_with_the_bundle(root: Path, tmp_path: Path) -> None:
    (root / "pipeline" / "code.py").write_text("2\n")
    at, files = packed(root, tmp_path / "a.zip")
    inside = root / "unpacked"  # within another checkout, whose commit must not be taken for it
    inside.mkdir()
    (inside / BUNDLED).write_bytes(files[BUNDLED])
    assert checkout.revision(inside) == at
    assert at is not None
    assert str(at).endswith(" (changed since)")
    (inside / BUNDLED).write_bytes(b"")
    assert checkout.revision(inside) is None


def test_what_is_too_large_is_named(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "AT_MOST", 2**20)
    (root / "weights.bin").write_bytes(bytes(2 * 2**20))
    git(root, "add", "weights.bin")
    with pytest.raises(UserError, match=r"weights\.bin: the tracked files have 2 MiB, this one 2, a bundle may have 1"):
        bundle.pack(root, tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_links_are_refused(root: Path, tmp_path: Path) -> None:
    (root / "link").symlink_to("/etc/hostname")
    git(root, "add", "link")
    with pytest.raises(UserError, match="link: a link or a folder"):
        bundle.pack(root, tmp_path / "a.zip")


def test_without_git_there_is_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    write(tmp_path / "params.yaml", params())
    with pytest.raises(UserError, match="no git checkout with tracked files"):
        ordered(tmp_path)
    assert ordered(tmp_path, bundled=False).state  # a shared checkout need not be one of git


# Refusals


@pytest.mark.parametrize("bundled", [True, False])
def test_experiments_are_checked_first(bundled: bool, root: Path) -> None:
    with pytest.raises(UserError, match=r"no experiment 'tinny', did you mean 'tiny'\?"):
        ordered(root, "tiny", "tinny", bundled=bundled)
    with pytest.raises(
        UserError, match=r"experiments: 'other' is not among tiny.*dvc\.yaml has stages for these alone"
    ):
        ordered(root, "other", bundled=bundled)


def test_run_from_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run from the top of the checkout"):
        ordered(tmp_path, bundled=False)


def test_help_is_fast_and_needs_no_ray() -> None:
    code = "import sys, pipeline.submit; print([n for n in ('ray', 'dvc', 'torch', 'pydantic') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.submit", "--help"], capture_output=True, text=True, check=True
    )
    assert "--no-follow" in done.stdout
