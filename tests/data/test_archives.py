"""Hostile and damaged archives: refused with one line, nothing written anywhere."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from pipeline.datasets import archives
from pipeline.errors import UserError
from tests.makers import snapshot, tar_member

WANTED = {"d/one.bin": 1000, "d/two.bin": 10}
END = bytes(1024)
ONE = tar_member(b"d/one.bin", b"1" * 600)

HOSTILE = {
    "parent": (tar_member(b"d/../../evil", b"x"), "does not belong"),
    "absolute": (tar_member(b"/etc/cron.d/evil", b"x"), "does not belong"),
    "unexpected": (tar_member(b"d/three.bin", b"x"), "does not belong"),
    "symlink": (tar_member(b"d/one.bin", kind=b"2"), "symbolic link"),
    "hard link": (tar_member(b"d/one.bin", kind=b"1"), "hard link"),
    "character device": (tar_member(b"d/one.bin", kind=b"3"), "device"),
    "block device": (tar_member(b"d/one.bin", kind=b"4"), "device"),
    "pipe": (tar_member(b"d/one.bin", kind=b"6"), "pipe"),
    "sparse": (tar_member(b"d/one.bin", kind=b"S"), "sparse"),
    "long name": (tar_member(b"././@LongLink", b"d/one.bin\0", kind=b"L"), "unknown kind"),
    "unknown folder": (tar_member(b"elsewhere/", kind=b"5"), "unknown kind"),
    "case": (ONE + tar_member(b"D/ONE.BIN", b"x"), "does not belong"),
    "twice": (ONE + ONE, "twice"),
    "too long": (tar_member(b"d/two.bin", b"x" * 11), "at most 10"),
    "claims to be huge": (tar_member(b"d/one.bin", size=8**11 - 1), "at most 1000"),
    "claims more than there is": (tar_member(b"d/one.bin", size=999), "ends too early"),
    "huge extended header": (tar_member(b"pax", size=8**11 - 1, kind=b"x"), "at most 65536"),
    "many members": (tar_member(b"d/", kind=b"5") * 100, "more than 64"),
}


def packed(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content, mtime=0))
    return path


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused(name: str, tmp_path: Path) -> None:
    content, reason = HOSTILE[name]
    archive = packed(tmp_path / "a.tar.gz", content + END)
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match=reason) as refused:
        archives.read(archive, WANTED)
    assert "\n" not in str(refused.value)
    assert snapshot(tmp_path) == before


def with_wrong_checksum() -> bytes:
    member = bytearray(ONE)
    member[0:1] = b"e"
    return bytes(member)


def with_binary_size() -> bytes:
    member = bytearray(ONE)
    member[124:136] = b"\x80" + bytes(11)
    member[148:156] = b"%06o\0 " % (sum(member[:148]) + 8 * 32 + sum(member[156:512]))
    return bytes(member)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (with_wrong_checksum() + END, "checksum"),
        (with_binary_size() + END, "not octal"),
        (ONE, "ends too early"),  # without the end mark
        (ONE[:700], "ends too early"),
        (ONE + END + b"more", "after its end"),
        (ONE + END + bytes(2 << 20), "after its end"),  # zeros as a bomb
        (b"", "ends too early"),
    ],
)
def test_damaged_archives_are_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=reason):
        archives.read(packed(tmp_path / "a.tar.gz", content), WANTED)


def test_damaged_gzip_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(ONE + END, mtime=0)
    flipped = bytearray(whole)
    flipped[-6] ^= 1  # the checksum at the end
    for content in (whole[:-20], bytes(flipped), whole + b"garbage", b"PK\3\4 no gzip", b""):
        archive = tmp_path / "a.tar.gz"
        archive.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.tar\.gz"):
            archives.read(archive, WANTED)
    with pytest.raises(UserError, match="No such file"):
        archives.read(tmp_path / "none.tar.gz", WANTED)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_the_usual_programs_are_read(form: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz", format=form) as archive:
        folder = tarfile.TarInfo("d")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, size in WANTED.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = size, 1.5  # not whole: an extended header in the pax format
            archive.addfile(info, io.BytesIO(b"x" * size))
    assert archives.read(path, WANTED) == {name: b"x" * size for name, size in WANTED.items()}
