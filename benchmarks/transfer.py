"""Another driver: how well the output shows the landmarks or key points that the network was asked for.

    python -m benchmarks.transfer WORK DRIVER [--checkpoint NAME] [--start 0] [--max-frames 100] [--columns 8]
        [--out FOLDER]

A face or pose model renders the video DRIVER as it is, with --align, with --retarget and with both. For each setting:
landmark or pose error of the output against the landmarks that the sketch or skeleton shows (after retargeting), frames
in which no face or person is found, for faces the iris error against the driver's frame, and for poses the recall.
FOLDER gets a contact sheet of each setting: driver, condition, output.

For faces also the identity, if the weights dlib-face-id are in the store: the median of the distances between the
embedding of a frame's face and those of `NUM_REFERENCES` frames of WORK, spread evenly over its footage. A median of
distances between single frames can be held against dlib's threshold of 0.6, which a distance from a mean embedding
cannot. `identity` is of the output; `driver's identity` of the driver's frames, where a rendering must get away from;
`target's frames` of the reference frames themselves, each against the others: what a perfect output reaches.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.find_model import find_model
from v2vkit.checkpoint.model_file import ModelInfo, load_model
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.conditioning import to_unit
from v2vkit.conditions.face import FaceCondition
from v2vkit.conditions.proportions import retargeting
from v2vkit.errors import V2VError
from v2vkit.estimators.registry import chosen, open_estimator
from v2vkit.evaluation.choose import Available, choose
from v2vkit.evaluation.metrics.contract import MISSED, OURS, Batch, Value
from v2vkit.evaluation.metrics.identity_distance import Embed, embedding, identity_distance, open_identity
from v2vkit.evaluation.metrics.registry import open_metric, rows
from v2vkit.evaluation.metrics.setup import Setup
from v2vkit.evaluation.sheet import Sheet
from v2vkit.inference.conditioned import ConditionedFrame
from v2vkit.inference.estimated_maps import open_face
from v2vkit.inference.framing import crop_shots, open_locator
from v2vkit.inference.session import Session
from v2vkit.inference.sources import open_source
from v2vkit.inference.transfer import find_proportions
from v2vkit.pipeline.stage import load_inputs
from v2vkit.video.cuts import number_shots
from v2vkit.video.stream import image_of

SETTINGS = {"as it is": (False, False), "--align": (True, False), "--retarget": (False, True), "both": (True, True)}
"""Name -> align, retarget."""
NUM_REFERENCES = 32
"""Frames of the target that identities are measured against, at most."""


@dataclass(frozen=True, eq=False)
class Target:
    """The person whom the model shows.

    Attributes:
        embed: frames -> embeddings of their faces.
        references: embeddings of the target's own frames; None = no face.
    """

    embed: Embed
    references: Sequence[NDArray[np.float32] | None]

    def own(self) -> list[Value]:
        """The identity of each reference frame against the others."""
        return [_identity(of, [other for other in self.references if other is not of]) for of in self.references]

    def identities(self, images: Sequence[Image]) -> list[Value]:
        """The identity of frames against the reference frames."""
        return [_identity(of, self.references) for of in self.embed(images)]


def _identity(found: NDArray[np.float32] | None, references: Sequence[NDArray[np.float32] | None]) -> Value:
    distances = [identity_distance(found, of) for of in references if found is not None and of is not None]
    return float(np.median(distances)) if distances else MISSED


def open_target(info: ModelInfo, work: Folder) -> Target:
    """The target of a face model, by frames of its workspace.

    Raises:
        V2VError: dlib, the weights or the workspace's frames are not there, or fewer than two of these show a face.
    """
    choice = choose(("identity_distance",), Available({}, info.height, info.width, (1,)))
    setup = Setup(info.height, info.width, dict(choice.weights))
    embed = embedding(open_face(info.origins[0].settings), open_identity(setup))
    reader = ClipReader(work, load_inputs(work, ("frames",)))
    places = [(clip.name, t) for clip in reader.clips for t in range(clip.num_frames)]
    spread = np.linspace(0, len(places), NUM_REFERENCES, endpoint=False).astype(int)
    references = embed([reader.frame(*places[number]) for number in np.unique(spread) if places])
    if sum(of is not None for of in references) < 2:
        raise V2VError(
            "subject-missing",
            f"{work.url} shows a face in fewer than two of {len(references)} frames.",
            "Ingest others.",
        )
    return Target(embed, references)


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
    session: Session, info: ModelInfo, driver: list[tuple[Image, Any]], columns: int, target: Target | None = None
) -> tuple[dict[str, list[Value]], Image]:
    """The values of every frame by metric, and the contact sheet; identities where a target is given."""
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
    names = ("landmark_error", "iris_error") if face else ("pose_error", "pose_recall")
    values = {row.name: list(open_metric(row, setup).update(batch)) for row in rows(names)}
    if target is not None:
        values["identity"] = target.identities(images)
        values["driver's identity"] = target.identities([image for image, _ in driver])
    sheet = Sheet(len(images), columns)
    for row in ([image for image, _ in driver], map(condition.preview, maps), images):
        list(sheet.keep(iter(row)))
    return values, sheet.picture()


def line(setting: str, metric: str, values: Sequence[Value]) -> str:
    """The mean of a metric over the frames that have a value, and how many were missed; a dash where none has one."""
    found = [value for value in values if isinstance(value, float)]
    mean = f"{np.mean(found):.4f}" if found else "-"
    return f"{setting:15} {metric:17} {mean:>8}  missed {values.count(MISSED)} of {len(values)}"


def find_target(info: ModelInfo, work: Folder) -> Target | None:
    """The target, after a line on its own identity; None, after a line that says why, where there is none to measure.

    Models that show no face have none, and no line.
    """
    if info.conditioning.of_task("face") is None:
        return None
    try:
        target = open_target(info, work)
    except V2VError as error:
        print(f"{'all':15} {'identity':17} {'-':>8}  {error}", flush=True)
        return None
    print(line("target's frames", "identity", target.own()), flush=True)
    return target


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
    target = find_target(info, work)
    for name, (align, retarget) in SETTINGS.items():
        driver = [*annotated(info, work, given.driver, align=align, retarget=retarget, **part)]
        session = Session(generator, downsamplings=info.downsamplings, precision="auto")
        values, picture = measure(session, info, driver, given.columns, target)
        for metric, of in values.items():
            print(line(name, metric, of), flush=True)
        path = Path(given.out, f"{Path(given.driver).stem}-{name.strip('-').replace(' ', '-')}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture[..., ::-1])


if __name__ == "__main__":
    main()
