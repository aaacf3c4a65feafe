"""Runs experiments as a job on a Ray cluster, shows its log, and ends with its exit code.

The job works in a checkout on storage that the cluster shares (this one, or --checkout). With --bundle there need be
none: the tracked files go up, and data, runs, results, reports and dvc.lock come home when the job has succeeded.
A second submission of the same joins the job that runs.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import lifeline
from pipeline.errors import run_stage

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

    from pipeline.submission.order import Order


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.submit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", nargs="+", help="sections of params.yaml that are listed under `experiments`")
    parser.add_argument("--address", metavar="URL", help="the dashboard (default: RAY_API_SERVER_ADDRESS, RAY_ADDRESS)")
    parser.add_argument("--checkout", metavar="PATH", help="on the cluster; with --bundle: where to lay the bundle out")
    parser.add_argument("--bundle", action="store_true", help="send the tracked files, and bring the outputs home")
    parser.add_argument("--stop", action="store_true", help="end the running job; checkpoints are kept")
    parser.add_argument("--no-follow", action="store_true", help="leave when the job is submitted")
    sys.exit(submit(parser.parse_args()))


def submit(arguments: argparse.Namespace) -> int:
    """The exit code. Raises UserError before anything is started, HeadLost at any time."""
    from pipeline.submission import dashboard, order

    root = Path()
    asked = order.read(arguments.experiment, arguments.checkout, bundled=arguments.bundle, root=root)
    client = dashboard.connect(arguments.address)
    with dashboard.attended(client):
        return _carried_out(arguments, asked, client, root)


def _carried_out(arguments: argparse.Namespace, asked: "Order", client: "JobSubmissionClient", root: Path) -> int:
    from pipeline.submission import jobs

    if arguments.stop:
        stopped = jobs.stop(client, asked)
        kept = "ended; finished runs and checkpoints are kept"
        print(f"{stopped}: {kept}" if stopped else "no such job runs", flush=True)
        return 0
    name = _started(client, asked, root)
    if arguments.no_follow:
        return 0
    try:
        job = jobs.follow(client, name)
    except KeyboardInterrupt:
        if lifeline.reason() is None:
            print(f"{name}: goes on; the same command follows it, --stop ends it", file=sys.stderr)
        raise
    code = jobs.exit_code(job)
    if code == 0 and asked.bundled:
        _bring_home(client, job, root)
    print(f"{name}: {job.status.lower()}, exit code {code}", flush=True)
    return code


def _started(client: "JobSubmissionClient", asked: "Order", root: Path) -> str:
    from pipeline.checkout import revision
    from pipeline.submission import bundle, jobs

    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "bundle.zip" if asked.bundled else None
        at = revision(Path(asked.folder)) if archive is None else bundle.pack(root, archive)
        name, joined = jobs.start(client, asked, archive, str(at or "not known"))
    new = f"submitted to {client.get_address()}, commit {at or 'not known'}"
    print(f"{name}: {'runs already; joins it' if joined else new}", flush=True)
    return name


def _bring_home(client: "JobSubmissionClient", job: "JobDetails", root: Path) -> None:
    from pipeline.submission import home

    fetcher = home.Fetcher(client, job.submission_id or "", job.driver_node_id or "")
    with tempfile.TemporaryDirectory() as scratch:
        made = home.index(fetcher, Path(scratch))
        for line in home.bring(fetcher, made, root, Path(scratch)):
            print(line, flush=True)


if __name__ == "__main__":
    run_stage(main)
