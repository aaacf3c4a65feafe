"""The tracked files of a checkout, as they stand in the working tree, in one archive that Ray sends to every node."""

import hashlib
import subprocess
import zipfile
from pathlib import Path

from pipeline.checkout import BUNDLED, Revision, revision
from pipeline.errors import UserError

AT_MOST = 100 * 2**20  # bytes; Ray's dashboard takes no larger upload
WRITTEN_BY_STAGES = ("dvc.lock", "reports/")  # they change while a job runs that is the same all the while
_EPOCH = (1980, 1, 1, 0, 0, 0)  # a zip's first moment: equal files make equal archives


def tracked(root: Path, otherwise: list[str] | None = None) -> list[str]:
    """Paths that git tracks and that are there, sorted. Outside of git: `otherwise`, or UserError without it."""
    command = ["git", "--no-optional-locks", "-C", str(root), "ls-files", "-z"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        names = [name.decode() for name in done.stdout.split(b"\0") if name] if done.returncode == 0 else []
    except (OSError, subprocess.TimeoutExpired):
        names = []
    except UnicodeDecodeError as error:
        raise UserError(f"{root}: a tracked file's name is not UTF-8 ({error.object!r}); rename it") from None
    if names:
        return sorted(name for name in names if (root / name).exists() or (root / name).is_symlink())
    if otherwise is None:
        raise UserError(f"{root}: no git checkout with tracked files, of which a bundle is made; git add them first")
    return sorted(name for name in otherwise if (root / name).is_file())


def state(root: Path, files: list[str]) -> str:
    """SHA-256 over names and content of the files, but for what the stages write."""
    digest = hashlib.sha256()
    for name in files:
        if not name.startswith(WRITTEN_BY_STAGES):
            content = _content(root / name)
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def pack(root: Path, target: Path) -> Revision | None:
    """Writes the archive; equal content gives equal bytes. Raises UserError for what is too large to go up."""
    files = tracked(root)
    sizes = {name: (root / name).stat().st_size for name in files if not (root / name).is_symlink()}
    if sum(sizes.values()) > AT_MOST:
        largest = max(sizes, key=lambda name: sizes[name])
        raise UserError(
            f"{root / largest}: the tracked files have {sum(sizes.values()) / 2**20:.0f} MiB, this one "
            f"{sizes[largest] / 2**20:.0f}, a bundle may have {AT_MOST // 2**20}; keep it out of git, or use a "
            "checkout that the cluster shares (--checkout)"
        )
    at = revision(root)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in files:
            _add(archive, name, _content(root / name))
        _add(archive, BUNDLED, b"" if at is None else f"{at.commit}\n{at.dirty}\n".encode())
    return at


def _content(path: Path) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise UserError(f"{path}: a link or a folder where git tracks a file; a bundle holds plain files only")
    return path.read_bytes()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    archive.writestr(info, content)
