"""An experiment and its runs, as params.yaml has them: values, complete and checked."""

from dataclasses import dataclass, replace

from pipeline.config.sections import Cifar10, Digits, Evaluation, Folder, ImageNet, Resources
from pipeline.errors import UserError
from resnet.architectures import Architecture
from resnet.recipe import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSpec:
    """One network, one seed: a run before its data are known."""

    experiment: str
    network: str  # the row's name in `networks`
    architecture_name: str  # in resnet.architectures
    architecture: Architecture
    recipe: Recipe
    seed: int

    @property
    def name(self) -> str:
        return f"{self.network}-seed{self.seed}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    name: str
    data: Digits | Cifar10 | Folder | ImageNet
    runs: tuple[RunSpec, ...]
    resources: Resources
    storage: str
    evaluation: Evaluation

    def only(self, networks: list[str]) -> "Experiment":
        """The same with some of its networks. Raises UserError for one that it does not have."""
        have = list(dict.fromkeys(run.network for run in self.runs))
        for name in networks:
            if name not in have:
                raise UserError(f"--only {name}: {self.name} has {', '.join(have)}")
        return replace(self, runs=tuple(run for run in self.runs if run.network in networks))
