"""`python -m pipeline.evaluate --weights FILE --data FOLDER`: errors of any weights on any tree CLASS/IMAGE.

Runs in this process, without Ray. For ImageNet, FOLDER is `val` with one folder a WNID. Experiments are left alone.
"""

import dataclasses
import math
import os
import sys
import time
from collections.abc import Iterator
from itertools import islice

import torch

from pipeline.errors import EnvironmentFault
from pipeline.evaluation import scoreboard
from pipeline.evaluation.evaluate_options import Options
from pipeline.evaluation.evaluate_plan import Plan, make
from pipeline.evaluation.scoreboard import Scoreboard
from pipeline.loading.preprocessed import Photographs
from pipeline.store.records import sha256, write_json
from pipeline.training.device import device_name, versions
from pipeline.weights import network_names
from resnet.batch_norm import folded
from resnet.data import Batch
from resnet.evaluation import Errors, evaluate
from resnet.network import Network
from resnet.precision import set_arithmetic
from resnet.recipe import Precision

COMPARED = 2000  # images on which another precision is compared with fp32
MAX_WORKERS = 8  # unless more are asked for: each holds batches in shared memory


def run(options: Options) -> None:
    """Prints the errors beside the published ones, and writes them to `--json`. Raises UserError."""
    board = assess(options)
    print(scoreboard.text(board), flush=True)
    if options.json is not None:
        try:
            write_json(options.json, board)
        except OSError as error:
            raise EnvironmentFault(f"--json: {options.json}: {error.strerror}; name another file") from None


def assess(options: Options) -> Scoreboard:
    """Evaluates every image once. Raises UserError before the first one for all that can be known then."""
    plan = make(options)
    found = plan.images.splits["all"]
    workers = min(MAX_WORKERS, (os.cpu_count() or 1) - 1) if options.workers is None else options.workers
    photographs = Photographs(found, plan.how, plan.mean, plan.device, workers)
    network = plan.network.float().to(plan.device).to(memory_format=torch.channels_last)
    set_arithmetic(plan.precision)
    try:
        change = None if plan.precision == "fp32" else _change(network, photographs, options.batch_size, plan.precision)
        quick = network if plan.precision == "fp32" else folded(network)
        began = time.perf_counter()
        errors = evaluate(quick, _watched(photographs.batches(options.batch_size), len(found)), plan.precision)
    except torch.OutOfMemoryError:
        raise EnvironmentFault(f"--batch-size {options.batch_size} is too much for the device; halve it") from None
    return _board(options, plan, errors, time.perf_counter() - began, change)


def _change(network: Network, photographs: Photographs, batch_size: int, precision: Precision) -> tuple[Errors, Errors]:
    """Errors over the first images in fp32; and in `precision`, with batch normalisation folded."""
    exact = rounded = Errors(0, 0, 0, 0.0)
    quick = folded(network)
    for batch in islice(photographs.batches(batch_size), math.ceil(COMPARED / batch_size)):
        set_arithmetic("fp32")
        exact += evaluate(network, [batch])
        set_arithmetic(precision)
        rounded += evaluate(quick, [batch], precision)
    return exact, rounded


def _board(
    options: Options, plan: Plan, errors: Errors, seconds: float, change: tuple[Errors, Errors] | None
) -> Scoreboard:
    loss = errors.loss / errors.images
    architecture = plan.network.architecture
    return Scoreboard(
        weights=str(options.weights),
        weights_sha256=sha256(options.weights),
        network=network_names.nearest(architecture),
        architecture=dataclasses.asdict(architecture),
        classes=plan.network.classes,
        data=str(options.data),
        images=errors.images,
        top1_errors=errors.top1,
        top5_errors=errors.top5,
        top1_error_percent=errors.top1_percent,
        top5_error_percent=errors.top5_percent,
        loss=loss if abs(loss) < float("inf") else None,
        images_per_second=errors.images / seconds,
        precision=plan.precision,
        top1_change_points=None if change is None else change[1].top1_percent - change[0].top1_percent,
        compared_images=None if change is None else change[0].images,
        device=device_name(plan.device),
        versions=versions(),
        protocol=plan.how.protocol,
        preprocessing=dataclasses.asdict(plan.how),
        published=scoreboard.published(architecture, plan.network.classes),
        notes=scoreboard.notes(architecture, plan.how, plan.images.classes, errors.images),
    )


def _watched(batches: Iterator[Batch], images: int) -> Iterator[Batch]:
    """The same batches, with a bar in a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("images", total=images)
        for batch in batches:
            yield batch
            progress.advance(task, len(batch[1]))
