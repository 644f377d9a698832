"""Training's data from an S3 server through the cache of shards against the same data on the local disk.

The server is moto's, in a process of its own on this machine, so that its network costs nothing but its own work. All
sequences of an epoch are loaded as training loads them, nothing is kept in memory, and places take turns. With an empty
cache, as in the first epoch, every shard is downloaded once.
"""

import contextlib
import logging
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import data_path
from benchmarks.data_path import CONFIG, SOURCE, STRIDES, Row, make_workspace
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import Manifest
from v2vkit.conditions.clips import ClipReader
from v2vkit.models.generator import HISTORY
from v2vkit.training.data.dataset import VideoDataset
from v2vkit.training.data.loader import clip_sampler, load_batch
from v2vkit.training.methods.vid2vid import VID2VID

BUCKET = "v2v-benchmark"
TURNS = 3


def _serve(port: Any) -> None:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line per request
    port.send(server.get_host_and_port()[1])
    with contextlib.suppress(EOFError):
        port.recv()  # until the other side closes it
    server.stop()


@contextlib.contextmanager
def _bucket(cache: Path) -> Iterator[str]:
    """An empty bucket's address; the variables that lead to it and to the cache are set meanwhile."""
    import s3fs

    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=_serve, args=(there,), daemon=True)
    server.start()
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{here.recv()}",
        "AWS_ACCESS_KEY_ID": "user",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_DEFAULT_REGION": "us-east-1",
        "V2V_CACHE": str(cache),
    }
    before = dict(os.environ)
    os.environ.update(variables)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        s3fs.S3FileSystem(use_listings_cache=False).mkdir(BUCKET)
        yield f"s3://{BUCKET}"
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        os.environ.clear()
        os.environ.update(before)
        here.close()
        server.join()


def _upload(work: Path, url: str) -> None:
    folder = Folder(url)
    for path in sorted(work.glob("*/*")):
        (folder / path.parent.name).write(path.name, path.read_bytes())


def _epoch(url: str, manifests: dict[str, Manifest]) -> tuple[float, float]:
    """Seconds by the clock and of processor time to open the workspace and load one epoch."""
    clock, processor = time.perf_counter(), time.process_time()
    reader = ClipReader(Folder(url), manifests)
    dataset = VideoDataset(reader, SOURCE, strides=STRIDES, flip=True, compact=True, cache_bytes=0)
    for plan in clip_sampler(CONFIG, reader.clips, schedule=VID2VID.schedule(CONFIG), context=HISTORY).batches(0):
        load_batch(CONFIG, dataset, plan)
    return time.perf_counter() - clock, time.process_time() - processor


def run() -> list[Row]:
    """(what, value, target) per row."""
    times: dict[str, list[tuple[float, float]]] = {"disk": [], "empty cache": [], "full cache": []}
    with tempfile.TemporaryDirectory() as name, _bucket(Path(name) / "cache") as url:
        work = Path(name) / "work"
        manifests = make_workspace(work)
        _upload(work, url)
        _epoch(str(work), manifests)  # loads libraries
        for _ in range(TURNS):
            for path in (Path(name) / "cache").glob("shards/*.tar"):
                path.unlink()
            for place, of in times.items():
                of.append(_epoch(str(work) if place == "disk" else url, manifests))
    width, height = data_path.SIZE
    what = f"loading an epoch of {width}x{height}"
    rows: list[Row] = []
    for place, target in (("full cache", ">= 0.9"), ("empty cache", "for information")):
        for kind, meaning in enumerate(("clock", "processor time")):
            disk, store = (statistics.median(used[kind] for used in times[of]) for of in ("disk", place))
            rows.append((f"S3, {place} / local disk, {what}, {meaning}", disk / store, target))
    rows.append((f"seconds from the local disk, {what}", statistics.median(t for t, _ in times["disk"]), ""))
    return rows


if __name__ == "__main__":
    for row in run():
        print(row)
