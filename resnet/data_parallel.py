"""Workers over torch.distributed: gloo between CPUs, NCCL between GPUs."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from resnet.errors import WorkerLost
from resnet.training import Training
from resnet.workers import Workers, agree, broadcast

NEVER = -1


@dataclass(frozen=True, slots=True)
class Together:
    """The processes of torch's default group.

    Rings add in an order that the ranks fix, so the same number of workers gives the same bits.
    """

    rank: int
    size: int

    @classmethod
    def of_this_process(cls) -> "Together":
        return cls(dist.get_rank(), dist.get_world_size())

    def sum_(self, tensor: Tensor) -> None:
        try:
            dist.all_reduce(tensor)
        except RuntimeError as error:  # gloo and NCCL have no narrower one
            raise WorkerLost(str(error).splitlines()[0]) from error

    def broadcast_(self, tensor: Tensor) -> None:
        try:
            dist.broadcast(tensor, src=0)
        except RuntimeError as error:
            raise WorkerLost(str(error).splitlines()[0]) from error


def follow_rank_0(run: Training, workers: Workers) -> None:
    """All workers go on from the state of rank 0, which alone has read a checkpoint; without its rows."""
    if workers.size == 1:
        return
    if agree(workers, len(run.sgd.momenta), run.device) and not run.sgd.momenta:
        run.sgd.make_room()
    with torch.no_grad():
        broadcast(workers, [*run.network.state_dict().values(), *run.sgd.momenta, run.sums])
    run.iteration = agree(workers, run.iteration, run.device)
    ended = agree(workers, NEVER if run.warm_up_ended_at is None else run.warm_up_ended_at, run.device)
    run.warm_up_ended_at = None if ended == NEVER else ended
    run.diverged = bool(agree(workers, int(run.diverged), run.device))
