"""Runs one command of the pipeline: python -m pipeline COMMAND, or deep-residual COMMAND once it is installed.

The modules of a command, and with them torch, Ray and MLflow, are imported when the command runs: `--help` needs none.
"""

import argparse
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pipeline.messages import standard_streams

NEEDED = (
    "psutil",
    "pydantic",
    "ruamel",
    "torch",
    "ray",
    "mlflow",
)  # by these a Python without our packages is known
EXIT_CODES = """exit codes:
  0 done   2 wrong parameters, data or arguments   3 cluster, storage, network or packages   4 runs that failed
  5 a threshold that was missed   6 the head of the Ray cluster is lost   130, 143 ended by Ctrl-C, by SIGTERM"""


def add_experiment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", metavar="EXPERIMENT", help="a section of params.yaml")


def add_train(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("experiment", metavar="EXPERIMENT", help="a section of params.yaml")
    add("--only", nargs="+", action="extend", metavar="NETWORK", default=[], help="train these networks only")
    add("--fresh", action="store_true", help="delete the finished runs first, and train them again")
    what = "train and judge one planned look after another, until the headline is decided (registered experiments)"
    add("--until-decided", action="store_true", help=what)


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help="a section of params.yaml")
    add = parser.add_argument_group("weights on a folder of images, instead of an experiment").add_argument
    add("--weights", type=Path, metavar="FILE", help="of this project, of torchvision (.pth) or of Keras Applications")
    add("--data", type=Path, metavar="FOLDER", help="images as FOLDER/CLASS/IMAGE, JPEG or PNG; for ImageNet val")
    add("--network", metavar="NAME", help="refuse weights of another network: resnet-50, keras-resnet50v2, resnet50")
    names = ("torchvision", "torchvision-v2", "keras-caffe", "keras-tf", "paper")
    usual = "default: keras-caffe or keras-tf for Keras's networks, torchvision for others"
    add("--preprocessing", choices=names, metavar="NAME", help=f"{', '.join(names)} ({usual})")
    add("--mean", type=Path, metavar="FILE.npy", help="per-pixel mean for --preprocessing paper: data/NAME/mean.npy")
    add("--resize", type=int, metavar="N", help="pixels of the shorter side (default: 232 or 256, by --preprocessing)")
    add("--crop", type=int, metavar="N", help="pixels of each side of the centre crop (default: 224)")
    add("--batch-size", type=int, metavar="N", help="images at a time (default: 64); changes no count of errors")
    add("--workers", type=int, metavar="N", help="processes that decode images; 0 decodes in this process")
    add("--device", choices=("cpu", "cuda"), help="default: cuda if there is a GPU")
    folds = "others fold batch norm, and measure on the first images what that changes in the top-1 error"
    add("--precision", choices=("fp32", "tf32", "bf16"), help=f"of the arithmetic (default: fp32); {folds}")
    add("--json", type=Path, metavar="OUT", help="also write the numbers to this file")


def add_report(parser: argparse.ArgumentParser) -> None:
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help="a section of params.yaml")
    what = "print the differences as markdown; each is a report.json, its folder, an experiment, or REVISION:PATH"
    choice.add_argument("--compare", nargs=2, metavar=("A", "B"), help=what)


