"""Image folders, ImageNet among them: everything is checked first, then packed in the order of its content."""

import logging
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.datasets import images, statistics
from pipeline.datasets.arrays import save
from pipeline.datasets.pack import CHUNK, Entry, Map, jobs, pack
from pipeline.datasets.tree import Found, Tree, shorten
from pipeline.errors import EnvironmentFault, UserError
from pipeline.store.records import Manifest, SplitInfo
from resnet.views import SIZE

WNIDS = Path(__file__).with_name("imagenet_wnids.txt")  # the 1,000 classes of ILSVRC2012, in the order of their labels
PUBLISHED = {"train": 1_281_167, "val": 50_000}  # images of ILSVRC2012

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """A tree of which every image has been decoded once, ready to be packed."""

    dataset: str
    classes: list[str]
    splits: dict[str, list[Entry]]  # train, val and perhaps test, each in the order of content
    conversions: dict[str, int]
    source: str


def read_folder(tree: Tree, where: str, fractions: Mapping[str, float], run: Map) -> Plan:
    """A tree of one's own. `fractions`: val and test, used where the tree has no splits. Raises UserError."""
    entries, conversions = _checked(tree, where, run)
    if "all" in entries:
        splits = _split(entries["all"], tree.classes, fractions, where)
        source = "a folder of images, CLASS/IMAGE, split by content"
    else:
        splits, source = entries, "a folder of images, SPLIT/CLASS/IMAGE"
        leaks = _leaks(splits)
        if leaks:
            raise UserError(f"{where}: the same image in two splits: {shorten(leaks)}; keep each in one")
    return Plan("folder", tree.classes, splits, conversions, source)


def read_imagenet(tree: Tree, where: str, run: Map) -> Plan:
    """ILSVRC2012, its 1,000 classes by name. Fewer images than published are a note in the manifest, not an error,
    and so are images that its training and validation parts share: those parts are given."""
    if set(tree.splits) != set(PUBLISHED):
        raise UserError(f"{where}: has {', '.join(tree.splits)}; ILSVRC2012 has train/WNID/IMAGE and val/WNID/IMAGE")
    known = wnids()
    missing, extra = sorted(set(known) - set(tree.classes)), sorted(set(tree.classes) - set(known))
    if missing or extra:
        parts = [f"missing {shorten(missing)}"] * bool(missing) + [f"not in ILSVRC2012: {shorten(extra)}"] * bool(extra)
        raise UserError(f"{where}: train/ and val/ must have the 1,000 classes of ILSVRC2012; {'; '.join(parts)}")
    splits, conversions = _checked(tree, where, run)
    notes = ["ILSVRC2012"]
    for name, number in PUBLISHED.items():
        if len(splits[name]) != number:
            notes.append(f"{name} has {len(splits[name])} images, published are {number}")
    leaks = _leaks(splits)
    if leaks:
        notes.append(f"{len(leaks)} images are in train and val alike")
    if len(notes) > 1:
        log.warning("; ".join(notes))
    return Plan("imagenet", tree.classes, splits, conversions, "; ".join(notes))


@cache
def wnids() -> tuple[str, ...]:
    return tuple(WNIDS.read_text(encoding="ascii").split())


def _checked(tree: Tree, where: str, run: Map) -> tuple[dict[str, list[Entry]], dict[str, int]]:
    """Decodes every image; all that are broken are named together. Entries come in the order of content."""
    found: list[tuple[str, Found]] = [(name, item) for name, items in tree.splits.items() for item in items]
    chunks = [[item.path for _, item in found[i : i + CHUNK]] for i in range(0, len(found), CHUNK)]
    results = (checked for part in run(_check, chunks) for checked in part)
    entries: dict[str, list[Entry]] = {name: [] for name in tree.splits}
    conversions: Counter[str] = Counter()
    broken: list[str] = []
    for (name, item), checked in zip(found, results, strict=True):
        if checked.error is not None:
            broken.append(f"{item.path}: {checked.error}")
        if checked.conversion is not None:
            conversions[checked.conversion] += 1
        entries[name].append(Entry(item.path, item.name, item.label, checked.bytes, checked.sha256))
    if broken:
        raise UserError(f"{where}: {len(broken)} broken images: {shorten(broken)}; replace or remove them")
    for part in entries.values():
        part.sort(key=lambda entry: (entry.sha256, entry.name))
    return entries, dict(sorted(conversions.items()))


