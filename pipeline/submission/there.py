"""On the cluster: lays a bundle out, runs the stages in it, and puts what they made where the submitter can fetch it.

Ray unpacks the bundle on every node into a folder that it may remove when the job ends. The stages run in a copy that
stays, so a second submission finds the data, the finished runs and the checkpoints of the first.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from pipeline.checkout import BUNDLED
from pipeline.errors import EnvironmentFault, run_stage

CONTENT = ".bundle.files"  # names of what was laid out, so that the next bundle can take away what it has not
LOG_PREFIX = "job-driver-"
CONFIG = "[core]\n    analytics = false\n    no_scm = true\n"  # DVC's own words for a project without git


def main() -> None:
    folder, *experiments = sys.argv[1:]
    sys.exit(run(Path.cwd(), folder, experiments))


def run(unpacked: Path, folder: str, experiments: list[str]) -> int:
    """DVC's exit code. Raises EnvironmentFault where the folder cannot be used."""
    logs, job = _job()
    there = Path(folder) if folder else logs.parent / "checkouts" / "+".join(experiments)[:80]
    try:
        there.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(there):
            lay_out(unpacked, there)
            code = _repro(there, experiments)
            if code == 0:
                _offer(there, experiments, logs, job)
            return code
    except OSError as error:
        raise EnvironmentFault(
            f"{there}: {error.strerror} (on the cluster's head); set `storage`, or --checkout, to a folder that every "
            "node shares and may write"
        ) from None


def _job() -> tuple[Path, str]:
    """The session's folder of logs, and our submission id: a job's standard output is a file there."""
    log = Path(os.readlink("/proc/self/fd/1"))
    if not log.name.startswith(LOG_PREFIX):
        raise EnvironmentFault("not started by Ray as a job; use python -m pipeline.submit --bundle")
    return log.parent, log.name.removeprefix(LOG_PREFIX).removesuffix(".log")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with folder.with_name(f"{folder.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EnvironmentFault(f"{folder}: another job works here; wait for it, or stop it") from None
        yield


def lay_out(unpacked: Path, there: Path) -> None:
    """Makes the bundle's files those of the folder; what stages made there before stays."""
    new = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    new = {name for name in new if "__pycache__" not in name}
    listed = there / CONTENT
    old = set(listed.read_text().splitlines()) if listed.is_file() else set()
    listed.write_text("".join(f"{name}\n" for name in sorted(old | new)))  # first: a killed copy is tidied up next time
    for name in sorted(old - new):
        (there / name).unlink(missing_ok=True)
    for name in sorted(new):
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(unpacked / name, there / name)
    listed.write_text("".join(f"{name}\n" for name in sorted(new)))
    assert (there / BUNDLED).is_file()
    (there / ".dvc").mkdir(exist_ok=True)
    (there / ".dvc" / "config.local").write_text(CONFIG)


def _repro(there: Path, experiments: list[str]) -> int:
    """Ray's stop goes to all processes of the job: we wait until DVC and its stage have ended in their own way."""

    def wait(_signal: int, _frame: FrameType | None) -> None: ...

    process = subprocess.Popen(["dvc", "repro", *(f"report@{name}" for name in experiments)], cwd=there)
    signal.signal(signal.SIGTERM, wait)
    code = process.wait()
    return code if code >= 0 else 128 - code


def _offer(there: Path, experiments: list[str], logs: Path, job: str) -> None:
    """The index and a link among the session's logs: Ray's dashboard streams any file below them."""
    from pipeline.store.records import write_json
    from pipeline.submission import outputs

    place = logs / outputs.folder_name(job)
    place.mkdir(mode=0o700, exist_ok=True)
    (place / outputs.FILES).unlink(missing_ok=True)
    (place / outputs.FILES).symlink_to(there.resolve(), target_is_directory=True)
    write_json(place / outputs.INDEX, outputs.index(there, experiments))


if __name__ == "__main__":
    run_stage(main)
