"""How the costs grow with the number of frames: a stage, training and rendering of 1, 4 and 16 times the frames.

Each command runs in a process of its own with one worker. The time of a frame is that of the additional frames of a
longer run, so that the time to start does not count. It is processor time, and the least of two runs, because other
programs slow the processor's caches. Clips are equally long in all runs, as `v2v ingest` makes them.
"""

import tempfile
from fractions import Fraction
from pathlib import Path

from benchmarks.command import Used, measured
from benchmarks.footage import talking, write_frames
from v2vkit.video.encode import write_video

Row = tuple[str, float, str]
FACTORS = (1, 4, 16)
FRAMES = {"extract-flow": 32, "train": 48, "render": 160}
"""Of the shortest run of each command."""
SIDES = {"extract-flow": 256, "train": 64, "render": 64}
CLIP_LENGTH = 16
TURNS = 2
TRAINING = (
    *("--stage", "spatial-1", "--preset", "tiny", "--width", "8", "--discriminator-width", "8"),
    *("--condition", "edges", "--epochs", "1", "--temporal-scales", "1", "--perceptual", "off"),
    *("--sample-every", "0", "--device", "cpu", "--threads", "1", "--no-measure", "--no-tensorboard"),
)


def _v2v(work: Path, *arguments: str) -> Used:
    return measured(["-m", "v2vkit", *arguments, "--work", str(work)])


def _footage(work: Path, command: str, factor: int) -> None:
    frames = talking(SIDES[command], FRAMES[command])
    write_frames(str(work), frames, clip_length=CLIP_LENGTH, repeats=factor)


def _measure(folder: Path, factor: int) -> dict[str, Used]:
    """What each command used with that many times the frames."""
    folder = folder / str(factor)
    flow, work, video, made = folder / "flow", folder / "train", folder / "footage.mp4", folder / "made.mp4"
    _footage(flow, "extract-flow", factor)
    _footage(work, "train", factor)
    faces = talking(SIDES["render"], FRAMES["render"])
    write_video(video, (frame for _ in range(factor) for frame in faces), fps=Fraction(25))
    for stage in ("make-edges", "extract-flow"):
        _v2v(work, stage, "--workers", "1")
    return {
        "extract-flow": _v2v(flow, "extract-flow", "--workers", "1"),
        "train": _v2v(work, "train", *TRAINING),
        "render": _v2v(work, "render", str(video), str(made), "--device", "cpu"),
    }


def _least(turns: list[dict[str, Used]]) -> dict[str, Used]:
    """Of each command the run with the least processor time."""
    return {command: min((of[command] for of in turns), key=lambda used: used.processor) for command in SIDES}


def run() -> list[Row]:
    """(what, value, target) per row."""
    turns: list[list[dict[str, Used]]] = [[] for _ in FACTORS]
    for _ in range(TURNS):
        with tempfile.TemporaryDirectory() as name:
            for of, factor in zip(turns, FACTORS, strict=True):
                of.append(_measure(Path(name), factor))
    found = [_least(of) for of in turns]
    rows: list[Row] = []
    for command, side in SIDES.items():
        used = [of[command] for of in found]
        early, late = (
            (after.processor - before.processor) / (FRAMES[command] * (more - factor))
            for before, after, factor, more in zip(used, used[1:], FACTORS, FACTORS[1:], strict=False)
        )
        what = f"growth: {command}, {side}x{side}, up to {FACTORS[-1] * FRAMES[command]} frames"
        rows += [
            (f"{what}: time a frame, 4 to 16 times the frames / 1 to 4 times", late / early, "0.9 to 1.1"),
            (f"{what}: milliseconds a frame", late * 1e3, "for information"),
            (f"{what}: peak memory, 16 times the frames / 4 times", used[2].memory / used[1].memory, "<= 1.1"),
            (f"{what}: peak memory, MiB", used[2].memory / 2**20, "for information"),
        ]
    return rows


if __name__ == "__main__":
    for row in run():
        print(row)
