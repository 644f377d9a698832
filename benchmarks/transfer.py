"""Another driver: how well the output shows the landmarks or key points that the network was asked for.

    python -m benchmarks.transfer WORK DRIVER [--checkpoint NAME] [--start 0] [--max-frames 100] [--columns 8]
        [--out FOLDER]

A face or pose model renders the video DRIVER as it is, with --align, with --retarget and with both. For each setting:
landmark or pose error of the output against the landmarks that the sketch or skeleton shows (after retargeting), frames
in which no face or person is found, and for faces the iris error against the driver's frame. FOLDER gets a contact
sheet of each setting: driver, condition, output.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.find_model import find_model
from v2vkit.checkpoint.model_file import ModelInfo, load_model
from v2vkit.conditions.conditioning import to_unit
from v2vkit.conditions.face import FaceCondition
from v2vkit.conditions.proportions import retargeting
from v2vkit.estimators.registry import chosen, open_estimator
from v2vkit.evaluation.metrics.contract import MISSED, OURS, Batch
from v2vkit.evaluation.metrics.registry import open_metric, rows
from v2vkit.evaluation.metrics.setup import Setup
from v2vkit.evaluation.sheet import Sheet
from v2vkit.inference.conditioned import ConditionedFrame
from v2vkit.inference.framing import crop_shots, open_locator
from v2vkit.inference.session import Session
from v2vkit.inference.sources import open_source
from v2vkit.inference.transfer import find_proportions
from v2vkit.video.cuts import number_shots
from v2vkit.video.stream import image_of

Image = NDArray[np.uint8]
SETTINGS = {"as it is": (False, False), "--align": (True, False), "--retarget": (False, True), "both": (True, True)}
"""Name -> align, retarget."""


def annotated(
    info: ModelInfo, work: Folder, driver: str, *, align: bool, retarget: bool, num_frames: int, start: float = 0
) -> Iterator[tuple[Image, Any]]:
    """Frames of a driver as the model sees them, and their annotations, of its first shot."""
    (condition,), (origin,) = info.conditioning.conditions, info.origins
    source = open_source(driver, info, start=start)
    shots = number_shots(((frame, image_of(frame)) for frame in source.frames()), method="none", fps=source.fps)
    frames = crop_shots(source, (frame for frame, _ in shots), info, open_locator(info, align=align))
    assert condition.task is not None
    name, settings = chosen(condition.task, origin.settings)
    annotate: Callable[..., Iterator[tuple[Image, Any]]] = partial(
        condition.annotate,
        estimator=open_estimator(condition.task, name, **settings),
        settings=origin.settings,
        size=(info.width, info.height),
    )
    if retarget:
        annotate = retargeting(annotate, condition, find_proportions(info, work), keep_place=False)
    return annotate(image_of(frame) for frame in islice(frames, num_frames))


def measure(
    session: Session, info: ModelInfo, driver: list[tuple[Image, Any]], columns: int
) -> tuple[dict[str, list[Any]], Image]:
    """The values of every frame by metric, and the contact sheet."""
    (condition,), (origin,) = info.conditioning.conditions, info.origins
    drawn = [
        condition.draw(of, image)
        for (image, _), of in zip(driver, condition.prepare([a for _, a in driver]), strict=True)
    ]
    maps = [to_unit(condition.channels(of, image)) for of, (image, _) in zip(drawn, driver, strict=True)]
    images = [image for _, image in session.render(ConditionedFrame(s) for s in maps)]
    name, settings = chosen(condition.task or "", origin.settings)
    face = isinstance(condition, FaceCondition)
    estimator = open_estimator(condition.task or "", name, **settings | ({"gaze": True} if face else {}))
    setup = Setup(info.height, info.width, {}, **{condition.task or "": estimator})
    expected = [(of.points if face else of.persons) if of.found else None for of in drawn]
    batch = Batch(
        OURS,
        "driver",
        "driver",
        range(len(images)),
        images,
        [image for image, _ in driver],
        beside={"landmarks" if face else "people": expected},
    )
    names = ("landmark_error", "iris_error") if face else ("pose_error",)
    values = {row.name: list(open_metric(row, setup).update(batch)) for row in rows(names)}
    sheet = Sheet(len(images), columns)
    for row in ([image for image, _ in driver], map(condition.preview, maps), images):
        list(sheet.keep(iter(row)))
    return values, sheet.picture()


def main() -> None:
    """Renders and measures every setting."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work")
    parser.add_argument("driver")
    parser.add_argument("--checkpoint", help="default: the finest")
    parser.add_argument("--start", type=float, default=0, help="seconds of the driver that are skipped")
    parser.add_argument("--max-frames", type=int, default=100)
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--out", default=".")
    given = parser.parse_args()
    work = Folder(given.work)
    generator, info = load_model(find_model(work, given.checkpoint))
    if info.conditioning.with_subject is None or len(info.conditioning.conditions) > 1:
        parser.error("the model is not conditioned on a face or on poses alone")
    part = {"num_frames": given.max_frames, "start": given.start}
    for name, (align, retarget) in SETTINGS.items():
        driver = [*annotated(info, work, given.driver, align=align, retarget=retarget, **part)]
        session = Session(generator, downsamplings=info.downsamplings, precision="auto")
        values, picture = measure(session, info, driver, given.columns)
        for metric, of in values.items():
            found = [value for value in of if isinstance(value, float)]
            mean = f"{np.mean(found):.4f}" if found else "-"
            print(f"{name:12} {metric:15} {mean:>8}  missed {of.count(MISSED)} of {len(of)}", flush=True)
        path = Path(given.out, f"{Path(given.driver).stem}-{name.strip('-').replace(' ', '-')}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture[..., ::-1])


if __name__ == "__main__":
    main()
