"""Files of Keras Applications' networks, written by Keras in a process of its own, python -m
tests.factories.keras_networks: Keras's backend and type of float are set per process. It reads lines "NAME<tab>FOLDER"
and answers each with DONE.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

SIZES = (64, 75)  # 75 becomes 38, 19, 10, 5, 3: strides and paddings meet odd and even edges
STRANGERS = "strangers"
DONE = "done\n"


@contextmanager
def keras() -> Iterator["Keras"]:
    """Yields a process with Keras, which ends with the block."""
    command = [sys.executable, "-m", "tests.factories.keras_networks"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdin=pipe, stdout=pipe, text=True) as process:
        yield Keras(process)
        process.communicate(timeout=60)


class Keras:
    """A process that writes Keras's files."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def make(self, name: str, folder: Path) -> Path:
        """Lets `make` or `make_strangers` fill a folder."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{name}\t{folder}\n")
        self.process.stdin.flush()
        assert DONE in iter(self.process.stdout.readline, ""), "Keras's process ended, see its stderr"
        return folder


def values(variable: Any, generator: np.random.Generator) -> Any:
    """Returns random values with which neither the activations nor the effect of a single weight vanish or explode."""
    shape, (layer, kind) = tuple(variable.shape), variable.path.split("/")
    if kind == "kernel":
        return generator.uniform(-1.0, 1.0, size=shape) * (6.0 / np.prod(shape[:-1])) ** 0.5  # variance 2 / fan-in
    if kind in ("gamma", "moving_variance"):
        last = layer.endswith(("_2_bn", "_3_bn"))  # of F: V2 has no third
        return generator.uniform(0.5, 1.5, size=shape) * (0.2 if last and kind == "gamma" else 1.0)
    return generator.normal(size=shape) * 0.1


def make(name: str, folder: Path) -> None:
    """Writes a network in double precision, all of it random, in each kind of file, with images and logits."""
    import h5py
    import keras
    import torch
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    generator = np.random.default_rng(sum(name.encode()))
    entry = keras.Input((None, None, 3))
    model = getattr(keras.applications, name)(weights=None, input_tensor=entry, classes=7, classifier_activation=None)
    for variable in model.weights:
        variable.assign(values(variable, generator))
    for size in SIZES:
        images = generator.normal(size=(2, size, size, 3))
        with torch.no_grad():
            logits = model([images], training=False).numpy()
        np.savez(folder / f"{size}.npz", images=images, logits=logits)
    model.save(folder / "network.keras")
    model.save_weights(folder / "network.weights.h5")
    model.save(folder / "network.h5")
    if "50" in name:  # spares the others the time
        with h5py.File(folder / "weights.h5", "w") as file:  # as the published files are: weights without a network
            save_weights_to_hdf5_group(file, model)


def make_strangers(folder: Path) -> None:
    """Writes, in single precision, other networks, ResNet50 without its classifier, ResNet50V2 with an optimiser."""
    import keras

    applications, small = keras.applications, {"weights": None, "input_shape": (32, 32, 3)}
    kinds = (".keras", ".weights.h5", ".h5")
    headless = applications.ResNet50(include_top=False, **small)
    for name, model in (("mobilenet", applications.MobileNet(classes=7, **small)), ("headless", headless)):
        for kind in kinds:
            (model.save_weights if kind == ".weights.h5" else model.save)(folder / f"{name}{kind}")
    applications.VGG16(include_top=False, **small).save_weights(folder / "vgg16.weights.h5")
    trained = applications.ResNet50V2(classes=7, **small)
    trained.compile(keras.optimizers.SGD(momentum=0.9), "sparse_categorical_crossentropy")
    trained.optimizer.build(trained.trainable_variables)
    for kind in (".keras", ".h5"):
        trained.save(folder / f"trained{kind}")


def main() -> None:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    import torch
    from keras.src.backend.common import dtypes

    torch.set_num_threads(1)
    for line in sys.stdin:
        name, _, folder = line.rstrip("\n").partition("\t")
        of_float = "float32" if name == STRANGERS else "float64"
        keras.config.set_floatx(of_float)
        keras.config.set_dtype_policy(of_float)
        # Without this entry, which it has for TensorFlow alone, Keras normalises in single precision all the same.
        dtypes.BIT64_TO_BIT32_DTYPE["float64"] = of_float
        assert keras.backend.result_type("float64", "float32") == of_float
        if name == STRANGERS:
            make_strangers(Path(folder))
        else:
            make(name, Path(folder))
        print(DONE, end="", flush=True)


if __name__ == "__main__":
    main()
