"""Every p and interval of report.json, recomputed from the numbers of each seed in it by a second, slow way."""

import json
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy import stats

from resnet.claims import CLAIMS
from resnet.claims.headline import HEADLINE
from resnet.claims.measurements import LABEL
from tests.factories.reports import CIFAR, Made, report

MEASURE = {label: measure for measure, label in LABEL.items()}
QUESTION = {claim.id: claim.question or claim.id for claim in (*HEADLINE, *CLAIMS)}
TINY = 1e-9
EXPERIMENTS = {
    "table-1": Made(networks=("plain-18", "plain-34", "resnet-18", "resnet-34", "resnet-50"), seeds=5, spread=2.5),
    "cifar": Made(networks=CIFAR, seeds=6, spread=0.3),
    "few": Made(networks=CIFAR, seeds=2, spread=1.0),
}


@pytest.fixture(scope="module", params=EXPERIMENTS)
def content(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    _, found = report(tmp_path_factory.mktemp("made"), EXPERIMENTS[request.param])
    return json.loads(found.model_dump_json())  # type: ignore[no-any-return]


def test_the_parts_of_every_claim(content: dict[str, Any]) -> None:
    compared = 0
    for claim in content["claims"]:
        for part in claim["statistic"].get("parts", []):
            if part["form"] != "threshold" and part["interval_95"]:
                value, error, freedom, _ = estimate(part, content)
                half = error * stats.t.isf(0.025, freedom) if error > TINY else 0.0
                assert part["value"] == pytest.approx(value, rel=TINY, abs=TINY), claim["id"]
                assert part["interval_95"] == pytest.approx([value - half, value + half], rel=TINY, abs=TINY)
                compared += 1
    assert compared > 3


def test_the_p_of_every_claim(content: dict[str, Any]) -> None:
    compared = 0
    for claim in content["claims"]:
        parts, statistic = claim["statistic"].get("parts", []), claim["statistic"]
        if "p_for" not in statistic:
            continue
        sides = [both_sides(part, content) for part in parts]
        assert statistic["p_for"] == pytest.approx(max(one for one, _ in sides), rel=TINY), claim["id"]
        against = min(1.0, len(sides) * min(other for _, other in sides))
        assert statistic["p_against"] == pytest.approx(against, rel=TINY), claim["id"]
        compared += 1
    assert compared > 3


def test_holm_within_each_question(content: dict[str, Any]) -> None:
    questions: dict[str, list[dict[str, float]]] = {}
    for claim in content["claims"]:
        if "p_for_holm" in claim["statistic"]:
            questions.setdefault(QUESTION[claim["id"]], []).append(claim["statistic"])
    for members in questions.values():
        for side in ("p_for", "p_against"):
            ordered = sorted(members, key=lambda one: one[side])
            highest = 0.0
            for rank, one in enumerate(ordered):
                highest = max(highest, min(1.0, (len(ordered) - rank) * one[side]))
                assert one[f"{side}_holm"] == pytest.approx(highest, rel=TINY)


def scaled(part: dict[str, Any], content: dict[str, Any]) -> list[list[float]]:
    """The samples on the scale of the test: errors as log odds of counts."""
    measure = MEASURE.get(part["measure"])
    if measure is None:
        return part["values"]  # type: ignore[no-any-return]
    samples = []
    for name, values in zip(part["networks"], part["values"], strict=True):
        images = content["networks"][name]["images"][measure]
        counts = [value / 100 * images for value in values]
        samples.append([math.log((k + 0.5) / (images - k + 0.5)) for k in counts])
    return samples


def estimate(part: dict[str, Any], content: dict[str, Any]) -> tuple[float, float, float, float]:
    """Value, standard error, degrees of freedom, and the smallest p that permutations can give."""
    samples, weights = [np.array(one) for one in scaled(part, content)], part["weights"]
    value = sum(w * one.mean() for w, one in zip(weights, samples, strict=True))
    parts = [w**2 * one.var(ddof=1) / len(one) for w, one in zip(weights, samples, strict=True)]
    squares = sum(v**2 / (len(one) - 1) for v, one in zip(parts, samples, strict=True))
    alike = Counter(w / len(one) for w, one in zip(weights, samples, strict=True) for _ in one)
    ways = math.factorial(sum(alike.values()))
    for count in alike.values():
        ways //= math.factorial(count)
    freedom = sum(parts) ** 2 / squares if squares > 0 else math.inf
    return float(value), float(np.sqrt(sum(parts))), float(freedom), 1 / min(ways, 20_001)


def both_sides(part: dict[str, Any], content: dict[str, Any]) -> tuple[float, float]:
    if part["form"] == "threshold":
        (values,), limit = part["values"], part["threshold"]
        above = stats.binomtest(sum(v > limit for v in values), len(values), alternative="greater").pvalue
        below = stats.binomtest(sum(v < limit for v in values), len(values), alternative="greater").pvalue
        return (above, below) if part["side"] == "above" else (below, above)
    value, error, freedom, least = estimate(part, content)

    def p_above(bound: float) -> float:
        if error <= TINY:
            p = 0.5 if abs(value - bound) < TINY else float(value < bound)
        else:
            p = float(stats.t.sf((value - bound) / error, freedom))
        return min(max(p, least), 1 - least)

    low, high = part["bounds"]
    sides = ([p_above(low)] if low is not None else []) + ([1 - p_above(high)] if high is not None else [])
    opposite = [1 - p for p in sides]
    return max(sides), min(1.0, len(opposite) * min(opposite))
