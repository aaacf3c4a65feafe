"""What the pipeline costs around its runs: wall time of the train stage over the time that the runs need.

The runs of EXPERIMENT are trained anew in a temporary run store. The bound is their own training seconds, spread evenly
over the CPUs that Ray has; the ratio says what Ray, MLflow, the run store and the last run's tail add to it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def measure(experiment: str) -> dict[str, float]:
    """Seconds and ratio of one fresh `train` stage; nothing of the checkout's own results is touched."""
    root = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="overhead-") as temporary:
        folder = Path(temporary)
        (folder / "params.yaml").write_text((root / "params.yaml").read_text())
        (folder / "data").symlink_to(root / "data")
        environment = {
            **os.environ,
            "PYTHONPATH": str(root),
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        }
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "pipeline.train", experiment], cwd=folder, env=environment, check=True)
        wall = time.perf_counter() - began
        records = [json.loads(path.read_text()) for path in (folder / "runs" / experiment).glob("*/run.json")]
    training = sum(record["seconds"] for record in records)
    cpus = len(os.sched_getaffinity(0))
    return {"runs": len(records), "wall_s": wall, "training_s": training, "ratio": wall / (training / cpus)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("experiment", nargs="?", default="digits")
    parser.add_argument("--gate", type=float, default=1.15, help="the largest ratio that passes")
    arguments = parser.parse_args()
    if not (Path("data") / arguments.experiment / "manifest.json").is_file():
        sys.exit(
            f"error: data/{arguments.experiment} is not there; make it with: dvc repro prepare@{arguments.experiment}"
        )
    result = measure(arguments.experiment)
    print(json.dumps({name: round(value, 3) for name, value in result.items()}))
    sys.exit(result["ratio"] > arguments.gate)


if __name__ == "__main__":
    main()
