"""What comes back from the workers, as a person sees it and as the tracker keeps it."""

import time

from pipeline.cluster.fanout import Lost, Moved, News, Task, Told
from pipeline.tracking import RunFacts, Tracker
from pipeline.training.job import Advanced, Began, Elsewhere, Ended, Event, Job, Left, multiply_adds
from pipeline.training.progress import Progress
from resnet.roofline import images_per_second


def handle(task: Task[Job], event: Event | News, progress: Progress, tracker: Tracker) -> None:
    """Shows an event and hands it to the tracker."""
    line, job, now = progress.lines[task.name], task.job, time.monotonic()
    match event:
        case Began(key, _, peak, iteration, seconds, rows, advice):
            roofline = images_per_second(peak, multiply_adds(job))
            line.begin(iteration, seconds, now, roofline)
            line.take(rows)
            tracker.begin(RunFacts.of(job.spec, key, job.manifest, roofline))
            tracker.rows(key, rows)
            progress.event(task.name, f"goes on from iteration {iteration}" if iteration else "begins")
            progress.advise(advice)
        case Advanced(key, iteration, seconds, rows):
            line.advance(iteration, seconds, now)
            line.take(rows)
            tracker.rows(key, rows)
        case Ended(_, record):
            line.end(record.status, record.iterations, record.seconds)
            tracker.finish(record, job.slot.at_hand(), job.manifest.dataset)
            tracker.standing(progress.done, progress.left_s())
            progress.event(
                task.name,
                f"{record.status} after {record.iterations} iterations and {record.seconds:.1f} s, "
                f"training error {record.train_top1_error_percent:.2f} %",
            )
        case Elsewhere():
            if line.state != "elsewhere":
                progress.event(task.name, "is being trained by another process; waits for it")
            line.leave("elsewhere")
        case Left(_, iteration, why):
            line.leave("waiting")
            progress.event(task.name, f"leaves {why}; goes on from iteration {iteration}")
        case Lost(_, reason, left):
            line.leave("lost")
            progress.event(task.name, f"lost its worker ({reason}); goes on from its checkpoint, {left} retries left")
        case Moved(_, node):
            line.leave("waiting")
            progress.event(task.name, f"leaves node {node}, which was being drained; goes on from its checkpoint")
        case Told(text):
            progress.event(task.name, text)


def give_up(failed: dict[str, str], keys: dict[str, str], progress: Progress, tracker: Tracker) -> None:
    """Says of the runs that have failed since the last call why."""
    for name, reason in failed.items():
        line = progress.lines[name]
        if line.state != "failed":
            line.leave("failed")
            progress.event(name, f"failed: {reason}")
            tracker.fail(keys[name], reason)
            tracker.standing(progress.done, progress.left_s())
