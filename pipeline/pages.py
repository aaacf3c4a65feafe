"""Command `pages`: writes what the documentation takes from code and reports.

That is docs/networks.md, docs/reference/*.md, and the table of results in README.md.
"""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean

from pipeline import config, networks, reference
from pipeline.paths import PARAMS, REPORTS
from pipeline.records import read
from pipeline.reporting.report_json import ClaimPart, ReportJson

README = Path("README.md")
PAGES: dict[Path, Callable[[], str]] = {
    Path("docs/networks.md"): networks.page,
    Path("docs/reference/cli.md"): reference.cli,
    Path("docs/reference/params.md"): reference.params,
    Path("docs/reference/claims.md"): reference.claims,
}
BEGIN, END = "<!-- results: written by `python -m pipeline pages` -->\n", "<!-- end of results -->\n"
HEAD = "| finding of the paper | here | training error | effect of depth, log odds [95 %] |\n|---|---|---|---|\n"


def main(arguments: argparse.Namespace) -> None:
    """Writes the pages of this checkout."""
    for path, page in PAGES.items():
        path.write_text(page(), encoding="utf-8")
        print(path)
    found = reports()
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    README.write_text(before + BEGIN + results(found) + END + rest.partition(END)[2], encoding="utf-8")
    print(f"{README}: results of {', '.join(report.experiment for report in found)}")


def reports() -> list[ReportJson]:
    """Returns the reports of this checkout, registered experiments first, in the order of params.yaml."""
    paths = {name: REPORTS / name / "report.json" for name in config.read_yaml(PARAMS)}
    made_by = "python -m pipeline report"
    found = [read(ReportJson, path, f"{made_by} {name}") for name, path in paths.items() if path.is_file()]
    return sorted(found, key=lambda report: report.status != "registered")


def results(found: Iterable[ReportJson]) -> str:
    """Returns the headline of each report as a markdown table."""
    return "\n".join(map(_table, found))


def _table(report: ReportJson) -> str:
    path = f"{REPORTS}/{report.experiment}/report.md"
    rows = "".join(f"| {p.claim} | {p.verdict} | {_errors(p)} | {_effect(p)} |\n" for p in report.headline)
    why = f" ({report.status_reason})" if report.status_reason else ""
    return f"**[{report.experiment}]({path})**: {report.status}{why}\n\n{HEAD}{rows}"


def _errors(part: ClaimPart) -> str:
    """Returns the mean errors of a ladder from the shallowest to the deepest; those of two ladders have own rows."""
    ladder = part.effect is not None and part.id != "interaction"
    (first, *_) = part.statistic["parts"] if ladder else [{"networks": [], "values": []}]
    means = zip(first["networks"], first["values"], strict=True)
    return ", ".join(f"{name} {fmean(values):.1f} %" for name, values in means)


def _effect(part: ClaimPart) -> str:
    if part.effect is None or part.interval is None:
        return ""
    low, high = part.interval
    return f"{part.effect:+.2f} [{low:+.2f}, {high:+.2f}]"
