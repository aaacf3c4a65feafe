"""results/<experiment>/ensemble.json: the errors of ensembles (Table 5), as a type."""

from typing import Literal

from pipeline.store.records import Record, SplitErrors


class Ensemble(Record):
    """Networks that answer together: the mean of their probabilities."""

    members: dict[str, str]  # run -> its key
    protocols: dict[str, SplitErrors]  # "single view" or "1-crop 224", and those that `evaluation` asks for


class Ensembles(Record):
    """Each run is in one ensemble at most, so that their spread is one over seeds."""

    networks: list[str]  # rows of params.yaml, as `evaluation.ensemble` has them
    split: Literal["val", "test"]
    ensembles: list[Ensemble]
