"""What the figures show, as tables over seeds: errors during training, responses, gradients, lesions, noise.

The columns are what a row is about, the mean of a value, the band's ends `low` and `high` and the number of runs. Means
are arithmetic with a band of one standard deviation, or, of numbers that have a logarithmic axis, geometric with a band
between the 10 % and 90 % quantiles. Networks are in the order of params.yaml. These tables are the files in `numbers/`
next to the figures.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from resnet.claims.hypotheses import Verdict
from resnet.claims.measurements_inside import same_shape, whole
from resnet.claims.verdicts import Judged
from resnet.study import Measure, Network, Study

LOG_ODDS = "log odds"  # the scale of effects on errors


def over_seeds(rows: Iterable[tuple[object, ...]], *columns: str, geometric: bool = False) -> pd.DataFrame:
    """Summarises rows of one run each by all columns but the last, the value.

    Leaves out values that are not finite, and for a geometric mean those that are not positive. The first column is
    the network.
    """
    *keys, value = columns
    frame = pd.DataFrame(rows, columns=list(columns)).astype({value: float})
    frame["network"] = pd.Categorical(frame["network"], frame["network"].unique(), ordered=True)
    frame = frame[np.isfinite(frame[value]) & (not geometric or frame[value] > 0)]
    logs = frame.assign(**{value: np.log(frame[value])}) if geometric else frame
    of_one = logs.groupby(keys, observed=True)[value]
    middle = of_one.mean()
    sd = of_one.std().fillna(0.0)
    low, high = (of_one.quantile(0.1), of_one.quantile(0.9)) if geometric else (middle - sd, middle + sd)
    found = pd.DataFrame({value: middle, "low": low, "high": high})
    found = found.transform(np.exp) if geometric else found
    return found.assign(runs=of_one.count()).reset_index().astype({"network": str})


def errors(networks: Sequence[Network]) -> pd.DataFrame:
    """Returns training errors (augmented batches) and validation errors in per cent by iteration."""
    points = [(network.name, point) for network in networks for run in network.runs for point in run.history]
    rows = [(name, "train", p.iteration, p.train) for name, p in points]
    rows += [(name, "val", p.iteration, p.val) for name, p in points if p.val is not None]
    return over_seeds(rows, "network", "split", "iteration", "error_percent")


def final_errors(study: Study) -> pd.DataFrame:
    """Returns a row a seed: errors in per cent at the end of training."""
    measures: tuple[Measure, ...] = ("train", study.headline)
    rows = [
        (n.name, n.architecture.family, n.architecture.depth, run.seed, measure, run.error(measure))
        for n in study.networks
        for run in n.runs
        for measure in measures
    ]
    columns = ["network", "family", "layers", "seed", "split", "error_percent"]
    return pd.DataFrame(rows, columns=columns).dropna()


def effects(judged: Sequence[Judged], words: Mapping[Verdict, str]) -> pd.DataFrame:
    """Returns the effects of claims on the scale of log odds, with 95 % intervals and the bounds of each claim."""
    rows = [
        (j.claim.id, words[j.verdict], e.label, e.value, *e.interval, *e.bounds, e.p_for, e.p_against)
        for j in judged
        if (e := j.effect) is not None and e.interval is not None and e.scale == LOG_ODDS
    ]
    columns = ["claim", "verdict", "measure", "effect", "low", "high", "from", "to", "p_for", "p_against"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[3:], float))


def responses(networks: Sequence[Network]) -> pd.DataFrame:
    """Returns the standard deviation of each 3x3 layer's output, by layer from 1 (Fig. 7)."""
    rows = ((n.name, *row) for n in networks for run in n.runs for row in enumerate(run.responses, 1))
    return over_seeds(rows, "network", "layer", "response_sd", geometric=True)


def noise(networks: Sequence[Network]) -> pd.DataFrame:
    """Returns errors in per cent by the standard deviation of Gaussian noise in units of the pixels' range."""
    rows = ((n.name, *row) for n in networks for run in n.runs for row in run.noise)
    return over_seeds(rows, "network", "noise_sd", "error_percent")


def gradients(networks: Sequence[Network]) -> pd.DataFrame:
    """Returns the gradients' norms by convolution, from 1, in two iterations: the first and one near half of training.

    At the end all gradients of a network that fits its data are tiny. A run's gradients.csv has all iterations.
    """
    rows: list[tuple[object, ...]] = []
    for network in networks:
        found = [gradient for run in network.runs for gradient in run.gradients]
        iterations = sorted({gradient.iteration for gradient in found})
        half = [i for i in iterations[1:] if i <= network.recipe.iterations // 2]
        shown = {iterations[0], max(half, default=iterations[-1])} if iterations else set()
        for gradient in (g for g in found if g.iteration in shown):
            rows += [(network.name, gradient.iteration, i, norm) for i, norm in enumerate(gradient.norms, 1)]
    return over_seeds(rows, "network", "iteration", "convolution", "gradient_norm", geometric=True)


def lesions(networks: Sequence[Network]) -> pd.DataFrame:
    """Returns errors in per cent by the block that is left out, from 1 over all blocks; at 0, of the whole network.

    Blocks that cannot be left out have no row: without a shortcut those that change the shape.
    """
    rows: list[tuple[object, ...]] = []
    for network in networks:
        every = range(1, sum(network.architecture.blocks) + 1)
        for run in (run for run in network.runs if run.lesions):
            blocks = every if len(run.lesions) == len(every) else same_shape(every, network.architecture)
            rows += [(network.name, block, error) for block, error in zip(blocks, run.lesions, strict=True)]
            base = whole(run, network)  # of the same images
            rows += [(network.name, 0, base)] if base is not None else []
    return over_seeds(rows, "network", "block", "error_percent")
