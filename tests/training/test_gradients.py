"""Gradient norms: those of autograd, at the iterations that were promised, kept by checkpoints and in gradients.csv."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from pipeline.errors import UserError
from pipeline.reporting import inputs
from pipeline.store import checkpoints, gradients
from resnet.architectures import ARCHITECTURES, Architecture
from resnet.gradients import convolutions, gradient_norms
from resnet.history import Gradient
from resnet.network import build
from resnet.recipe import Recipe
from resnet.training import Training, start
from tests.report_maker import EXPERIMENT, Made, make
from tests.tiny_run import DATA, NETWORK, RECIPE, SEED, begin, finished, going, untimed

KEY = "a" * 64


def by_hand(run: Training, recipe: Recipe) -> list[float]:
    """Norms of the gradient that the next iteration will have: one backward pass of a copy, one tensor at a time."""
    copied = start(NETWORK, recipe, classes=3, channels=1, seed=0, device=torch.device("cpu"))
    copied.network.load_state_dict(run.network.state_dict())
    images, labels = next(DATA.batches(recipe, SEED, run.iteration))
    loss = functional.cross_entropy(copied.network.train()(images), labels)
    torch.autograd.backward(loss)
    names = [name for name, module in copied.network.named_modules() if isinstance(module, torch.nn.Conv2d)]
    found = [copied.network.get_parameter(f"{name}.weight").grad for name in names]
    return [math.sqrt(sum(float(x) ** 2 for x in g.flatten())) for g in found if g is not None]


def test_recorded_norms_are_autograds() -> None:
    run = begin()
    expected = {1: by_hand(run, RECIPE)}
    for _ in going(run):
        expected[run.iteration + 1] = by_hand(run, RECIPE)
    validated = [row.iteration for row in run.rows if row.val_top1_error_percent is not None]
    assert [gradient.iteration for gradient in run.gradients] == [1, *validated] == [1, 6, 11]
    for gradient in run.gradients:
        assert len(gradient.norms) == 5
        assert gradient.norms == pytest.approx(expected[gradient.iteration], rel=1e-6)
        assert gradient.norms != pytest.approx(expected[gradient.iteration + 1], rel=1e-3)


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (replace(RECIPE, record_every=1, validate_every=1, iterations=3, lr_drops=()), [1, 2, 3]),  # the first one once
        (replace(RECIPE, record_every=4, validate_every=8), [1, 8, 11]),
        (replace(RECIPE, iterations=1, lr_drops=()), [1]),
        (replace(RECIPE, precision="bf16"), [1, 6, 11]),
    ],
)
def test_when_they_are_recorded(recipe: Recipe, expected: list[int]) -> None:
    assert [gradient.iteration for gradient in finished(recipe).gradients] == expected


def test_they_change_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished()
    monkeypatch.setattr("resnet.training.gradient_norms", lambda network: ())
    without = finished()
    assert without.gradients != run.gradients
    assert untimed(without.rows) == untimed(run.rows)
    pairs = zip(without.network.state_dict().values(), run.network.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_gradient_that_all_but_vanishes_is_measured() -> None:
    """In float32 the squares of 1e-30 are zero, and so would be the norm."""
    network = build(NETWORK, 3, 1)
    for convolution in convolutions(network).values():
        convolution.weight.grad = torch.full_like(convolution.weight, 1e-30)
    counts = [convolution.weight.numel() for convolution in convolutions(network).values()]
    assert gradient_norms(network) == pytest.approx([1e-30 * count**0.5 for count in counts], rel=1e-6, abs=0)


@pytest.mark.parametrize(
    ("network", "names"),
    [
        (NETWORK, ["conv1.conv", *(f"conv{k}_x.0.residual.conv{i}" for k in (2, 3) for i in (1, 2))]),
        (
            replace(NETWORK, block="bottleneck", blocks=(1,), shortcut="B", gate="exclusive"),
            ["conv1.conv", *(f"conv2_x.0.{own}" for own in (
                "residual.conv1", "residual.conv2", "residual.conv3", "shortcut.conv", "addition.conv"
            ))],
        ),
    ],
)  # fmt: skip
def test_names_are_the_state_dicts_in_the_order_of_the_forward_pass(network: Architecture, names: list[str]) -> None:
    built = build(network, 3, 1)
    assert list(convolutions(built)) == names
    assert {f"{name}.weight" for name in names} <= set(built.state_dict())


@pytest.mark.parametrize("name", ["resnet-50", "cifar-preact-110", "keras-resnet50v2"])
def test_the_order_is_that_of_the_forward_pass(name: str) -> None:
    network = build(replace(ARCHITECTURES[name], width=2), 3)
    names, seen = {module: own for own, module in convolutions(network).items()}, list[str]()
    for convolution in names:
        convolution.register_forward_hook(lambda module, _, __: seen.append(names[module]))
    network.eval()(torch.zeros(1, 3, 32, 32))
    assert seen == list(names.values())


def test_gradients_that_a_checkpoint_left_out_are_missed(tmp_path: Path) -> None:
    """They decide nothing but themselves, so no other comparison would see it."""
    run = begin()
    list(islice(going(run), 7))
    checkpoints.write(tmp_path, KEY, run)
    for forgets, expected in ((False, [1, 6, 11]), (True, [11])):
        again = begin(seed=SEED + 99)
        assert checkpoints.restore(tmp_path, KEY, again)
        assert again.gradients == run.gradients
        if forgets:
            again.gradients.clear()
        list(going(again))
        assert [gradient.iteration for gradient in again.gradients] == expected
        assert (again.gradients == finished().gradients) == (not forgets)


# gradients.csv

GRADIENTS = (Gradient(1, (1 / 3, 5e-324)), Gradient(20, (math.inf, 1e300)))


def test_norms_come_back_to_the_last_digit(tmp_path: Path) -> None:
    path = tmp_path / "gradients.csv"
    gradients.write(path, ["conv1.conv", "conv2_x.0.residual.conv1"], [*GRADIENTS, Gradient(40, (math.nan, 0.0))])
    *equal, last = gradients.read(path, "")
    assert tuple(equal) == GRADIENTS
    assert repr(last) == repr(Gradient(40, (math.nan, 0.0)))
    assert path.read_text().splitlines()[:2] == ["iteration,conv1.conv,conv2_x.0.residual.conv1", f"1,{1 / 3!r},5e-324"]


DAMAGED: dict[str, Callable[[str], bytes]] = {
    "empty": lambda text: b"",
    "no header": lambda text: text.partition("\n")[2].encode(),
    "a word": lambda text: text.replace("5e-324", "small").encode(),
    "half an iteration": lambda text: text.replace("\n20,", "\n20.5,").encode(),
    "a cut row": lambda text: text.rpartition(",")[0].encode(),
    "a row too long": lambda text: text.strip().encode() + b",1\n",
    "bytes": lambda text: b"\xff\xfe\x00\x01",
    "a long field": lambda text: b"iteration," + b"x" * 200_000,
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_gradients_are_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "gradients.csv"
    gradients.write(path, ["a", "b"], GRADIENTS)
    path.write_bytes(DAMAGED[kind](path.read_text()))
    with pytest.raises(UserError, match=r"gradients\.csv: damaged .*; make it again with: dvc repro$") as error:
        gradients.read(path, "dvc repro")
    assert len(str(error.value).splitlines()) == 1


# What the report reads


def test_a_report_without_gradients_names_the_command(tmp_path: Path) -> None:
    experiment = make(tmp_path, Made(networks=("plain-18",), seeds=1))
    path = tmp_path / "runs" / EXPERIMENT / "plain-18-seed0" / "gradients.csv"
    path.unlink()
    with pytest.raises(UserError, match=r"gradients\.csv: not there; make it with: python -m pipeline\.train tiny$"):
        inputs.gather(experiment, tmp_path)
    path.mkdir()
    with pytest.raises(UserError, match=r"gradients\.csv: Is a directory; make it with"):
        inputs.gather(experiment, tmp_path)


def test_what_was_measured_inside_reaches_the_claims(tmp_path: Path) -> None:
    made = Made(
        networks=("resnet-18",), seeds=3, diverged=("resnet-18-seed1",), not_evaluated=("resnet-18-seed2",),
        protocols={"10-crop": -1.0}, responses={"resnet-18": 0.25}, gradient_ratio={"resnet-18": 100.0},
        layer_spread=0.01,
    )  # fmt: skip
    gathered = inputs.gather(make(tmp_path, made), tmp_path)
    run, diverged, not_evaluated = inputs.study(gathered).networks[0].runs
    content = json.loads((tmp_path / "results" / EXPERIMENT / "resnet-18-seed0.json").read_text())
    inside = content["analysis"]
    assert run.responses == tuple(inside["responses"].values()) == pytest.approx([0.25] * 17, rel=0.1)
    assert run.variances_at_start == tuple(inside["variances_at_start"].values())
    assert run.lesions == tuple(inside["lesions"].values())
    assert len(run.lesions) == 8
    assert run.noise == tuple((float(s), error) for s, error in inside["noise"].items())
    errors = content["protocols"]["10-crop"]
    assert run.protocols == (("10-crop", 100 * errors["top1_errors"] / errors["images"]),)
    assert [gradient.iteration for gradient in run.gradients] == [1, *range(100, 2001, 100)]
    assert run.gradients[0].norms[0] / run.gradients[0].norms[-1] == pytest.approx(100, rel=0.1)
    assert run.gradients == gradients.read(tmp_path / "runs" / EXPERIMENT / "resnet-18-seed0" / "gradients.csv", "")
    for other in (diverged, not_evaluated):
        assert (other.responses, other.variances_at_start, other.lesions, other.noise) == ((), (), (), ())
        assert len(other.gradients) == 21
    assert [name for name, _ in diverged.protocols] == ["10-crop"]
    assert not_evaluated.protocols == ()


def test_a_strength_of_noise_that_is_no_number_is_refused(tmp_path: Path) -> None:
    experiment = make(tmp_path, Made(networks=("plain-18",), seeds=1))
    path = tmp_path / "results" / EXPERIMENT / "plain-18-seed0.json"
    content: dict[str, Any] = json.loads(path.read_text())
    content["analysis"]["noise"] = {"a little": 3.0}
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"seed0\.json: damaged .*a little.*make it again with: python -m pipeline\.ev"):
        inputs.gather(experiment, tmp_path)
