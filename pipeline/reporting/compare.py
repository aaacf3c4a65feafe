"""Two reports side by side: `python -m pipeline.report --compare A B`, for people and for pull requests."""

from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.reporting.cells import PLUS_MINUS, signed
from pipeline.reporting.markdown import Table, code, escape, table
from pipeline.reporting.schema import ERRORS, DeparturePart, ErrorsPart, NetworkPart, ReportJson
from resnet.statistics import p_different

ABSENT = "not there"
AS_IN_THE_PAPER = "as in the paper"
Row = tuple[str, ...]
PROVENANCE = {  # fields of the provenance, as people call them
    "git": "commit of the report",
    "trained_at": "runs trained at",
    "data_source": "data",
    "data_digest": "data digest",
    "code_digests": "code digest",
    "versions": "software",
    "devices": "devices",
    "seeds": "seeds",
    "attempts": "attempts",
    "runs": "runs",
}


def markdown(a: ReportJson, b: ReportJson, names: tuple[str, str]) -> str:
    """All that differs, and every error with its difference; `names` are what the reports are called."""
    parts = [
        f"# {code(names[0])} (A) and {code(names[1])} (B)",
        *_warnings(a, b),
        "## Errors (%)",
        _or_nothing(("network", "error", "A", "B", "B − A", "p"), errors(a, b), "No network is in both."),
        *_alone(a, b),
        "Mean ± standard deviation over seeds (n). p is of a two-sided Welch test and not corrected for how many there "
        "are; it takes two seeds on either side.",
        "## Verdicts that changed",
        _or_nothing(("claim", "sentence", "A", "B"), verdicts(a, b), "None."),
        "## Parameters and departures that changed",
        _or_nothing(("what", "networks", "A", "B"), [*departures(a, b), *sizes(a, b)], "None."),
        "Values that are the paper's in both are not listed.",
        "## Provenance that differs",
        _or_nothing(("what", "A", "B"), provenance(a, b), "None."),
    ]
    return "\n\n".join(parts) + "\n"


def _warnings(a: ReportJson, b: ReportJson) -> list[str]:
    if a.provenance.get("data_digest") == b.provenance.get("data_digest"):
        return []
    return ["> [!WARNING]\n> **The data are not the same.** Differences of errors are not the networks' alone."]


def _or_nothing(head: Row, rows: Sequence[Row], nothing: str) -> str:
    numeric = tuple(i for i, name in enumerate(head) if name in ("B − A", "p"))
    return table(Table(head, tuple(rows), numeric)) if rows else nothing


def _alone(a: ReportJson, b: ReportJson) -> list[str]:
    """The networks that only one of them has."""
    sides = {"A": a.networks.keys() - b.networks.keys(), "B": b.networks.keys() - a.networks.keys()}
    return [f"Only in {side}: {', '.join(map(escape, sorted(names)))}." for side, names in sides.items() if names]


def errors(a: ReportJson, b: ReportJson) -> list[Row]:
    """A row a measure of the networks that both have."""
    rows: list[Row] = []
    for network in _common(a, b):
        one, other = (_measures(report.networks[network]) for report in (a, b))
        for measure in dict.fromkeys([*one, *other]):
            rows.append((network, measure, *_beside(one.get(measure), other.get(measure))))
    return rows


def _common(a: ReportJson, b: ReportJson) -> list[str]:
    return [name for name in a.networks if name in b.networks]


def _measures(network: NetworkPart) -> dict[str, ErrorsPart]:
    named = {measure: getattr(network, field) for field, measure in ERRORS.items()}
    return {measure: value for measure, value in named.items() if value is not None} | network.protocols


def _beside(a: ErrorsPart | None, b: ErrorsPart | None) -> Row:
    shown = [ABSENT if one is None else _shown(one) for one in (a, b)]
    if a is None or b is None:
        return (*shown, "", "")
    p = f"{p_different(a.values, b.values, 0.0):.3f}" if min(len(a.values), len(b.values)) > 1 else ""
    return (*shown, signed(b.mean - a.mean), "< 0.001" if p == "0.000" else p)


def _shown(part: ErrorsPart) -> str:
    spread = "" if part.sd is None else f"{PLUS_MINUS}{part.sd:.2f}"
    return f"{part.mean:.2f}{spread} (n={part.n})"


def verdicts(a: ReportJson, b: ReportJson) -> list[Row]:
    one, other = ({claim.id: claim for claim in report.claims} for report in (a, b))
    rows: list[Row] = []
    for name in dict.fromkeys([*one, *other]):
        words = tuple(claims[name].verdict if name in claims else ABSENT for claims in (one, other))
        if words[0] != words[1]:
            rows.append((name, (other.get(name) or one[name]).claim, *words))
    return rows


def departures(a: ReportJson, b: ReportJson) -> list[Row]:
    """Fields whose values differ, network by network; those with the same change in one row."""
    common = _common(a, b)
    found: dict[tuple[str, str, str], list[str]] = {}
    for network in common:
        one, other = (_fields(report.departures, network) for report in (a, b))
        for field in dict.fromkeys([*one, *other]):
            here = one.get(field, AS_IN_THE_PAPER), other.get(field, AS_IN_THE_PAPER)
            if here[0] != here[1]:
                found.setdefault((field, *here), []).append(network)
    return [
        (field, "all" if names == common else ", ".join(names), *values) for (field, *values), names in found.items()
    ]


def _fields(found: Sequence[DeparturePart], network: str) -> dict[str, str]:
    return {d.field: d.here for d in found if network in d.networks}


def sizes(a: ReportJson, b: ReportJson) -> Iterator[Row]:
    for network in _common(a, b):
        for field in ("parameters", "multiply_adds"):
            values = [getattr(report.networks[network], field) for report in (a, b)]
            if values[0] != values[1]:
                yield (field.replace("_", "-"), network, *(ABSENT if v is None else f"{v:,}" for v in values))


def provenance(a: ReportJson, b: ReportJson) -> list[Row]:
    rows: list[Row] = []
    for field in dict.fromkeys([*a.provenance, *b.provenance]):
        one, other = (report.provenance.get(field) for report in (a, b))
        if one != other:
            rows.append((PROVENANCE.get(field, field), _text(one), _text(other)))
    return rows


def _text(value: Any) -> str:
    if isinstance(value, dict):  # a commit
        return f"{value.get('commit')}{', with uncommitted changes' if value.get('dirty') else ''}"
    if isinstance(value, list):
        return ", ".join(str(one) for one in value) or "none"
    return "none" if value is None else str(value)
