"""Jobs of a Ray cluster: found by name, started once, followed, stopped."""

import asyncio
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import FAILED, TERMINATED, EnvironmentFault, HeadLost, UserError
from pipeline.submission.dashboard import lost
from pipeline.submission.order import Order

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

STOP_S = 60  # from SIGTERM, in which a stage ends by itself, to SIGKILL; Ray's own 3 s may be too short
POLL_S = 0.2
RECONNECT_S = 2.0
RECONNECTIONS = 10  # in a row, without a new character of the log


def running(client: "JobSubmissionClient", order: Order) -> str | None:
    """The job that works in the order's place now."""
    names = [job.submission_id for job in _of_place(client, order) if not job.status.is_terminal()]
    return names[0] if names else None


def start(client: "JobSubmissionClient", order: Order, archive: Path | None, commit: str) -> tuple[str, bool]:
    """The job's name, and whether it ran before. Raises UserError where another state of the code runs there."""
    environment: dict[str, Any] = {
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S), "DVC_NO_ANALYTICS": "true"},
        **({} if archive is None else {"working_dir": str(archive)}),
    }
    while True:
        name = running(client, order)
        if name is not None:
            if not re.fullmatch(rf"{re.escape(order.name)}(-\d+)?", name):
                raise UserError(
                    f"{name}: works on {', '.join(order.experiments)} there, with other code or parameters; wait for "
                    "it, or end it with --stop"
                )
            return name, True
        new = _next_name(order, [job.submission_id or "" for job in _of_place(client, order)])
        with suppress(RuntimeError):
            metadata = {"commit": commit}
            client.submit_job(
                entrypoint=order.entrypoint(), submission_id=new, runtime_env=environment, metadata=metadata
            )
            return new, False
        if not any(job.submission_id == new for job in _of_place(client, order)):  # refused, and not by a twin
            raise EnvironmentFault(f"{client.get_address()}: the cluster refused the job; see its dashboard's log")


def _next_name(order: Order, taken: list[str]) -> str:
    """Ray takes a name once: order.name, then order.name-2, ..."""
    number = 1 + sum(re.fullmatch(rf"{re.escape(order.name)}(-\d+)?", name) is not None for name in taken)
    return order.name if number == 1 else f"{order.name}-{number}"


def _of_place(client: "JobSubmissionClient", order: Order) -> "list[JobDetails]":
    pattern = re.compile(rf"{re.escape(order.place)}-([0-9a-f]{{12}}|unseen)(-\d+)?")
    return [job for job in client.list_jobs() if pattern.fullmatch(job.submission_id or "")]


def follow(client: "JobSubmissionClient", name: str) -> "JobDetails":
    """Prints the log from its beginning as it grows, until the job has ended. Raises HeadLost."""
    import aiohttp

    log, left = _Log(), RECONNECTIONS
    while True:
        before = log.seen
        try:
            asyncio.run(log.show(client, name))
            job = client.get_job_info(name)
            if job.status.is_terminal():
                return job
            time.sleep(POLL_S)
        except (RuntimeError, OSError, aiohttp.ClientError):  # requests' errors are OSErrors
            left = RECONNECTIONS if log.seen > before else left - 1
            if left == 0:
                raise HeadLost(lost(client)) from None
            time.sleep(RECONNECT_S)


@dataclass(slots=True)
class _Log:
    """A job's log as far as it has been printed; Ray sends it from the beginning every time."""

    seen: int = 0  # characters

    async def show(self, client: "JobSubmissionClient", name: str) -> None:
        position = 0
        async for text in client.tail_job_logs(name):
            new = text[max(0, self.seen - position) :]
            position += len(text)
            if new:
                print(new, end="", flush=True)
                self.seen = position


def wait(client: "JobSubmissionClient", name: str) -> "JobDetails":
    while not (job := client.get_job_info(name)).status.is_terminal():
        time.sleep(POLL_S)
    return job


def stop(client: "JobSubmissionClient", order: Order) -> str | None:
    """Ends the job of the order's place, whatever the state of its code; None where none runs."""
    name = running(client, order)
    if name is not None:
        client.stop_job(name)
        wait(client, name)
    return name


def exit_code(job: "JobDetails") -> int:
    """The job's own; as a shell gives it where a signal ended it."""
    from ray.job_submission import JobStatus

    if job.status == JobStatus.SUCCEEDED:
        return 0
    if job.status == JobStatus.STOPPED:
        return TERMINATED
    code = job.driver_exit_code
    if code is None:  # it never began, or its node is gone
        what = (job.message or "no reason given").strip().splitlines()[0]
        raise EnvironmentFault(f"{job.submission_id}: {what}; the same command submits it again")
    return 128 - code if code < 0 else code or FAILED
