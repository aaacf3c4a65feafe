"""A full disk under the folders that the stages make, each as a whole: data, runs, results, reports."""

import shutil
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pipeline.store.records import RunResult, read
from tests import makers
from tests.chaos.disk import PAGE, Scene, pages
from tests.chaos.disk_stages import IMAGES, NAME, Ended, assess_all, assessments, configure, forked, stage, train_all

TARGETS = {
    "data": (Path("data", NAME), Path("data", IMAGES)),
    "runs": (Path("runs", NAME),),
    "results": (Path("results", NAME),),
    "reports": (Path("reports", NAME),),
}
OLDER = "older"  # a file by which the output of an earlier time is told apart
STORE = Path(".runs")


@dataclass
class Folders:
    """A project on the disk, all of whose stages have been run once, undisturbed."""

    scene: Scene
    made: dict[Path, makers.Snapshot] = field(default_factory=dict)

    @cached_property
    def whole(self) -> Path:
        """Where a copy of everything is, on the other disk."""
        whole = self.scene.elsewhere / "whole"
        makers.tree(self.scene.elsewhere / "images", {"": 20})
        self._configure(self.scene.elsewhere / "store")
        ended = [self._make(target) for target in TARGETS["data"]]
        ended += [forked(train_all), self._make(*TARGETS["runs"]), forked(assess_all)]
        ended += [self._make(*TARGETS["results"]), self._make(*TARGETS["reports"])]
        bad = next((one for one in ended if one.code), None)
        assert bad is None, f"the undisturbed stages do not end well: {bad.errors}"
        shutil.copytree(self.scene.elsewhere / "store", STORE)
        for target in self.made:
            shutil.copytree(target, whole / target)
        return whole

    def _configure(self, storage: Path) -> None:
        configure(storage, self.scene.elsewhere / "images")

    def _make(self, target: Path) -> Ended:
        ended = stage(target)
        self.made[target] = makers.snapshot(target)
        return ended

    def folder(self, kind: str, _number: int) -> bool:
        """One fault, unless there was room enough. Whatever comes of it, the project is then as it was."""
        whole, draw = self.whole, self.scene.draw
        target = draw.choice(TARGETS[kind])
        linked = kind == "runs" and draw.random() < 0.5  # published by links within one disk, else by copies
        self._configure(STORE if linked else self.scene.elsewhere / "store")
        needed = PAGE * len(list(whole.glob("runs/*/*"))) if linked else pages(whole / target)
        shutil.rmtree(target)
        if draw.random() < 0.7:
            shutil.copytree(whole / target, target)
            Path(target, OLDER).write_text("as it was")
        before = makers.snapshot(target)
        self.scene.full.leave(draw.randrange(needed))
        ended = stage(target, self.scene.first)
        hit = ended.code != 0
        if hit:
            self._check_kept(target, before, ended)
        self.scene.full.make_room()
        again = stage(target)
        self._check(again.code == 0, "with room the same command ends well", target, again)
        self._check(makers.snapshot(target) == self.made[target], "it makes the same bits", target, again)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(whole / target, target)
        return hit

    def _check_kept(self, target: Path, before: makers.Snapshot, ended: Ended) -> None:
        self._check(ended.refusal, "a full disk is told in one line, with exit code 3", target, ended)
        now = makers.snapshot(target)
        self._check(now == before, "the folder is as it was before", target, ended)
        left = [path.name for path in target.parent.glob(".*")]
        self._check(not left, "nothing half is left beside it", target, ended)

    def evaluation(self, _number: int) -> bool:
        """Under the results that the evaluate stage keeps in the run store for the next time."""
        assert self.whole
        self._configure(STORE)
        expected = {job.kept: _untimed(job.kept) for job in assessments()}
        for kept in expected:
            kept.unlink()
        self.scene.full.leave(self.scene.draw.randrange(sum(PAGE for _ in expected)))
        ended = forked(assess_all, self.scene.first)
        hit = ended.code != 0
        self.scene.full.make_room()
        if hit:
            self._check(ended.refusal, "a full disk is told in one line, with exit code 3", STORE, ended)
            good = all(_untimed(kept) == result for kept, result in expected.items() if kept.exists())
            self._check(good, "what is kept is whole", STORE, ended)
            self._check(not list(STORE.glob("*/.*.tmp")), "nothing half is left beside it", STORE, ended)
        again = forked(assess_all)
        self._check(again.code == 0, "with room the same command ends well", STORE, again)
        same = all(kept.exists() and _untimed(kept) == result for kept, result in expected.items())
        self._check(same, "it makes the same bits", STORE, again)
        return hit

    def _check(self, holds: bool, what: str, target: Path, ended: Ended) -> None:
        said = {} if holds else {"code": ended.code, "errors": ended.errors[-2000:]}
        self.scene.log.check(holds, f"{target}: {what}", **said)


def _untimed(kept: Path) -> RunResult | None:
    """None where the file is damaged."""
    try:
        result = read(RunResult, kept, "the evaluate stage")
    except Exception:
        return None
    return result.model_copy(update={"images_per_second": 0.0, "peak_multiply_adds_per_second": None})
