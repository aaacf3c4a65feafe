"""One run on the processes that torchrun starts, with nothing around the training: no Ray, no records, no checkpoints.

torchrun --nproc-per-node 2 -m benchmarks.rivals.together_script, in a folder with params.yaml and data, writes
weights.pt and marks.json. Network, recipe, batches and arithmetic are those of the other side, and so is every bit.
"""

import json
from pathlib import Path

import torch
import torch.distributed as dist

from benchmarks.together import NAME
from pipeline.config import params
from pipeline.loading.splits import load_splits
from pipeline.training import plan
from pipeline.training.device import keep_freed_memory
from resnet.data_parallel import Together
from resnet.training import start, train


def main() -> None:
    dist.init_process_group("gloo")
    torch.set_flush_denormal(True)
    keep_freed_memory()
    workers, device = Together.of_this_process(), torch.device("cpu")
    (spec,), manifest = params.load(NAME).runs, plan.manifest_of(NAME)
    splits = load_splits(plan.DATA / NAME, manifest, device, together=workers)
    run = start(
        spec.architecture,
        spec.recipe,
        classes=len(manifest.classes),
        channels=manifest.channels,
        seed=spec.seed,
        device=device,
        workers=workers,
    )
    for _ in train(run, spec.recipe, spec.seed, splits.train, splits.val):
        pass
    if workers.rank == 0:
        torch.save(run.network.state_dict(), "weights.pt")
        Path("marks.json").write_text(json.dumps([(row.iteration, row.unix_time_s) for row in run.rows]))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
