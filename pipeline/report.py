"""Stage `report`: verdicts, tables and figures from what the stages before it left; or two reports side by side."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import run_stage

if TYPE_CHECKING:
    from pipeline.config.experiment import Experiment


def main(arguments: list[str] | None = None) -> None:
    """Raises UserError for inputs that are damaged or do not belong together."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.report", description=__doc__)
    parser.add_argument("experiment", nargs="?", help="a section of params.yaml")
    what = "a report.json, a folder with one, an experiment, or REVISION:PATH: what differs is printed as markdown"
    parser.add_argument("--compare", nargs=2, metavar=("A", "B"), help=what)
    asked = parser.parse_args(arguments)
    if (asked.experiment is None) == (asked.compare is None):
        parser.error("give an experiment, or --compare A B")
    if asked.compare is not None:
        print(compare(asked.compare[0], asked.compare[1], Path()), end="")
        return
    from pipeline.config import params
    from pipeline.tracking import log_report

    name = asked.experiment
    verdicts = write(params.load(name), Path())
    print(f"reports/{name}/report.md: {verdicts}", flush=True)
    print(log_report(name, Path("reports", name)).line(), flush=True)


def compare(a: str, b: str, root: Path) -> str:
    """Markdown about two reports. Raises UserError where one is not there or of another schema."""
    from pipeline.reporting import compare, stored

    return compare.markdown(stored.find(a, root), stored.find(b, root), (a, b))


def write(experiment: "Experiment", root: Path) -> str:
    """Makes reports/EXPERIMENT/ under `root`, as a whole or not at all; returns the verdicts in a line."""
    from pipeline.reporting import curves, document, figures, inputs, provenance, schema
    from pipeline.store.records import replacing, write_bytes, write_json
    from resnet.claims.all_claims import CLAIMS
    from resnet.claims.verdicts import judge_all

    gathered = inputs.gather(experiment, root)
    study = inputs.study(gathered)
    judged = judge_all(study, CLAIMS)
    report = schema.report_json(study, gathered, judged, provenance.collect(gathered, root))
    with replacing(root / "reports" / experiment.name) as folder:
        drawn = figures.draw(study, gathered, folder)
        (folder / "plots").mkdir()
        for split in ("train", "val"):
            write_bytes(folder / "plots" / f"{split}_error.csv", curves.for_dvc(study, split).encode())
        write_json(folder / "metrics.json", schema.metrics(study))
        write_json(folder / "report.json", report)
        write_bytes(folder / "report.md", document.markdown(report, study, gathered, judged, drawn).encode())
    counts = {j.verdict: sum(other.verdict == j.verdict for other in judged) for j in judged}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items())


if __name__ == "__main__":
    run_stage(main)
