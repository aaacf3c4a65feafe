"""torchvision's construction, and a script that imports at its top all that it may need."""

import subprocess
import sys

from benchmarks.harness import Work


def construction(quick: bool) -> Work:
    """The same network, with torchvision's initial weights."""
    from torchvision.models import resnet18, resnet152

    constructor = resnet18 if quick else resnet152

    def make() -> None:
        constructor()

    return make


def eager_imports(_quick: bool) -> Work:
    """What a training script waits for before it can look at its arguments, where its imports stand at the top."""

    def ask() -> None:
        subprocess.run([sys.executable, "-c", "import torch, ray, mlflow"], check=True, stdout=subprocess.DEVNULL)

    return ask
