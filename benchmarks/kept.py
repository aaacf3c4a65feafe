"""The file of results: rows are added as they are measured, and machines are not mixed."""

from pathlib import Path

from benchmarks.hardware import Hardware
from benchmarks.results import Results, Row
from benchmarks.table import markdown, sentence
from pipeline.errors import UserError
from pipeline.store.records import read, write_bytes, write_json

MADE_BY = "make benchmark"


class Kept:
    """The file of results in `folder`, to which rows are added as they come.

    Some benchmarks join what is there, and are refused where that is of another machine, other versions or other
    sizes; all of them may take its place.
    """

    def __init__(self, folder: Path, hardware: Hardware, *, quick: bool, names: list[str], everything: bool) -> None:
        """`names`: all benchmarks there are, in their order. Raises UserError before anything is measured."""
        self.path, self._names = folder / "cpu.json", names
        there = read(Results, self.path, MADE_BY) if self.path.is_file() else None
        differences = [] if there is None else hardware.differs_from(there.hardware)
        if there is not None and there.quick != quick:
            differences.append("the smallest sizes there" if there.quick else "the smallest sizes here")
        if differences and not everything:
            raise UserError(
                f"{self.path}: measured elsewhere ({'; '.join(differences)}) and not to be mixed; "
                f"name another folder by --output, or measure all: {MADE_BY}"
            )
        old = there.results if there is not None and not differences else []
        self.results = Results(
            hardware=hardware, quick=quick, results=[old_row for old_row in old if old_row.name in names]
        )

    def add(self, new: Row) -> None:
        """Takes the place of an older row of the name, and is on the disk, with its table, when this returns."""
        rows = [old for old in self.results.results if old.name != new.name] + [new]
        rows.sort(key=lambda one: self._names.index(one.name))
        self.results = self.results.model_copy(update={"results": rows})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, self.results)
        write_bytes(self.path.with_suffix(".md"), markdown(self.results).encode())


def missed(rows: list[Row]) -> list[str]:
    """What is wrong with them, a phrase each."""
    faults = []
    for one in rows:
        if one.holds is False:
            faults.append(f"{one.name}: {sentence(one)}")
        elif one.unexplained:
            faults.append(f"{one.name}: {one.unexplained} than the rival, and no reason is given")
    return faults
