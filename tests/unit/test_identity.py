"""Section 1's construction: a deeper plain network with the logits of the trained shallower one."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.config import load
from pipeline.evaluation.jobs import deeper
from resnet.analysis import copies
from resnet.analysis.identity import deepened, extends
from resnet.architectures import ARCHITECTURES, Architecture
from resnet.claims.identity import CLAIMS
from resnet.claims.verdicts import judge_all
from resnet.evaluation import evaluate
from resnet.in_memory_data import Batch
from resnet.network import Network, build, initialise
from resnet.study import IdentityCopy, Study, Trial
from tests.factories.networks import disturb
from tests.factories.studies import row, seeds, study

PAIRS = [
    (ARCHITECTURES["cifar-plain-20"], ARCHITECTURES["cifar-plain-56"], 16),
    (replace(ARCHITECTURES["plain-18"], width=8), replace(ARCHITECTURES["plain-34"], width=8), 64),
    (replace(ARCHITECTURES["plain-18"], width=4, bias="all", bn_epsilon=0.5), (2, 2, 3, 2), 64),
]
TINY = Architecture(stem="cifar", block="basic", blocks=(1, 2), width=4, shortcut="none")


def trained(architecture: Architecture, size: int, dtype: torch.dtype = torch.float32) -> tuple[Network, list[Batch]]:
    """Returns a network with random weights and statistics, and two batches with random labels."""
    network = build(architecture, classes=10).to(dtype)
    initialise(network, seed=1)
    disturb(network, seed=2)
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(12, 3, size, size, generator=generator, dtype=dtype)
    labels = torch.randint(0, 10, (12,), generator=generator)
    return network.eval(), [(images[:8], labels[:8]), (images[8:], labels[8:])]


@pytest.mark.parametrize(("shallow", "deep", "size"), PAIRS)
@torch.inference_mode()
def test_the_deeper_network_has_the_shallower_ones_logits(
    shallow: Architecture, deep: Architecture | tuple[int, ...], size: int
) -> None:
    network, [(images, _), *_] = trained(shallow, size)
    blocks = deep.blocks if isinstance(deep, Architecture) else deep
    drawn = torch.get_rng_state()
    deeper = deepened(network, blocks)
    assert torch.equal(drawn, torch.get_rng_state())
    assert deeper.architecture == replace(shallow, blocks=blocks)
    expected = network(images)
    assert expected.std() > 1e-3  # the logits say something
    assert (deeper(images) - expected).abs().max() < 1e-5 * expected.abs().max()


def test_added_layers_are_the_identity_only_where_nothing_is_negative() -> None:
    network, _ = trained(TINY, 6, torch.float64)
    added = deepened(network, (3, 2)).get_submodule("conv2_x.2")
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(added(x.relu()), x.relu())
    torch.testing.assert_close(added(x), x.relu())


@pytest.mark.parametrize(
    ("fields", "blocks"),
    [
        ({}, (1, 2)), ({}, (1, 1)), ({}, (2, 1)), ({}, (2, 2, 1)), ({"shortcut": "A"}, (2, 2)),
        ({"block": "bottleneck"}, (2, 2)), ({"unit": "preactivation"}, (2, 2)), ({"stride_in": "last"}, (2, 2)),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused(fields: dict[str, str], blocks: tuple[int, ...]) -> None:
    shallow = replace(TINY, **fields)  # type: ignore[arg-type]
    assert not extends(replace(shallow, blocks=blocks), shallow)
    with pytest.raises(ValueError, match="no identity layers make"):
        deepened(build(shallow, 10), blocks)


def test_other_widths_are_another_network() -> None:
    assert extends(replace(TINY, blocks=(1, 3)), TINY)
    assert not extends(replace(TINY, blocks=(1, 3), width=8), TINY)


def test_the_deeper_networks_of_a_run_are_those_of_its_experiment() -> None:
    for name, network, expected in (
        ("fashion", "plain-14", ((4, 4, 4), (6, 6, 6))),
        ("fashion", "plain-38", ()),
        ("fashion", "resnet-14", ()),
        ("fashion", "plain-18", ((3, 4, 6, 3),)),  # none of the bottlenecks
        ("digits", "cifar-plain-20", ((9, 9, 9),)),
    ):
        experiment = load(name, Path(__file__).parents[2] / "params.yaml")
        spec = next(spec for spec in experiment.runs if spec.network == network)
        assert deeper(experiment, spec) == expected


def test_copies_are_compared_on_all_images() -> None:
    network, batches = trained(TINY, 6)
    found = copies(network, [(1, 3), (4, 4)], batches)
    logits = torch.cat([network(images).detach() for images, _ in batches])
    assert [copy.blocks for copy in found] == [(1, 3), (4, 4)]
    for copy in found:
        assert copy.error == evaluate(network, batches).top1_percent
        assert copy.max_logit == float(logits.abs().max())
        assert 0 <= copy.max_difference < 1e-5 * copy.max_logit
    assert copies(network, [], batches) == []


def test_a_copy_that_is_none_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    network, batches = trained(TINY, 6)
    other = trained(replace(TINY, blocks=(2, 2)), 6)[0]
    monkeypatch.setattr("resnet.analysis.identity.deepened", lambda *_: other)
    (found,) = copies(network, [(2, 2)], batches)
    assert found.max_difference > 0.01 * found.max_logit


def built(error: float, difference: float = 1e-6, *blocks: tuple[int, ...]) -> tuple[IdentityCopy, ...]:
    return tuple(IdentityCopy(layout, error, difference, max_logit=10.0) for layout in blocks or ((5, 5, 5), (9, 9, 9)))


def degradation(deep: list[float], difference: float = 1e-6, n: int = 5) -> Study:
    """Copies of cifar-plain-20 have errors of 1 %, trained cifar-plain-32 of 8 %, cifar-plain-56 those of `deep`."""
    errors = seeds(1.0, n=n)
    identity = [built(error, difference) for error in errors]
    shallow = row("cifar-plain-20", {"error": errors, "identity": identity})
    return study(shallow, row("cifar-plain-56", {"error": deep}), row("cifar-plain-32", {"error": seeds(8.0, n=n)}))


@pytest.mark.parametrize(
    ("measured", "verdict"),
    [
        (degradation(seeds(20.0)), "reproduced"),
        (degradation([0.9, 20.0, 20.0, 20.0, 20.0]), "undecided"),  # one trained run is as good as the copies
        (degradation([0.9]), "reproduced"),  # a single seed is shown, five of 32 layers decide
        (degradation(seeds(20.0, n=4), n=4), "indicative"),
        (degradation(seeds(20.0), difference=1e-3), "contradicted"),
    ],
)
def test_the_claim_needs_equal_logits_and_a_worse_trained_network(measured: Study, verdict: str) -> None:
    found = judge_all(measured, CLAIMS)[0]
    assert found.verdict == verdict
    assert "cifar-plain-32, 1.00 % built from cifar-plain-20 by identity layers" in found.evidence


def test_both_errors_of_each_depth_are_reported() -> None:
    found = judge_all(degradation(seeds(46.0)), CLAIMS)[0]
    text = "cifar-plain-56, 1.00 % built from cifar-plain-20 by identity layers (n=5), 46.00 % trained (n=5)"
    assert text in found.evidence
    assert "logits of built networks differ by at most 1.0e-07 of the largest" in found.evidence
    assert [pair["to"] for pair in found.statistic["pairs"]] == ["cifar-plain-32", "cifar-plain-56"]
    assert len(found.statistic["pairs"][1]["trained_percent"]) == 5


def test_networks_of_other_recipes_or_without_copies_are_no_pair() -> None:
    pair = degradation(seeds(20.0)).networks
    other = replace(pair[1], recipe=replace(pair[1].recipe, lr=0.2))
    assert "needs two depths" in judge_all(study(pair[0], other), CLAIMS)[0].evidence
    chosen = replace(study(pair[0], other), trial=Trial(nuisance=frozenset({"lr"})))
    assert judge_all(chosen, CLAIMS)[0].verdict == "reproduced"
    bare = judge_all(study(row("plain-18", {"error": [1.0]}), row("plain-34", {"error": [2.0]})), CLAIMS)[0]
    assert bare.evidence.endswith("`python -m pipeline evaluate tiny`")
