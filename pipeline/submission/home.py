"""Outputs come home: what differs is fetched, checked by its SHA-256, and put in place folder by folder."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pipeline.errors import EnvironmentFault
from pipeline.store.records import File, replacing, sha256, write_bytes
from pipeline.submission import lock, outputs

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

DATA_AT_MOST = 2 * 2**30  # bytes of data that are fetched; what is larger is prepared again where it is needed
PATIENCE_S = 24 * 3600  # for one file; Ray cuts the stream off after it
CHUNK = 2**20


class Fetcher:
    """Files of one job's outputs, over the dashboard's HTTP."""

    def __init__(self, client: "JobSubmissionClient", job: str, node: str) -> None:
        self._client: Any = client
        self._folder, self._node = outputs.folder_name(job), node

    def fetch(self, name: str, target: Path) -> str:
        """Writes the file to `target`; its SHA-256. Raises EnvironmentFault."""
        import requests

        digest = hashlib.sha256()
        query: dict[str, str | int] = {
            "node_id": self._node,
            "filename": f"{self._folder}/{name}",
            "lines": -1,
            "timeout": PATIENCE_S,
        }
        client = self._client  # of whose calls none gives a stream of bytes, so only its credentials serve
        try:
            with (
                requests.get(
                    f"{client.get_address()}/api/v0/logs/file",
                    params=query,
                    headers=client._headers,
                    cookies=client._cookies,
                    verify=client._verify,
                    stream=True,
                    timeout=60,
                ) as answer,
                target.open("wb") as file,
            ):
                answer.raise_for_status()
                for chunk in answer.iter_content(CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
        except requests.RequestException as error:
            raise EnvironmentFault(
                f"{name}: could not be fetched from the cluster ({type(error).__name__}); submit again: what is "
                "finished is not run twice"
            ) from None
        return digest.hexdigest()


def index(fetcher: Fetcher, scratch: Path) -> outputs.Index:
    """What the job made. Raises EnvironmentFault."""
    path = scratch / outputs.INDEX
    fetcher.fetch(outputs.INDEX, path)
    try:
        return outputs.Index.model_validate_json(path.read_bytes())
    except ValidationError as error:
        what = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise EnvironmentFault(f"{outputs.INDEX}: not what a job writes ({what}); submit again") from None


def bring(fetcher: Fetcher, there: outputs.Index, root: Path, scratch: Path) -> list[str]:
    """Replaces the outputs, each in one step, then their entries in dvc.lock. A line for each that differed."""
    lines = []
    for top in outputs.FOLDERS:
        for experiment in there.experiments:
            lines += _bring_folder(fetcher, f"{top}/{experiment}", there.under(f"{top}/{experiment}"), root)
    wanted = next(file for file in there.files if file.path == outputs.LOCK)
    _fetch(fetcher, wanted, scratch / outputs.LOCK)
    path = root / outputs.LOCK
    ours = path.read_bytes() if path.is_file() else b""
    write_bytes(path, lock.merged(ours, (scratch / outputs.LOCK).read_bytes(), there.experiments))
    return lines


def _bring_folder(fetcher: Fetcher, folder: str, files: list[File], root: Path) -> list[str]:
    target = root / folder
    missing = [file for file in files if not _here(file, root)]
    here = sum(1 for path in target.rglob("*") if path.is_file())
    if not files or (not missing and here == len(files)):
        return []
    size = sum(file.bytes for file in missing)
    if folder.startswith("data/") and size > DATA_AT_MOST:
        return [
            f"{folder}: {size / 2**30:.1f} GiB, stays on the cluster; dvc repro prepare@{target.name} makes it here"
        ]
    with replacing(target) as fresh:
        for file in files:
            path = fresh / Path(file.path).relative_to(folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            if file in missing:
                _fetch(fetcher, file, path)
            else:
                _take(root / file.path, path)
    return [f"{folder}: {len(missing)} of {len(files)} files fetched, {size / 2**20:.1f} MiB"]


def _here(file: File, root: Path) -> bool:
    path = root / file.path
    return path.is_file() and path.stat().st_size == file.bytes and sha256(path) == file.sha256


def _fetch(fetcher: Fetcher, file: File, target: Path) -> None:
    if fetcher.fetch(f"{outputs.FILES}/{file.path}", target) != file.sha256:
        raise EnvironmentFault(
            f"{file.path}: arrived with another SHA-256 than it was sent with; nothing of its folder was replaced; "
            "submit again"
        )


def _take(old: Path, new: Path) -> None:
    try:
        os.link(old, new)
    except OSError:
        shutil.copy2(old, new)
