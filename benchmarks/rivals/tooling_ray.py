"""Short runs by Ray Train: TorchTrainer.fit for each."""

import atexit
import logging
import tempfile
from pathlib import Path

from benchmarks.harness import Work


def train_loop(config: dict[str, int]) -> None:
    """Eleven iterations of a small network on forty small images; reports the last training loss."""
    from ray import train

    from tests.tiny_run import begin, going

    run = begin(seed=config["seed"])
    for _ in going(run):
        pass
    train.report({"loss": run.rows[-1].train_loss})


def trainer_per_run(_quick: bool) -> Work:
    """One short run by TorchTrainer.fit, with one worker on one CPU of a local Ray; every run would be the same.

    From making the trainer to its result. Ray is started before.
    """
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    ray.init(address="local", include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    atexit.register(ray.shutdown)
    holder = tempfile.TemporaryDirectory(prefix="benchmark-ray-train-")

    def train() -> None:
        trainer = TorchTrainer(
            train_loop,
            train_loop_config={"seed": 0},
            scaling_config=ScalingConfig(num_workers=1, use_gpu=False),
            run_config=RunConfig(storage_path=str(Path(holder.name))),
        )
        assert trainer.fit().error is None

    return train
