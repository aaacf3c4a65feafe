"""Ten crops, several scales and ensembles, against the same computed slowly, an image and a view at a time."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import ten_crop

from pipeline.loading.shard_views import ShardViews
from pipeline.loading.shards import Shards
from pipeline.store.records import Manifest
from resnet.evaluation import Errors
from resnet.protocols import Averaging, MultiScale, TenCrop, Testing, Viewed, evaluate, pixels, scores, single
from tests import protocol_maker as slow

IMAGES = 50
CPU = torch.device("cpu")


class Data:
    """The validation split of a prepared folder, and what the slow way needs of it."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.shards = Shards(folder, manifest.val, "mend")
        self.mean = torch.from_numpy(np.load(folder / "mean.npy"))
        self.files = [self.shards.encoded(i) for i in range(IMAGES)]
        self.labels = [label for _, label in self.files]

    def views(self, workers: int = 0) -> ShardViews:
        return ShardViews(self.shards, self.mean, CPU, workers)

    def slowly(self, networks: Sequence[nn.Module], protocol: str, **options: Any) -> list[slow.Pixels]:
        mean = self.mean.numpy().tobytes()
        return [slow.probabilities(networks, content, mean, protocol, **options) for content, _ in self.files]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    top = tmp_path_factory.mktemp("protocols")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(top)
        return Data(*slow.prepared(top, {"train": 2, "val": IMAGES // len(slow.CLASSES)}))


@torch.inference_mode()
def ours(networks: Sequence[nn.Module], data: Data, testing: Testing, averaging: Averaging = "softmax") -> Tensor:
    """Probabilities of all images, in the data set's order: batches come by size, so one image at a time."""
    batches = [next(data.views().batches(testing, [i])) for i in range(IMAGES)]
    return torch.cat([scores(networks, views, averaging) for views, _ in batches]).exp()


CASES: dict[str, tuple[int, Testing, dict[str, Any]]] = {  # networks, ours, the slow one's options
    "10-crop": (1, TenCrop(), {}),
    "10-crop, mean of logits, ensemble": (2, TenCrop(), {"averaging": "logits"}),
    "multi-scale": (1, MultiScale(), {}),
    "two scales with flips, ensemble": (2, MultiScale((256, 224), flips=True), {"sides": (224, 256), "flips": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_against_one_image_and_one_view_at_a_time(case: str, data: Data) -> None:
    number, testing, options = CASES[case]
    networks = [slow.network(seed) for seed in range(number)]
    expected = data.slowly(networks, testing.name, **options)
    got = ours(networks, data, testing, options.get("averaging", "softmax"))
    torch.testing.assert_close(got, torch.from_numpy(np.stack(expected)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("testing", [TenCrop(), MultiScale(sides=(224, 256))])
def test_counts_add_up_over_workers(testing: Testing, data: Data) -> None:
    """Images of one size go through the network together, so these differ with the parts; the counts do not."""
    networks = [slow.network(1)]
    probabilities = list(ours(networks, data, testing).numpy())
    top1, top3 = (slow.errors(probabilities, data.labels, k) for k in (1, 3))
    loss = -sum(math.log(p[label]) for p, label in zip(probabilities, data.labels, strict=True))
    assert 0 < top3 < top1 < IMAGES
    for workers in (1, 2, 3, 7):
        parts = [range(IMAGES)[i::workers] for i in range(workers)]
        shares = [evaluate(networks, data.views().batches(testing, part)) for part in parts]
        total = sum(shares, Errors(0, 0, 0, 0.0))
        assert (total.images, total.top1, total.top5) == (IMAGES, top1, 0)  # there are five classes
        assert total.loss == pytest.approx(loss, abs=1e-4)


def test_processes_that_decode_change_nothing(data: Data) -> None:
    for testing in (TenCrop(), MultiScale(sides=(224, 320))):
        alone, beside = (list(data.views(workers).batches(testing)) for workers in (0, 2))
        assert sum(len(labels) for _, labels in alone) == IMAGES
        assert len(alone) == len(beside)
        for (views, labels), (others, same) in zip(alone, beside, strict=True):
            assert torch.equal(labels, same)
            assert len(views) == len(others)
            assert all(torch.equal(view, other) for view, other in zip(views, others, strict=True))


def test_ten_crops_are_torchvisions() -> None:
    """Of an image that has its size already; torchvision mirrors the whole and then cuts."""
    picture = Image.fromarray(np.random.Generator(np.random.PCG64(1)).integers(0, 256, (256, 300, 3), dtype=np.uint8))
    theirs = [np.asarray(crop).transpose(2, 0, 1) for crop in ten_crop(picture, [224, 224])]
    crops = [picture.resize((c, r), box=box) for box, (r, c) in TenCrop().views(256, 300)]
    views = [torch.from_numpy(np.asarray(crop).copy()).permute(2, 0, 1)[None] for crop in crops]
    got = pixels(views, torch.zeros(3, 224, 224), flips=TenCrop.flips)
    mine = [(view[0] * 255).round().to(torch.uint8).numpy() for view in got]
    assert len({view.tobytes() for view in mine}) == 10
    assert {view.tobytes() for view in mine} == {np.ascontiguousarray(view).tobytes() for view in theirs}


def test_views_by_hand() -> None:
    assert TenCrop().views(512, 600)[1] == ((152.0, 0.0, 600.0, 448.0), (224, 224))
    assert [size for _, size in MultiScale().views(300, 400)] == [
        (224, 299), (256, 341), (384, 512), (480, 640), (640, 853),
    ]  # fmt: skip
    assert {box for box, _ in MultiScale().views(300, 400)} == {(0.0, 0.0, 400.0, 300.0)}


@pytest.mark.parametrize(("height", "width"), [(1, 5000), (4999, 3), (10, 80)])
def test_of_a_very_long_image_the_middle_is_seen(height: int, width: int) -> None:
    """A million pixels to the side would not fit anywhere. Up to 8 to 1 the whole image is seen."""
    for (left, top, right, bottom), (rows, columns) in MultiScale().views(height, width):
        assert min(rows, columns) in (224, 256, 384, 480, 640)
        assert max(rows, columns) == 8 * min(rows, columns)
        assert (right - left) * (bottom - top) == pytest.approx(8 * min(height, width) ** 2, rel=1e-3)
        assert (left + right, top + bottom) == pytest.approx(
            (width, height), abs=max(height, width) / max(rows, columns)
        )


def fixed(*answers: list[list[float]]) -> list[nn.Module]:
    """Networks that answer with these logits, whatever they see: of each view (N, 1, 1, 1) the row that it names."""

    class Fixed(nn.Module):
        def __init__(self, rows: list[list[float]]) -> None:
            super().__init__()
            self.rows = torch.tensor(rows)

        def forward(self, x: Tensor) -> Tensor:
            return self.rows[x.flatten().long()]

    return [Fixed(rows) for rows in answers]


def seeing(views: int) -> list[Tensor]:
    return [torch.full((1, 1, 1, 1), float(i)) for i in range(views)]


def test_what_the_mean_is_of_can_decide() -> None:
    """One sure view against two: their logits outweigh them, their probabilities do not."""
    networks = fixed([[10.0, 0.0], [0.0, 4.0], [0.0, 4.0]])
    p = scores(networks, seeing(3)).exp()[0].tolist()
    q = 1 / (1 + math.exp(-4))
    assert p == pytest.approx([(1 / (1 + math.exp(-10)) + 2 * (1 - q)) / 3, (1 / (1 + math.exp(10)) + 2 * q) / 3])
    logits = scores(networks, seeing(3), "logits").exp()[0].tolist()
    assert logits == pytest.approx([1 / (1 + math.exp(-2 / 3)), 1 / (1 + math.exp(2 / 3))])
    assert p[1] > p[0]
    assert logits[0] > logits[1]


def of_one_image(networks: Sequence[nn.Module], views: int, label: int) -> tuple[int, int]:
    batches: list[Viewed] = [(seeing(views), torch.tensor([label]))]
    errors = evaluate(networks, batches)
    return errors.top1, errors.top5


def test_impossible_classes_keep_their_order() -> None:
    """Their probabilities are zero in any arithmetic, and a tie of zeros would be an error."""
    networks = fixed([[900.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]])
    assert [of_one_image(networks, 1, label) for label in (0, 1, 4, 5)] == [(0, 0), (1, 0), (1, 0), (1, 1)]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_ties_and_non_finite_answers_are_errors(bad: float) -> None:
    good = [9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert of_one_image(fixed([good, good]), 2, 0) == (0, 0)
    assert of_one_image(fixed([[1.0] * 7]), 1, 0) == (1, 1)
    assert of_one_image(fixed([good, [9.0, bad, *good[2:]]]), 2, 0) == (1, 1)  # one view
    assert of_one_image(fixed([good], [[9.0, bad, *good[2:]]]), 1, 0) == (1, 1)  # one member


def test_modes_are_put_back_and_nothing_is_learnt() -> None:
    networks = [slow.network(0).train(), slow.network(1)]
    before = [{name: tensor.clone() for name, tensor in n.state_dict().items()} for n in networks]
    evaluate(networks, single([(torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3]))]))
    assert [n.training for n in networks] == [True, False]
    for network, old in zip(networks, before, strict=True):
        assert all(torch.equal(old[name], tensor) for name, tensor in network.state_dict().items())
    assert evaluate(networks, []) == Errors(0, 0, 0, 0.0)
