"""What the pipeline adds around its runs: wall time of the train stage over the time that the runs need.

Trains the runs of `fashion` in a temporary run store. The bound is their own training seconds, spread evenly over the
CPUs that Ray has; the ratio says what Ray, MLflow, the run store and the last run's tail add to it.
"""

import json
import os
import shutil
import sys

from benchmarks.digits_stage import python, temporary_folder
from benchmarks.harness import ROOT

NAME = "fashion"
THRESHOLD = 1.15  # the largest ratio for which the command ends with exit code 0


def measure() -> dict[str, float]:
    """Returns seconds and ratio of one fresh `train` stage; the checkout's own files stay untouched."""
    folder = temporary_folder("overhead-")
    shutil.copy(ROOT / "params.yaml", folder)
    shutil.copytree(ROOT / "registrations", folder / "registrations")
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    python(folder, "-m", "pipeline", "prepare", NAME)
    wall_s = python(folder, "-m", "pipeline", "train", NAME)
    seconds = [json.loads(path.read_text())["seconds"] for path in (folder / "runs" / NAME).glob("*/run.json")]
    ratio = wall_s / (sum(seconds) / len(os.sched_getaffinity(0)))
    return {"runs": len(seconds), "wall_s": wall_s, "training_s": sum(seconds), "ratio": ratio}


if __name__ == "__main__":
    result = measure()
    print(json.dumps({name: round(value, 3) for name, value in result.items()}))
    sys.exit(result["ratio"] > THRESHOLD)
