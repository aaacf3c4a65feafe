"""The plain script of `digits` in a fresh process every turn, as the stage of ours is."""

import atexit
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import digits
from benchmarks.digits import Pace
from benchmarks.harness import Work


def script(quick: bool) -> Work:
    folder = Path(tempfile.mkdtemp(prefix="digits-script-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    params = digits.write_short(folder, quick=quick)
    iterations = digits.whole_iterations()
    command = [sys.executable, "-m", "benchmarks.rivals.digits_script", str(params), str(folder)]

    def go() -> float:
        began = time.perf_counter()
        subprocess.run(command, check=True)
        wall_s = time.perf_counter() - began
        paces = [Pace(**run) for run in json.loads((folder / "runs.json").read_text())]
        return digits.whole_s(wall_s, paces, iterations, workers=1)

    return go
