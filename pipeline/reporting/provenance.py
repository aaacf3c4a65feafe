"""Where the numbers of a report come from. No time stamps: the same inputs give the same report."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.checkout import revision
from pipeline.reporting.inputs import Inputs


def collect(inputs: Inputs, root: Path) -> dict[str, Any]:
    """Code, data, software and machines; lists hold each value once."""
    measured = inputs.measured
    versions = {f"{name} {version}" for m in measured for name, version in m.record.versions.items()}
    return {
        "git": None if (at := revision(root)) is None else asdict(at),
        "trained_at": _once(m.record.commit or "not known" for m in measured),
        "data_digest": inputs.manifest.digest(),
        "data_source": inputs.manifest.source,
        "code_digests": _once(m.record.code_digest for m in measured),
        "versions": sorted(versions),
        "devices": _once(f"{m.record.device}, {m.record.threads} thread(s)" for m in measured),
        "seeds": sorted({m.spec.seed for m in measured}),
        "attempts": sum(m.record.attempts for m in measured),
        "runs": len(measured),
    }


def _once(values: Iterable[str]) -> list[str]:
    return sorted(set(values))
