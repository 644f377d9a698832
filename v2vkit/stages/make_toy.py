"""`v2v make-toy`: makes a procedural street with exact labels, instances, flow and depth."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from v2vkit.artifacts.folder import explain_os_errors
from v2vkit.config import SizeSetting, StageConfig, as_plain, setting
from v2vkit.engine.choice import local_workers
from v2vkit.engine.local import LocalEngine
from v2vkit.errors import V2VError, counted
from v2vkit.pipeline.stage import Command, RunOptions
from v2vkit.progress import progress

SETTINGS = "toy.json"  # written last: it marks the folder as complete and made by this command
_VIDEOS = ("real", "plain", "cg")
_FOLDERS = ("images", "cg_images", "labels", "instances", "depth", "flow")
_OURS = {*_VIDEOS, *_FOLDERS, SETTINGS}
_EARLIER = {"labels.json"}  # of earlier versions
VERSION = 2  # to be raised when the same settings give other pictures


class ToyConfig(StageConfig):
    """Make a procedural street seen from a moving car, with exact ground truth.

    Writes real/NAME.mp4 (textured and lit), cg/NAME.mp4 (like a simulator: shaded, with the edges of windows, kerbs,
    markings and cars, without texture, in constant light), plain/NAME.mp4 (one flat colour per label) and, per clip and
    frame, images/NAME/000000.png and cg_images/NAME/000000.png (the real and the cg look, lossless),
    labels/NAME/000000.png (ids of the class table `toy`), instances/NAME/000000.png (16 bit, 0 = none),
    depth/NAME/000000.png (16 bit, metres * 256 along the optical axis, 0 = sky, 65535 = 255.99 m or farther) and
    flow/NAME/000001.png (KITTI format: backward flow from frame 1 into frame 0, third channel 1 where the point was
    visible there). Give real/*.mp4 or images and labels (--classes toy) to `v2v ingest`.
    """

    out: str = setting(..., "Folder to make.", argument=True, metavar="OUT")
    num_clips: int = setting(4, "Number of clips, each with its own street.", ge=1, le=1000)
    num_frames: int = setting(48, "Frames per clip.", ge=1, le=3000)
    size: SizeSetting = setting("128x64", "Width and height of the frames.")
    fps: float = setting(15.0, "Frames per second.", ge=0.1, le=240)
    seed: int = setting(0, "Seed of the streets; the same seed gives the same bytes.", ge=0, le=10**9)
    variation: float = setting(
        0.0,
        "How much sun, weather and colours of the real look differ between clips, 0 to 1; 0 = a clear day in all. "
        "Nothing else changes.",
        ge=0,
        le=1,
    )


class _Task(NamedTuple):
    folder: str
    name: str
    seed: int


def _clip_writer(config: ToyConfig) -> Callable[[_Task], None]:
    """The function that renders and writes one clip."""
    import numpy as np

    from v2vkit.artifacts.images import encode_png
    from v2vkit.conditions.flow_io import encode_kitti
    from v2vkit.toyworld import make_scene, render_frame
    from v2vkit.video.depth_values import encode_depth
    from v2vkit.video.encode import VideoWriter

    fps = Fraction(str(config.fps)).limit_denominator(1001)

    def write(task: _Task) -> None:
        root = Path(task.folder)
        size = (config.size.width, config.size.height)
        scene = make_scene(task.seed, config.num_frames, size, fps=float(fps), variation=config.variation)
        kinds = {kind: root / kind / task.name for kind in _FOLDERS}
        for folder in kinds.values():
            folder.mkdir(parents=True)
        with contextlib.ExitStack() as stack:
            # Nearly lossless: the usual quality would blur such small pictures.
            videos = {
                kind: stack.enter_context(VideoWriter(root / kind / f"{task.name}.mp4", fps=fps, crf=8))
                for kind in _VIDEOS
            }
            for t in range(config.num_frames):
                frame = render_frame(scene, t)
                for kind, video in videos.items():
                    video.write(getattr(frame, kind))
                file = f"{t:06d}.png"
                (kinds["images"] / file).write_bytes(encode_png(frame.real))
                (kinds["cg_images"] / file).write_bytes(encode_png(frame.cg))
                (kinds["labels"] / file).write_bytes(encode_png(frame.labels))
                (kinds["instances"] / file).write_bytes(encode_png(frame.instances))
                depth = encode_depth(frame.depth, np.isfinite(frame.depth))
                (kinds["depth"] / file).write_bytes(encode_png(depth))
                if t > 0:
                    (kinds["flow"] / file).write_bytes(encode_kitti(frame.flow, frame.visible.astype("float32")))

    return write


def _settings(config: ToyConfig) -> dict[str, object]:
    return {"version": VERSION, **{key: value for key, value in as_plain(config).items() if key != "out"}}


def _already_there(config: ToyConfig, overwrite: bool) -> bool:
    """Whether OUT holds this toy already.

    Raises:
        V2VError: OUT holds something else, is not a local folder, or cannot be made.
    """
    from v2vkit.video.targets import refuse_unreplaceable, refuse_url

    refuse_url(config.out)
    refuse_unreplaceable(config.out)
    out = Path(config.out).resolve()
    if out.exists() and not out.is_dir():
        raise V2VError("folder-required", f"{config.out} is a file.", "Name a folder that does not exist yet.")
    parent = next(folder for folder in out.parents if folder.exists())
    if not os.access(parent, os.W_OK):
        raise V2VError(
            "target-unwritable",
            f"{config.out} cannot be made: no permission to write to {parent}.",
            "Name another folder.",
        )
    if not out.exists() or not any(out.iterdir()):
        return False
    # Never delete files of others, not even with --overwrite.
    try:
        found = json.loads((out / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise V2VError(
            "folder-not-empty", f"{config.out} is not empty and was not made by `v2v make-toy`.", "Name another folder."
        ) from None
    there = {path.name for path in out.iterdir()}
    foreign, lost = sorted(there - _OURS - _EARLIER), sorted(_OURS - there)
    if overwrite and foreign:
        raise V2VError(
            "folder-not-empty",
            f"{config.out} holds {foreign[0]}, which `v2v make-toy` did not make.",
            "Move it away, or name another folder.",
        )
    if overwrite:
        return False
    if found != _settings(config):
        raise V2VError(
            "artifact-stale",
            f"{config.out} holds a toy made with other settings or by another version of v2vkit.",
            "Add --overwrite to replace it, or name another folder.",
        )
    if lost:
        raise V2VError(
            "artifact-damaged",
            f"{config.out} lacks {lost[0]}.",
            "Add --overwrite to remake it, or name another folder.",
        )
    return True


def make_toy(config: ToyConfig, options: RunOptions) -> list[str]:
    """Render all clips into a temporary folder next to OUT, and rename it to OUT when it is complete.

    Raises:
        V2VError: OUT exists with other content or cannot be written, or the disk is full.
    """
    from v2vkit.video.targets import remove_abandoned, replace_folder, temporary_name

    out = Path(config.out).resolve()
    with explain_os_errors(config.out):
        remove_abandoned(out)
    if _already_there(config, options.overwrite):
        print(f"{config.out} exists already, made with these settings.")
        return []
    building = temporary_name(out)
    with explain_os_errors(config.out):
        for kind in _VIDEOS:
            (building / kind).mkdir(parents=True)
        try:
            _render(config, options, building)
            (building / SETTINGS).write_text(json.dumps(_settings(config), indent=2) + "\n", encoding="utf-8")
            replace_folder(out, by=building)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
    clips, frames = counted(config.num_clips, "clip"), counted(config.num_frames, "frame")
    print(f"{config.out}: {clips} of {frames}, {config.size}.")
    return []


def _status(config: ToyConfig, options: RunOptions, pending: set[tuple[str, str]]) -> str:
    try:
        there = _already_there(config, options.overwrite)
    except V2VError as error:
        return f"stale: {error.message}"
    return "done" if there else "missing"


def _render(config: ToyConfig, options: RunOptions, folder: Path) -> None:
    tasks = [_Task(str(folder), f"toy-{i:03d}", 1000 * config.seed + i) for i in range(config.num_clips)]
    workers = local_workers(options.workers, len(tasks))
    with (
        LocalEngine[_Task, None](_clip_writer, config, workers) as engine,
        progress(len(tasks), desc="make-toy", unit="clip") as shown,
    ):
        for _ in engine.map(tasks):
            shown.update()


COMMAND = Command(
    name="make-toy",
    config=ToyConfig,
    call=make_toy,
    status=_status,
    options=("workers", "overwrite"),
)
