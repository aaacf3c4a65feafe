"""train.compile: the same run up to rounding, to the same bits each time, and refused where nothing can compile."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.config.experiment import RunSpec
from pipeline.errors import EnvironmentFault
from pipeline.training import worker
from resnet.compiling import lacking
from tests.tiny_run import NETWORK, RECIPE, begin, equal, finished, going, untimed, weights

COMPILED = replace(RECIPE, compile=True)
can_compile = pytest.mark.skipif(lacking() is not None, reason=f"needs {lacking()}")


@pytest.fixture(scope="module", autouse=True)
def _compiled_anew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        yield
    torch.compiler.reset()


@can_compile
def test_it_is_the_same_run_up_to_rounding_and_repeats_itself() -> None:
    eager, run = finished(), begin(COMPILED)
    states = [(run.iteration, copy.deepcopy(run)) for _ in going(run, COMPILED) if run.iteration == 5]
    assert [row.iteration for row in run.rows] == [row.iteration for row in eager.rows]
    assert run.rows[0].train_loss == pytest.approx(eager.rows[0].train_loss, rel=1e-4)
    assert list(weights(run)) == list(weights(eager))
    for ours, theirs in zip(run.gradients[0].norms, eager.gradients[0].norms, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    (_, middle), *_ = states
    for _ in going(middle, COMPILED):
        pass
    assert equal(weights(middle), weights(run))
    assert untimed(middle.rows) == untimed(run.rows)


@pytest.mark.parametrize("compilers", [True, False])
def test_what_is_missing_is_named(compilers: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet.compiling.shutil.which", lambda _: "/usr/bin/g++" if compilers else None)
    monkeypatch.setattr("resnet.compiling.sysconfig.get_path", lambda _: str(tmp_path))
    missing = lacking()
    assert missing is not None
    assert ("Python.h" in missing) is compilers
    (tmp_path / "Python.h").touch()
    assert (lacking() is None) is compilers


def test_a_node_that_cannot_compile_says_so_before_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = RunSpec(
        experiment="tiny", network="row", architecture_name="x", architecture=NETWORK, recipe=COMPILED, seed=0
    )
    monkeypatch.setattr(worker, "lacking", lambda: "a C++ compiler (g++) on PATH")
    expected = r"tiny\.networks\.row: train\.compile needs a C\+\+ compiler .* set compile: false"
    with pytest.raises(EnvironmentFault, match=expected):
        worker._check_compiler(spec)
    worker._check_compiler(replace(spec, recipe=RECIPE))
