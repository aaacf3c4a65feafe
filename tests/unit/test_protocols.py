"""Ten crops, several scales and ensembles, compared with a reference that sees one image and one view at a time."""

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

from pipeline.data.shard_views import ShardViews
from pipeline.data.shards import Shards
from pipeline.records import Manifest
from resnet.evaluation import Errors
from resnet.protocols import Averaging, MultiScale, TenCrop, Testing, Viewed, evaluate_views, pixels, scores
from tests.factories import protocols as reference

IMAGES = 25
CPU = torch.device("cpu")


class Data:
    """The validation split of a prepared folder, for ours and for the reference."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.shards = Shards(folder, manifest.val)
        self.mean = torch.from_numpy(np.load(folder / "mean.npy"))
        self.files = [self.shards.encoded(i) for i in range(IMAGES)]
        self.labels = [label for _, label in self.files]

    def views(self, workers: int = 0) -> ShardViews:
        return ShardViews(self.shards, self.mean, workers)

    def reference(self, networks: Sequence[nn.Module], protocol: str, **options: Any) -> list[reference.Pixels]:
        mean = self.mean.numpy().tobytes()
        return [reference.probabilities(networks, content, mean, protocol, **options) for content, _ in self.files]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    top = tmp_path_factory.mktemp("protocols")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(top)
        return Data(*reference.prepared(top, {"train": 2, "val": IMAGES // len(reference.CLASSES)}))


@torch.inference_mode()
def ours(networks: Sequence[nn.Module], data: Data, testing: Testing, averaging: Averaging = "softmax") -> Tensor:
    """Returns probabilities of all images in the data set's order; batches are by size, hence one image at a time."""
    batches = [next(data.views().batches(testing, [i])) for i in range(IMAGES)]
    return torch.cat([scores(networks, views, averaging) for views, _ in batches]).exp()


CASES: dict[str, tuple[int, Testing, dict[str, Any]]] = {  # networks, ours, the reference's options
    "10-crop": (1, TenCrop(), {}),
    "10-crop, mean of logits, ensemble": (2, TenCrop(), {"averaging": "logits"}),
    "multi-scale": (1, MultiScale(), {}),
    "two scales with flips, ensemble": (2, MultiScale((256, 224), flips=True), {"sides": (224, 256), "flips": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_against_one_image_and_one_view_at_a_time(case: str, data: Data) -> None:
    number, testing, options = CASES[case]
    networks = [reference.network(seed) for seed in range(number)]
    expected = data.reference(networks, testing.name, **options)
    got = ours(networks, data, testing, options.get("averaging", "softmax"))
    torch.testing.assert_close(got, torch.from_numpy(np.stack(expected)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("testing", [TenCrop(), MultiScale(sides=(224, 256))])
def test_counts_add_up_over_workers(testing: Testing, data: Data) -> None:
    """Images of one size go through the network together, so these differ with the parts; the counts do not."""
    networks = [reference.network(1)]
    probabilities = list(ours(networks, data, testing).numpy())
    top1, top3 = (reference.errors(probabilities, data.labels, k) for k in (1, 3))
    loss = -sum(math.log(p[label]) for p, label in zip(probabilities, data.labels, strict=True))
    assert 0 < top3 < top1 < IMAGES
    for workers in (2, 7):
        parts = [range(IMAGES)[i::workers] for i in range(workers)]
        shares = [evaluate_views(networks, data.views().batches(testing, part)) for part in parts]
        total = sum(shares, Errors(0, 0, 0, 0.0))
        assert (total.images, total.top1, total.top5) == (IMAGES, top1, 0)  # there are five classes
        assert total.loss == pytest.approx(loss, abs=1e-4)


def test_ten_crops_are_torchvisions() -> None:
    """The image has its size already; torchvision mirrors the whole and then cuts."""
    picture = Image.fromarray(np.random.Generator(np.random.PCG64(1)).integers(0, 256, (256, 300, 3), dtype=np.uint8))
    theirs = [np.asarray(crop).transpose(2, 0, 1) for crop in ten_crop(picture, [224, 224])]
    crops = [picture.resize((c, r), box=box) for box, (r, c) in TenCrop().views(256, 300)]
    views = [torch.from_numpy(np.asarray(crop).copy()).permute(2, 0, 1)[None] for crop in crops]
    got = pixels(views, torch.zeros(3, 224, 224), flips=TenCrop.flips)
    mine = [(view[0] * 255).round().to(torch.uint8).numpy() for view in got]
    assert len({view.tobytes() for view in mine}) == 10
    assert {view.tobytes() for view in mine} == {np.ascontiguousarray(view).tobytes() for view in theirs}


def fixed(*answers: list[list[float]]) -> list[nn.Module]:
    """Returns networks that answer a view (N, 1, 1, 1) with the row of logits that it names."""

    class Fixed(nn.Module):
        def __init__(self, rows: list[list[float]]) -> None:
            super().__init__()
            self.rows = torch.tensor(rows)

        def forward(self, x: Tensor) -> Tensor:
            return self.rows[x.flatten().long()]

    return [Fixed(rows) for rows in answers]


def of_one_image(networks: Sequence[nn.Module], views: int, label: int) -> tuple[int, int]:
    batch: Viewed = [torch.full((1, 1, 1, 1), float(i)) for i in range(views)], torch.tensor([label])
    errors = evaluate_views(networks, [batch])
    return errors.top1, errors.top5


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_ties_and_non_finite_answers_are_errors(bad: float) -> None:
    certain = fixed([[900.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]])  # others' probabilities are zero in any arithmetic: no tie
    assert [of_one_image(certain, 1, label) for label in (0, 1, 4, 5)] == [(0, 0), (1, 0), (1, 0), (1, 1)]
    good = [9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert of_one_image(fixed([good, good]), 2, 0) == (0, 0)
    assert of_one_image(fixed([[1.0] * 7]), 1, 0) == (1, 1)
    assert of_one_image(fixed([good, [9.0, bad, *good[2:]]]), 2, 0) == (1, 1)  # one view
    assert of_one_image(fixed([good], [[9.0, bad, *good[2:]]]), 1, 0) == (1, 1)  # one member
