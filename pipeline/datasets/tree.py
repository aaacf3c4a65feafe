"""A tree SPLIT/CLASS/IMAGE or CLASS/IMAGE: what is in it, with everything that does not belong there refused."""

import os
import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError

SPLITS = ("train", "val", "test")
SUFFIXES = (".jpg", ".jpeg", ".png")
IGNORED = ("thumbs.db", "desktop.ini")  # and whatever begins with a dot
SHOWN = 5  # how many of a list of mistakes a message names


@dataclass(frozen=True, slots=True)
class Found:
    """One image of the tree, not yet opened."""

    path: str
    name: str  # below the root, with /
    label: int


@dataclass(frozen=True, slots=True)
class Tree:
    classes: list[str]
    splits: dict[str, list[Found]]  # `train`, `val` and perhaps `test`; or `all`, where the tree has no splits


def shorten(items: list[str]) -> str:
    """The first few, and how many there are."""
    return "; ".join(items[:SHOWN]) + (f"; … ({len(items)} in all)" if len(items) > SHOWN else "")


def scan(root: Path, where: str) -> Tree:
    """The images of `root`, in the order of their names. `where` is the key of the root, for messages.

    Raises UserError for an unreadable folder, a file that is no image by its name, a folder inside a class, classes
    that differ between splits, an empty class, and names that differ in case alone.
    """
    if not root.is_dir():
        raise UserError(f"{where}: {root} is not a folder; name one with train/ and val/, or with one folder a class")
    parts = _split_folders(root) if _has_splits(root) else {"all": root}
    classes = {name: _folders(folder) for name, folder in parts.items()}
    known = _common(root, classes)
    splits = {
        name: [
            found for label, class_name in enumerate(known) for found in _images(root, parts[name] / class_name, label)
        ]
        for name in parts
    }
    return Tree(known, splits)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder and not ignored, by name."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; make the folder readable") from None
    kept = [e for e in entries if not e.name.startswith(".") and e.name.casefold() not in IGNORED]
    for entry in kept:
        if not entry.name.isprintable() or "\udc80" <= max(entry.name) <= "\udcff":
            raise UserError(f"{entry.path!a}: the name has characters that cannot be printed; rename it")
    return kept


def _stat_is(entry: os.DirEntry[str], kind: str) -> bool:
    """Whether it is a file or a folder, through symbolic links. Raises UserError for a broken one and for a loop."""
    try:
        mode = entry.stat()
    except OSError as error:
        raise UserError(f"{entry.path}: {error.strerror}; mend or remove it") from None
    return stat.S_ISDIR(mode.st_mode) if kind == "folder" else stat.S_ISREG(mode.st_mode)


def _has_splits(root: Path) -> bool:
    """train/ with folders in it is a split; train/ with images in it is a class of vehicles."""
    train = root / "train"
    return train.is_dir() and any(_stat_is(entry, "folder") for entry in _entries(train))


def _split_folders(root: Path) -> dict[str, Path]:
    names = [entry.name for entry in _entries(root)]
    strange = [name for name in names if name not in SPLITS]
    if strange:
        raise UserError(f"{root}: {shorten(strange)} beside train/; allowed are {', '.join(SPLITS)}; move it elsewhere")
    if "val" not in names:
        raise UserError(f"{root}: train/ without val/; add val/, or have CLASS/IMAGE alone, to be split by content")
    return {name: root / name for name in SPLITS if name in names}


def _folders(folder: Path) -> list[str]:
    """The class folders; everything else in `folder` is refused."""
    entries = _entries(folder)
    strange = [entry.name for entry in entries if not _stat_is(entry, "folder")]
    if strange:
        raise UserError(f"{folder}: {shorten(strange)} is no class folder; remove it")
    names = [entry.name for entry in entries]
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise UserError(f"{folder}: the classes {other!r} and {name!r} differ in case alone; rename one")
    if len(names) < 2:
        raise UserError(f"{folder}: {len(names)} class folders, at least 2 are needed")
    return names


def _common(root: Path, classes: dict[str, list[str]]) -> list[str]:
    """The classes, the same in every split."""
    first = next(iter(classes))
    for name, names in classes.items():
        missing = sorted(set(classes[first]) - set(names))
        extra = sorted(set(names) - set(classes[first]))
        if missing:
            raise UserError(f"{root}/{name}: classes of {first}/ are missing: {shorten(missing)}; add or remove them")
        if extra:
            raise UserError(f"{root}/{name}: classes that {first}/ does not have: {shorten(extra)}; add or remove them")
    return classes[first]


def _images(root: Path, folder: Path, label: int) -> list[Found]:
    found = []
    for entry in _entries(folder):
        if not _stat_is(entry, "file"):
            raise UserError(f"{entry.path}: not a regular file inside a class; remove it")
        if os.path.splitext(entry.name)[1].lower() not in SUFFIXES:
            raise UserError(f"{entry.path}: not an image by its name; allowed are {', '.join(SUFFIXES)}; remove it")
        found.append(Found(entry.path, f"{folder.relative_to(root).as_posix()}/{entry.name}", label))
    if not found:
        raise UserError(f"{folder}: a class without images; add some or remove the class from every split")
    return found
