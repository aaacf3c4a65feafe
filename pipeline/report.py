"""Stage `report`: verdicts, tables and figures from what the stages before it made; or two reports compared."""

import argparse
from pathlib import Path

from pipeline import config
from pipeline.config import Experiment
from pipeline.paths import REPORTS
from pipeline.records import replacing, write_json
from pipeline.reporting import claims, compare, document, figures, html, inputs, report_json
from pipeline.storage import write_bytes
from pipeline.tracking.sync import sync
from resnet.claims import CLAIMS
from resnet.claims.headline import judge_headline
from resnet.claims.verdicts import judge_all


def main(arguments: argparse.Namespace) -> None:
    """Runs the stage. Raises UserError for inputs that are damaged or do not belong together."""
    if arguments.compare:
        a, b = arguments.compare
        print(compare.markdown(report_json.find(a, Path()), report_json.find(b, Path()), (a, b)), end="")
        return
    experiment = config.load(arguments.experiment)
    card = write(experiment, Path())
    print(sync(experiment.name).line(), flush=True)
    print(card, flush=True)


def write(experiment: Experiment, root: Path) -> str:
    """Writes reports/EXPERIMENT/ under `root`, as a whole or not at all; returns the result in a few lines."""
    found = inputs.gather(experiment, root)
    headline, judged = judge_headline(found.study), judge_all(found.study, CLAIMS)
    report = report_json.report_json(found, headline, judged, root)
    drawn = figures.every(found, [*headline, *judged])
    text = document.markdown(report, found, headline, judged, drawn)
    page = html.page(report, found, headline, judged, drawn["curves"][1])
    with replacing(root / REPORTS / experiment.name) as folder:
        figures.save(drawn, found.study, folder)
        (folder / "plots").mkdir()
        for split in ("train", "val"):
            rows = drawn["curves"][1].query("split == @split")[["iteration", "error_percent", "network"]]
            rows.to_csv(folder / "plots" / f"{split}_error.csv", index=False, float_format="%.4f")
        write_json(folder / "metrics.json", report.metrics())
        write_json(folder / "report.json", report)
        write_bytes(folder / "report.md", text.encode())
        write_bytes(folder / "report.html", page.encode())
    return claims.card(found.study, headline, judged, (REPORTS / experiment.name / "report.md").as_posix())
