"""A compiled run is the same run up to rounding, bit-identical when repeated."""

import copy
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from resnet.device import missing_for_compilation
from tests.factories.tiny_run import RECIPE, begin, equal, finished, going, untimed, weights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(missing_for_compilation() is not None, reason=f"needs {missing_for_compilation()}"),
]
COMPILED = replace(RECIPE, compile=True)


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        yield
    torch.compiler.reset()


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
