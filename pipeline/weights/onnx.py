"""Converts a network to ONNX, and checks that onnxruntime computes from the file what torch computes."""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.weights.files import require
from resnet.network import Network

BATCHES = (1, 2, 7)  # images at once on which the two are compared
TOLERANCE = 1e-5  # of the largest logit
INPUT, OUTPUT = "images", "logits"


def to_onnx(network: Network, size: int) -> tuple[bytes, float]:
    """Returns a file that maps images (N, channels, size, size) to logits (N, classes), for every N, in float32.

    It computes in evaluation mode and holds its weights. The second value is the largest difference of onnxruntime's
    logits from those of torch in float64 (in float32 torch's rounding would count too), relative to the largest logit.
    Raises UserError where that is above TOLERANCE, or where the extra `onnx` is not installed.
    """
    require("onnx", "onnx", "onnxscript", "onnxruntime")
    import onnx

    with _quiet():
        model = _exported(copy.deepcopy(network).float().eval(), size)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    difference = _difference(copy.deepcopy(network).double().eval(), content, size)
    if not difference <= TOLERANCE:  # also refuses NaN
        raise UserError(
            f"onnxruntime's logits differ from torch's by {difference:.1e} of the largest, more than {TOLERANCE:g}; "
            "nothing was written"
        )
    return content, difference


def _exported(network: Network, size: int) -> Any:
    example = torch.zeros(2, network.channels, size, size)  # of two images: torch takes a 1 for a constant
    program = torch.onnx.export(
        network,
        (example,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=[INPUT],
        output_names=[OUTPUT],
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]  # stack traces: paths of this machine
    return model


def _difference(exact: Network, content: bytes, size: int) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in BATCHES:
        generator = torch.Generator().manual_seed(batch)
        images = torch.randn(batch, exact.channels, size, size, generator=generator)
        with torch.no_grad():
            expected = exact(images.double())
        (logits,) = session.run([OUTPUT], {INPUT: images.numpy()})
        worst = max(worst, _relative(torch.from_numpy(logits), expected))
    return worst


def _relative(got: Tensor, expected: Tensor) -> float:
    """Returns infinity for another shape and for values that are not finite."""
    if got.shape != expected.shape or not bool(torch.isfinite(got).all() and torch.isfinite(expected).all()):
        return float("inf")
    return float((got - expected).abs().max() / expected.abs().max().clamp_min(1e-30))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter's remarks on itself, which it prints, logs and warns of."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)
