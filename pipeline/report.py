"""Stage `report`: verdicts, tables and figures from what the stages before it left."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import run_stage

if TYPE_CHECKING:
    from pipeline.config import Experiment


def main(arguments: list[str] | None = None) -> None:
    """Raises UserError for inputs that are damaged or do not belong together."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.report", description=__doc__)
    parser.add_argument("experiment", help="a section of params.yaml")
    name = parser.parse_args(arguments).experiment
    from pipeline import config
    from pipeline.tracking import log_report

    verdicts = write(config.load(name), Path())
    print(f"reports/{name}/report.md: {verdicts}", flush=True)
    print(log_report(name, Path("reports", name)).line(), flush=True)


def write(experiment: "Experiment", root: Path) -> str:
    """Makes reports/EXPERIMENT/ under `root`, as a whole or not at all; returns the verdicts in a line."""
    from pipeline.records import replacing, write_bytes, write_json
    from pipeline.reporting import curves, document, figures, inputs, provenance, schema
    from resnet.claims import judge_all
    from resnet.he2015 import CLAIMS

    gathered = inputs.gather(experiment, root)
    study = inputs.study(gathered)
    judged = judge_all(study, CLAIMS)
    report = schema.report_json(study, gathered, judged, provenance.collect(gathered, root))
    with replacing(root / "reports" / experiment.name) as folder:
        for part in ("figures", "plots"):
            (folder / part).mkdir()
        figures.draw_curves(study, folder / "figures" / "curves")
        figures.draw_depth(study, folder / "figures" / "depth")
        write_bytes(folder / "figures" / "curves.csv", curves.as_csv(study).encode())
        for split in ("train", "val"):
            write_bytes(folder / "plots" / f"{split}_error.csv", curves.for_dvc(study, split).encode())
        write_json(folder / "metrics.json", schema.metrics(study))
        write_json(folder / "report.json", report)
        write_bytes(folder / "report.md", document.markdown(report, study, gathered, judged).encode())
    counts = {j.verdict: sum(other.verdict == j.verdict for other in judged) for j in judged}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items())


if __name__ == "__main__":
    run_stage(main)
