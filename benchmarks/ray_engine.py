"""A stage on Ray against the same stage in local processes: the same workers, frames and bytes.

`v2v extract-flow` as a user runs it, in turns. Ray's time contains the start and the end of a private cluster on this
machine, which is protected by a token. The processor time contains the cluster's own processes.
"""

import hashlib
import shutil
import statistics
import tempfile
from pathlib import Path

from benchmarks.command import Used, measured
from benchmarks.footage import talking, write_frames

Row = tuple[str, float, str]
SIDE, FRAMES, CLIP_LENGTH = 512, 240, 60
MORE = 4
"""Times the frames, so that a run takes over a minute."""
WORKERS = 2
TURNS = 2


def _run(work: Path, engine: str) -> tuple[Used, dict[str, str]]:
    """What the stage used, and the checksums of the files that it made."""
    arguments = ["-m", "v2vkit", "extract-flow", "--work", str(work), "--engine", engine, "--workers", str(WORKERS)]
    used = measured(arguments)
    made = work / "flow"
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in made.iterdir() if path.is_file()}
    shutil.rmtree(made)
    return used, sums


def run() -> list[Row]:
    """(what, value, target) per row."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_frames(name, talking(SIDE, FRAMES), clip_length=CLIP_LENGTH, repeats=MORE)
        runs: dict[str, list[Used]] = {"local": [], "ray": []}
        made = []
        for _ in range(TURNS):
            for engine, found in runs.items():
                used, sums = _run(work, engine)
                found.append(used)
                made.append(sums)
    local, ray = (statistics.median(used.seconds for used in runs[engine]) for engine in ("local", "ray"))
    busy, ray_busy = (statistics.median(used.processor for used in runs[engine]) for engine in ("local", "ray"))
    what = f"extract-flow, {SIDE}x{SIDE}, {WORKERS} workers"
    return [
        (f"speed with Ray / with local processes, whole command, {what}", local / ray, ">= 0.9"),
        (f"processor time of local processes / with Ray, {what}", busy / ray_busy, "for information"),
        (f"seconds with local processes, {what}", local, "> 60"),
        (f"runs whose files differ from the first run's, {what}", sum(sums != made[0] for sums in made), "0"),
    ]


if __name__ == "__main__":
    for row in run():
        print(row)
