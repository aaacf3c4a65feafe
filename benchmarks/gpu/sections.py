"""The sections, in the order in which they are measured, and how they share the time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    module: str  # has the function `section`
    weight: float  # its part of the time, over the weights of those that are still to come


SECTIONS = {
    "calibrate": Part("benchmarks.gpu.calibrate", 1),
    "networks-224": Part("benchmarks.gpu.networks", 12),
    "cifar-ladder": Part("benchmarks.gpu.ladder", 9),
    "evaluation": Part("benchmarks.gpu.evaluation", 2),
    "side-by-side": Part("benchmarks.gpu.side_by_side", 4),
    "precision-guard": Part("benchmarks.gpu.guard", 4),
}


def share(name: str, waiting: list[str], left_s: float) -> float:
    """Seconds for `name`, first of those `waiting`: what earlier ones did not use goes to all that follow."""
    weights = [SECTIONS[other].weight for other in waiting]
    return max(0.0, left_s) * SECTIONS[name].weight / sum(weights)
