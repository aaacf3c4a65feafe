"""Two reports compared: `python -m pipeline report --compare A B`, for people and for pull requests."""

from collections.abc import Iterator, Mapping

from pipeline.reporting.document import provenance
from pipeline.reporting.markdown import NOT_RUN, mean, render, signed
from pipeline.reporting.report_json import ERRORS, ClaimPart, ReportJson
from resnet.claims.verdicts import EXPLORATORY
from resnet.statistics import Summary, contrast

ABSENT = "none"
ALL = "all"
MEANT = {shown: verdict for verdict, shown in EXPLORATORY.items()}
Row = tuple[str, ...]


def markdown(a: ReportJson, b: ReportJson, names: tuple[str, str]) -> str:
    """Returns all that differs, and every error with its difference; `names` are what the reports are called.

    Reports without a common network are compared by the claims that both judge, the headline first.
    """
    values = {
        "a": a,
        "b": b,
        "names": names,
        "other_data": a.provenance.get("data_digest") != b.provenance.get("data_digest"),
        "common": _common(a, b),
        "alone": {"A": sorted(a.networks.keys() - b.networks), "B": sorted(b.networks.keys() - a.networks)},
        "errors": list(_errors(a, b)),
        "verdicts": list(_verdicts(a, b)),
        "claims": list(_claims(a, b)),
        "departures": _departures(a, b),
        "provenance": _differing(provenance(a), provenance(b)),
    }
    return render("compare.md.j2", values)


def _common(a: ReportJson, b: ReportJson) -> list[str]:
    return [name for name in a.networks if name in b.networks]


def _differing(a: Mapping[str, str], b: Mapping[str, str], absent: str = ABSENT) -> list[tuple[str, str, str]]:
    """Returns the keys whose values differ, with both."""
    both = ((key, a.get(key, absent), b.get(key, absent)) for key in dict.fromkeys([*a, *b]))
    return [row for row in both if row[1] != row[2]]


def _errors(a: ReportJson, b: ReportJson) -> Iterator[Row]:
    """Yields a row a measure of the networks that both have, with Welch's p where there are two seeds a side."""
    for network in _common(a, b):
        parts = [report.networks[network] for report in (a, b)]
        one, other = ({measure: getattr(p, name) for name, measure in ERRORS.items()} | p.protocols for p in parts)
        for measure in dict.fromkeys([*one, *other]):
            found: list[Summary | None] = [one.get(measure), other.get(measure)]
            shown = [f"{mean(summary)} (n={summary.n})" if summary else ABSENT for summary in found]
            first, second = found
            if first is not None and second is not None:
                p = _p(first, second) if min(first.n, second.n) > 1 else None
                text = "" if p is None else f"{p:.3f}" if p >= 0.0005 else "< 0.001"
                yield (network, measure, *shown, signed(second.mean - first.mean), text)
            elif first or second:
                yield (network, measure, *shown, "", "")


def _p(a: Summary, b: Summary) -> float:
    """Returns the two-sided p-value of a difference of means (Welch)."""
    difference = contrast([a.values, b.values], (1.0, -1.0))
    return 2.0 * min(difference.p_above(0.0), difference.p_below(0.0))


def _verdicts(a: ReportJson, b: ReportJson) -> Iterator[Row]:
    """Yields the claims whose verdicts differ, in more than the words of registered and exploratory experiments."""
    both = [{claim.id: claim for claim in (*report.headline, *report.claims)} for report in (a, b)]
    one, other = ({name: MEANT.get(claim.verdict, claim.verdict) for name, claim in of.items()} for of in both)
    for name, *_ in _differing(one, other):
        found = [of.get(name) for of in both]
        sentence = next(claim.claim for claim in found if claim)
        yield (name, sentence, *(f"{claim.verdict} {_effect(claim)}" if claim else ABSENT for claim in found))


def _claims(a: ReportJson, b: ReportJson) -> Iterator[Row]:
    """Yields the claims that both judge, with verdicts and effects."""
    other = {claim.id: claim for claim in (*b.headline, *b.claims) if claim.verdict != NOT_RUN}
    for claim in (*a.headline, *a.claims):
        if claim.verdict != NOT_RUN and claim.id in other:
            both = (claim, other[claim.id])
            yield (claim.id, claim.claim, *(f"{c.verdict} {_effect(c)}" for c in both))


def _effect(claim: ClaimPart) -> str:
    """Returns the effect with its interval in brackets, as a report has it."""
    if claim.effect is None:
        return ""
    ends = f" [{claim.interval[0]:+.2f}, {claim.interval[1]:+.2f}]" if claim.interval else ""
    return f"({claim.scale}: {claim.effect:+.2f}{ends})"


def _departures(a: ReportJson, b: ReportJson) -> list[Row]:
    """Returns the fields whose values differ, those of networks with the same change in one row.

    Without a common network: the fields that have one value in all networks of each.
    """
    common = _common(a, b)
    found: dict[Row, list[str]] = {}
    for network in common or [ALL]:
        one, other = _fields(a, network), _fields(b, network)
        for row in _differing(one, other, "as in the paper"):
            if common or (row[0] in one and row[0] in other):
                found.setdefault(row, []).append(network)
    return [(row[0], ALL if names == common else ", ".join(names), *row[1:]) for row, names in found.items()]


def _fields(report: ReportJson, network: str) -> dict[str, str]:
    """Returns departures and sizes of a network, or the departures of all."""
    wanted = set(report.networks) if network == ALL else {network}
    found = {d.field: d.here for d in report.departures if wanted <= set(d.networks)}
    if part := report.networks.get(network):
        sizes = {"parameters": part.parameters, "multiply-adds": part.multiply_adds}
        found |= {name: ABSENT if size is None else f"{size:,}" for name, size in sizes.items()}
    return found
