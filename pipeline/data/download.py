"""Published files, from a folder or from their address, with the published SHA-256."""

import logging
from pathlib import Path

from pipeline.errors import EnvironmentFault, UserError
from pipeline.records import sha256

TIMEOUT_S = (10.0, 30.0)  # to connect, and without a byte


def published(url: str, digest: str, source: str | None, downloads: Path, where: str) -> Path:
    """Returns a published file from the folder `source`, or from `downloads`, into which it is downloaded once.

    `where` is the place of the data section in params.yaml. Raises UserError where the folder has no such file, and
    EnvironmentFault where it cannot be downloaded.
    """
    place = f"{where}.source"
    if source is None:
        try:
            return download(url, digest, downloads)
        except EnvironmentFault as fault:
            remedy = f"download it elsewhere and name its folder as {place} in params.yaml"
            raise EnvironmentFault(f"{fault}; {remedy}") from None
    path = Path(source) / url.rpartition("/")[2]
    if not path.is_file() or sha256(path) != digest:
        raise UserError(f"{place}: {path}: missing, or not the published file; download {url} there")
    return path


def download(url: str, digest: str | None, folder: Path) -> Path:
    """Returns the path of `url` in `folder`; downloads it where it is not there with this SHA-256.

    Raises EnvironmentFault with the reason in one line.
    """
    import pooch  # imports requests

    pooch.get_logger().setLevel(logging.WARNING)
    known, name = None if digest is None else f"sha256:{digest}", url.rpartition("/")[2]
    try:
        downloader = pooch.HTTPDownloader(timeout=TIMEOUT_S)
        return Path(pooch.retrieve(url, known, fname=name, path=folder, downloader=downloader))
    except (OSError, ValueError) as error:  # requests' exceptions are OSErrors; ValueError: another SHA-256
        cause = getattr(next(iter(error.args), None), "reason", error)  # why requests gave up, without its retries
        reason = " ".join(str(cause).split())[:300]
        raise EnvironmentFault(f"{url} could not be downloaded ({reason})") from None