def add_submit(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("experiment", nargs="+", metavar="EXPERIMENT", help="sections that params.yaml lists under `experiments`")
    add("--address", metavar="URL", help="the dashboard (default: RAY_API_SERVER_ADDRESS, RAY_ADDRESS, 127.0.0.1:8265)")
    where = parser.add_mutually_exclusive_group().add_argument
    where("--checkout", metavar="PATH", help="the shared checkout on the cluster (default: this folder)")
    where("--working-dir", action="store_true", help="upload the tracked files and the prepared data, and work there")
    add("--stop", action="store_true", help="stop the running job; finished runs and checkpoints are kept")
    add("--no-follow", action="store_true", help="return once the job is submitted")


def add_experiments(parser: argparse.ArgumentParser) -> None:
    what = "sections of params.yaml (default: those under `experiments`)"
    parser.add_argument("experiment", nargs="*", metavar="EXPERIMENT", help=what)


def add_weights(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", required=True, metavar="import | export | check")
    into = commands.add_parser("import", help="a file of torchvision or Keras -> OUT.safetensors")
    into.add_argument(
        "file", type=Path, metavar="FILE", help="torchvision's .pth or .safetensors; Keras's .keras or .h5"
    )
    into.add_argument("out", type=Path, metavar="OUT", help="the file to write, .safetensors")
    out = commands.add_parser(
        "export", help="a run's weights.safetensors, or a file of `import` -> torchvision or ONNX"
    )
    out.add_argument("file", type=Path, metavar="FILE", help="for example runs/EXPERIMENT/RUN/weights.safetensors")
    out.add_argument("out", type=Path, metavar="OUT", help=".pth, .onnx, or .safetensors with --format torchvision")
    out.add_argument("--format", choices=("torchvision", "onnx"), help="default: by the suffix of OUT")
    out.add_argument("--size", type=int, metavar="PIXELS", help="each side of ONNX's images (default: as in training)")
    for command in (into, out):
        command.add_argument("--force", action="store_true", help="replace OUT if it exists")
    check = commands.add_parser("check", help="say what a file is, and refuse a damaged or a different one")
    check.add_argument("file", type=Path, metavar="FILE")
    check.add_argument("--network", metavar="NAME", help="refuse the weights of any other network")
    check.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of NAME, such as shortcut=B")


def add_publish(parser: argparse.ArgumentParser) -> None:
    add_experiment(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", default=Path("published"), help="it gets FOLDER/EXPERIMENT (%(default)s)"
    )


def add_merge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", nargs="+", metavar="STORE", help="a run store: a folder, or s3:// or gs://")


def add_nothing(_: argparse.ArgumentParser) -> None:
    """A command without arguments."""


@dataclass(frozen=True, slots=True)
class Command:
    """One row of the table of commands: the module whose `main(arguments)` runs it."""

    help: str
    module: str
    add_arguments: Callable[[argparse.ArgumentParser], None]


COMMANDS = {
    "prepare": Command("build data/EXPERIMENT from its section's `data`", "pipeline.prepare", add_experiment),
    "plan": Command("say what training will take: runs, hours, disk, cost", "pipeline.plan", add_experiments),
    "register": Command("fix an experiment and its rules before its first run", "pipeline.register", add_experiment),
    "pilot": Command("choose each network's learning rate on pilot seeds", "pipeline.pilot", add_experiment),
    "train": Command("train every run that the run store does not have", "pipeline.train", add_train),
    "evaluate": Command("measure the errors of every run on every split", "pipeline.evaluate", add_evaluate),
    "report": Command("write verdicts, tables and figures; or compare two reports", "pipeline.report", add_report),
    "publish": Command("write one folder with report, weights and cards", "pipeline.publish", add_publish),
    "merge": Command("copy what other run stores have finished into this one", "pipeline.merge", add_merge),
    "sync": Command("send to MLflow what it does not have", "pipeline.tracking.sync", add_experiment),
    "submit": Command("run experiments as a job on a Ray cluster, and show its log", "pipeline.submit", add_submit),
    "doctor": Command("check this checkout, the cluster and each of its nodes", "pipeline.doctor", add_experiments),
    "weights": Command("convert and check files of weights", "pipeline.weights.convert", add_weights),
    "pages": Command("write what README.md and docs take from code and reports", "pipeline.pages", add_nothing),
}


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the whole command line."""
    shape = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser("python -m pipeline", description=__doc__, epilog=EXIT_CODES, formatter_class=shape)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        text = f"{command.help[0].upper()}{command.help[1:]}."
        command.add_arguments(commands.add_parser(name, help=command.help, description=text))
    return top


def require_packages() -> None:
    """Ends the process with one line if this Python does not have the packages of requirements.lock."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        first = "" if Path(".venv/bin/activate").is_file() else "run `make setup` first, then "
        how = f"{first}activate .venv (source .venv/bin/activate), or use make"
        print(f"error: {sys.executable} has no {' and no '.join(missing)}; {how}", file=sys.stderr)
        sys.exit(3)  # pipeline.errors.ENVIRONMENT, whose module needs a package itself


def main(words: list[str] | None = None) -> None:
    """Runs the command that `words` give, or the command line; ends the process with the exit code of an error."""
    with standard_streams():
        arguments = parser().parse_args(words)
        require_packages()
        from pipeline.errors import run_command

        run_command(lambda: importlib.import_module(COMMANDS[arguments.command].module).main(arguments))


if __name__ == "__main__":
    main()