def _check(paths: list[str]) -> list[images.Checked]:
    return [images.check_file(path) for path in paths]


def _leaks(splits: dict[str, list[Entry]]) -> list[str]:
    """Images whose bytes are in two splits, as pairs of names."""
    seen: dict[str, tuple[str, str]] = {}
    leaks = []
    for name, entries in splits.items():
        for entry in entries:
            split, other = seen.setdefault(entry.sha256, (name, entry.name))
            if split != name:
                leaks.append(f"{other} = {entry.name}")
    return leaks


def _split(
    entries: list[Entry], classes: list[str], fractions: Mapping[str, float], where: str
) -> dict[str, list[Entry]]:
    """Takes a share of every class for each name, at least one image, in the order of content.

    Equal images stay together, whatever class they are in.
    """
    sizes = Counter(entry.label for entry in entries)
    quotas = {
        (label, name): max(1, round(fraction * size))
        for label, size in sizes.items()
        for name, fraction in fractions.items()
    }
    home: dict[str, str] = {}  # SHA-256 -> split
    equal = Counter(entry.sha256 for entry in entries)
    for entry in entries:
        if entry.sha256 not in home:
            fits = [name for name in fractions if quotas[entry.label, name] >= equal[entry.sha256]]
            home[entry.sha256] = fits[0] if fits else "train"
        quota = (entry.label, home[entry.sha256])
        quotas[quota] = quotas.get(quota, 0) - 1
    splits = {name: [e for e in entries if home[e.sha256] == name] for name in ("train", *fractions)}
    for name, part in splits.items():
        empty = sorted(set(range(len(classes))) - {entry.label for entry in part})
        if empty:
            names = shorten([classes[label] for label in empty])
            raise UserError(f"{where}: too few different images to give {name} one of each class: {names}; add some")
    return splits


def check_room(target: Path, plan: Plan) -> None:
    """Raises EnvironmentFault where the disk of `target`, which may not exist yet, is too small for the plan."""
    there = next(parent for parent in target.absolute().parents if parent.is_dir())
    room, needed = shutil.disk_usage(there).free, sum(e.bytes + 256 for part in plan.splits.values() for e in part)
    if room < needed:
        raise EnvironmentFault(f"{there}: {needed >> 20} MiB are needed, {room >> 20} MiB are free; make room")


def write(folder: Path, plan: Plan, run: Map) -> Manifest:
    """Packs all splits, and takes the mean and the colour of the training split."""
    infos = {name: _write_split(folder, name, plan, run) for name in plan.splits}
    sample = plan.splits["train"][: statistics.MAX_IMAGES]
    chunks = [sample[i : i + CHUNK] for i in range(0, len(sample), CHUNK)]
    mean, colour = statistics.mean_and_colour(run(statistics.sums, chunks))
    return Manifest(
        dataset=plan.dataset,
        storage="shards",
        classes=plan.classes,
        channels=3,
        size=SIZE,
        train=infos["train"],
        val=infos["val"],
        test=infos.get("test"),
        mean=save(folder / "mean.npy", mean),
        colour=save(folder / "colour.npy", colour),
        conversions=plan.conversions,
        source=plan.source,
    )


def _write_split(folder: Path, name: str, plan: Plan, run: Map) -> SplitInfo:
    entries = plan.splits[name]
    files = list(run(pack, jobs(folder, name, entries)))
    counts = Counter(entry.label for entry in entries)
    return SplitInfo(
        images=len(entries),
        per_class={class_name: counts[label] for label, class_name in enumerate(plan.classes)},
        files=files,
    )
