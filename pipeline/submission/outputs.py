"""What a job made, file by file, in the form in which it is told to the submitter."""

from pathlib import Path, PurePosixPath

from pydantic import field_validator

from pipeline.store.records import File, Record, describe

FOLDERS = ("data", "runs", "results", "reports")  # of every experiment, in the order of the stages
LOCK = "dvc.lock"
INDEX = "index.json"
FILES = "files"  # beside the index: a link to the folder that the paths are relative to


class Index(Record):
    """All files of the experiments' outputs, and dvc.lock."""

    experiments: list[str]
    files: list[File]

    @field_validator("files")
    @classmethod
    def _inside(cls, files: list[File]) -> list[File]:
        """They become paths in the submitter's checkout, so they have to lie where outputs lie."""
        for file in files:
            path = PurePosixPath(file.path)
            inside = len(path.parts) > 2 and path.parts[0] in FOLDERS and ".." not in path.parts
            if not (inside or file.path == LOCK) or str(path) != file.path:
                raise ValueError(f"not an output: {file.path!r}")
        return files

    def under(self, folder: str) -> list[File]:
        """Those of one output such as `runs/digits`."""
        return [file for file in self.files if file.path.startswith(f"{folder}/")]


def index(root: Path, experiments: list[str]) -> Index:
    """Reads every output once, for its SHA-256."""
    found = [root / LOCK]
    for folder in FOLDERS:
        for experiment in experiments:
            found += sorted(path for path in (root / folder / experiment).rglob("*") if path.is_file())
    return Index(experiments=experiments, files=[describe(path, root) for path in found])


def folder_name(job: str) -> str:
    """Of the job's outputs among the logs of Ray's session, from where the dashboard hands them out."""
    return f"outputs-{job}"
