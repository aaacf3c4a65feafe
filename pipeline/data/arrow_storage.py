"""Photographs as Arrow IPC shards: every image is decoded once, then packed. The bytes are the same for any number of
threads."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pyarrow as pa

from pipeline.data import statistics
from pipeline.data.array_storage import save, split_info, write_manifest
from pipeline.data.image_tree import ImageFile, Splits, Tree, shorten
from pipeline.data.images import decode
from pipeline.errors import UserError
from pipeline.records import File, Manifest, SplitInfo, describe, replacing
from resnet.crops import SIZE

SHARD_BYTES = 256_000_000  # of images in a file, unless one image has more
BATCH_BYTES = 32_000_000  # of images in a record batch, which is in memory as a whole
THREADS = os.cpu_count() or 1  # decoding, hashing and input/output run without the interpreter's lock
CHUNK = 64  # images of one task
SCHEMA = pa.schema([("image", pa.large_binary()), ("label", pa.int64()), ("name", pa.string())])

Decide = Callable[[Splits], tuple[Splits, str]]
Checked = tuple[ImageFile, str | None, str | None]  # with size and digest; mode before conversion to RGB; error


def prepare(target: Path, dataset: str, tree: Tree, where: str, decide: Decide) -> Manifest:
    """Replaces `target` by the shards, the mean and colours of the training split, and a manifest, which it returns.

    `decide` makes the splits of the checked images and says, for people, where they come from. Raises UserError for
    broken images.
    """
    with ThreadPool(THREADS) as pool:
        checked, conversions = _checked(tree, where, pool)
        splits, source = decide(checked)
        with replacing(target) as folder:
            infos = {name: _write_split(folder, name, images, tree.classes, pool) for name, images in splits.items()}
            train = [Path(image.path) for image in splits["train"]]
            parts = [map(Path.read_bytes, train[i : i + CHUNK]) for i in range(0, len(train), CHUNK)]
            mean, colour = statistics.mean_and_colour(len(train), pool.imap(statistics.sums, parts))
            made = {"colour": save(folder / "colour.npy", colour), "conversions": conversions, "source": source}
            what = {"dataset": dataset, "storage": "shards", "classes": tree.classes, "channels": 3, "size": SIZE}
            return write_manifest(folder, infos, mean, **what, **made)


def _checked(tree: Tree, where: str, pool: ThreadPool) -> tuple[Splits, dict[str, int]]:
    """Decodes every image. Returns the splits in the order of content, and how many images were converted to RGB, by
    their mode. Names the broken images together."""
    every = [image for images in tree.splits.values() for image in images]
    results = list(pool.imap(_check, every, chunksize=CHUNK))
    broken = [f"{image.path}: {error}" for image, _, error in results if error is not None]
    if broken:
        raise UserError(f"{where}: {len(broken)} broken images: {shorten(broken)}; replace or remove them")
    found = iter(results)
    splits = {
        name: sorted((next(found)[0] for _ in images), key=lambda image: (image.sha256, image.name))
        for name, images in tree.splits.items()
    }
    return splits, dict(sorted(Counter(mode for _, mode, _ in results if mode is not None).items()))


def _check(image: ImageFile) -> Checked:
    try:
        content = Path(image.path).read_bytes()
        _, conversion = decode(content)
    except (OSError, ValueError) as error:
        return image, None, getattr(error, "strerror", None) or str(error)
    return replace(image, bytes=len(content), sha256=hashlib.sha256(content).hexdigest()), conversion, None


def _write_split(folder: Path, name: str, images: list[ImageFile], classes: list[str], pool: ThreadPool) -> SplitInfo:
    shards = [(folder / f"{name}-{i:05d}.arrow", part) for i, part in enumerate(cut(images, SHARD_BYTES))]
    return split_info((image.label for image in images), classes, list(pool.imap(_pack, shards)))


def cut(images: list[ImageFile], limit: int) -> list[list[ImageFile]]:
    """Returns consecutive parts of at most `limit` bytes, each of at least one image."""
    parts: list[list[ImageFile]] = []
    free = 0
    for image in images:
        if not parts or image.bytes > free:
            parts.append([])
            free = limit
        parts[-1].append(image)
        free -= image.bytes
    return parts


def _pack(shard: tuple[Path, list[ImageFile]]) -> File:
    """Writes one shard: the columns `image` (the file's bytes), `label` and `name`."""
    path, images = shard
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        for part in cut(images, BATCH_BYTES):
            columns = {
                "image": [Path(image.path).read_bytes() for image in part],
                "label": [image.label for image in part],
                "name": [image.name for image in part],
            }
            writer.write_batch(pa.RecordBatch.from_pydict(columns, schema=SCHEMA))
    return describe(path, path.parent)
