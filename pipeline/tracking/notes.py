"""The notes that MLflow's pages show above a run, as Markdown."""

from collections.abc import Mapping

from pipeline.store.records import RunRecord
from pipeline.tracking.facts import Invocation, RunFacts
from pipeline.tracking.points import MAX_TAG
from pipeline.tracking.published import Published

MOST = 100  # runs that a note lists


def run_note(facts: RunFacts, paper: Published | None, commit: str | None, record: RunRecord | None = None) -> str:
    """What the run is, what the paper has for it, how it ended and how to repeat it."""
    data = f"`{facts.dataset}`" if facts.dataset else "data"
    parts = [
        f"**{_plain(facts.network)}**, seed {facts.seed}: a {facts.family} network of {facts.depth} weighted layers "
        f"(shortcut {facts.shortcut}) on {data} (digest `{facts.data_digest[:12]}`)."
    ]
    if paper:
        how = f"{paper.split}, {paper.protocol}; {paper.source}"
        parts.append(f"Published: {paper.top1_error_percent:.2f} % top-1 error ({how}).")
    else:
        parts.append("The paper has no figure for this network on these data.")
    if record:
        val = "" if record.val_top1_error_percent is None else f", validation {record.val_top1_error_percent:.2f} %"
        parts.append(
            f"It {record.status} after {record.iterations:,} iterations: top-1 error in training "
            f"{record.train_top1_error_percent:.2f} %{val}."
        )
    at = f" at commit `{commit[:12]}`" if commit else ""
    parts.append(f"To repeat it{at}: `python -m pipeline.train {facts.experiment} --only {facts.network}`")
    return "\n\n".join(parts)


def invocation_note(experiment: str, invocation: Invocation, ends: Mapping[str, str]) -> str:
    """What was asked for and what became of it; `ends` says so of each run that this invocation trained."""
    parts = [
        f"**{_plain(experiment)}**: {len(invocation.asked)} runs asked for, {len(ends)} trained here, "
        f"{len(invocation.reused)} finished before.",
        f"Command: `{invocation.command.replace('`', ' ')}`",
    ]
    lines = [f"- {_plain(run)}: {end}" for run, end in ends.items()]
    lines += [f"- {_plain(run)}: reused" for run in invocation.reused]
    if len(lines) > MOST:
        lines = [*lines[:MOST], f"- … and {len(lines) - MOST} more"]
    note = "\n\n".join(parts) + "\n\n" + "\n".join(lines)
    return note if len(note) <= MAX_TAG else note[: note.rfind("\n", 0, MAX_TAG - 2)] + "\n…"


def _plain(text: str) -> str:
    """Names in a note are words, not Markdown or HTML."""
    return "".join("\\" + c if c in "\\`*_[]<>#|" else " " if c in "\r\n" else c for c in text)
