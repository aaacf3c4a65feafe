"""What the pipeline knows of a data set before it reads an image: its keys in params.yaml and its traits."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pipeline.records import Manifest


class Section(BaseModel):
    """A part of params.yaml: strictly typed, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataSection(Section):
    """The `data` section of an experiment; each data set has its own keys."""

    dataset: str


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """One row of `pipeline.data.DATASETS`."""

    name: str  # `data.dataset` in params.yaml
    section: type[DataSection]
    prepare: Callable[[Any, Path, str], Manifest]  # (section, target folder, the section's place in params.yaml)
    title: str  # for tables
    about: str  # for reports: "That is ..."
    storage: Literal["arrays", "shards"]  # on the device as a whole, or decoded by worker processes
    headline: Literal["val", "test"] = "test"  # the split whose errors are published
    paper_family: Literal["imagenet", "cifar"] | None = None  # the paper's networks that were trained on this data set
    published_as: str = ""  # the paper's name of it, as in resnet.paper.published
    small: bool = False  # trains in minutes on a CPU, and so can replace the paper's data sets

    @property
    def photographs(self) -> bool:
        """Whether images are larger than what a network sees of them: crops, scales and colours vary."""
        return self.storage == "shards"
