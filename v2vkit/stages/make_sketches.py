"""`v2v make-sketches`: facial landmarks of every frame, drawn as curves, part labels and background edges."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Literal

from pydantic import field_validator

from v2vkit.config import StageConfig, as_absolute, setting
from v2vkit.pipeline.stage import Clip, Opened, PerClip, Sample, Stage
from v2vkit.stages.run_estimator import frames_together, look_at_frames
from v2vkit.weights import file_digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from v2vkit.estimators.base import FaceEstimator

    Image = NDArray[np.uint8]
    Landmarks = NDArray[np.float32]
    Followed = tuple[tuple[Image, object], Landmarks | None, bool]

_DRAWING_THREADS = 2


class SketchConfig(StageConfig):
    """Find face landmarks and draw them as sketches with background edges.

    For every frame: sketch.png (curves, and Canny edges outside the face), parts.png (labels of facial parts) and json
    (the 68 landmarks). Frames without a face are counted as "no face"; what is drawn there is decided by --missing:
    hold moves linearly from the last face of the clip to the next one (the last face stays where the gap is longer than
    15 frames, until 15 frames before the next; before the first face, that one is shown for at most 15 frames); blank
    draws nothing. A clip without any face is blank. The json says of every frame whether its face was found.
    """

    face: Literal["mediapipe", "dlib"] = setting(
        "mediapipe", "Estimator of the landmarks: mediapipe brings its models, dlib needs --weights."
    )
    weights: str | None = setting(
        None, "68-point shape predictor (.dat) for dlib; never downloaded.", metavar="FILE", affects_output=False
    )
    smooth: int = setting(
        3,
        "Smooth the landmarks over this many frames (Gaussian, centred, per clip); 3 halves the jitter and loses "
        "nothing, more blurs fast movements, 0 = off.",
        ge=0,
        le=99,
    )
    canny: bool = setting(True, "Draw the edges of the background outside the face.")
    missing: Literal["hold", "blank"] = setting(
        "hold", "Frames without a face: hold interpolates between the neighbouring faces, blank draws nothing."
    )

    _found_anywhere = field_validator("weights")(as_absolute)


def make_sketches(
    clip: Clip,
    *,
    estimators: "Sequence[FaceEstimator]",
    smooth: int,
    canny: bool,
    missing: Literal["hold", "blank"],
) -> Iterator[Sample]:
    """The sketch files of every frame of a clip, in order.

    Frames are decoded and looked at in some threads and drawn in others, because all of it leaves the interpreter lock;
    the result does not depend on who is first, and memory is bounded.

    Args:
        clip: frames in.
        estimators: the same face estimator once or several times, for as many threads.
        smooth, canny, missing: as in `SketchConfig`.

    Raises:
        V2VError: a frame is missing, damaged or of another size than its clip.
    """
    from v2vkit.conditions.landmarks import follow_face
    from v2vkit.engine.threads import batched, map_in_threads

    looked_at = look_at_frames(clip, estimators)
    followed = follow_face(looked_at, itemgetter(1), smooth=smooth, missing=missing)
    draw = partial(_draw, canny=canny, estimator=f"{estimators[0].name} {estimators[0].version}")
    batches = batched(enumerate(followed), frames_together(clip))
    yield from chain.from_iterable(map_in_threads(draw, batches, threads=_DRAWING_THREADS, waiting=_DRAWING_THREADS))


def _draw(batch: "list[tuple[int, Followed]]", *, canny: bool, estimator: str) -> list[Sample]:
    from v2vkit.conditions.curves import strokes_of
    from v2vkit.conditions.landmarks import landmarks_to_json
    from v2vkit.conditions.sketch import draw_sketch, encode_drawing
    from v2vkit.conditions.source import DOMAINS

    strokes = strokes_of([landmarks for _, (_, landmarks, _) in batch])
    samples = []
    for (t, ((frame, _), landmarks, found)), of_face in zip(batch, strokes, strict=True):
        sketch, parts = draw_sketch(frame, landmarks, canny=canny, strokes=of_face)
        size = (frame.shape[1], frame.shape[0])
        files = {
            "sketch.png": encode_drawing(sketch, strokes=True),
            "parts.png": encode_drawing(parts),
            "json": landmarks_to_json(landmarks, found=found, size=size, estimator=estimator),
        }
        samples.append(Sample(t, files, None if found else DOMAINS["face"].nothing))
    return samples


def open_sketches(config: SketchConfig) -> Opened:
    """Open the estimator; raises V2VError for a missing package or weights file."""
    from v2vkit.estimators.registry import chosen, open_estimators

    name, settings = chosen("face", dict(config))
    estimators = open_estimators("face", name, **settings)
    function = partial(
        make_sketches,
        estimators=estimators,
        smooth=config.smooth,
        canny=config.canny,
        missing=config.missing,
    )
    weights = {} if config.weights is None else {"weights": file_digest(config.weights)}
    return Opened(function, {"name": estimators[0].name, "version": estimators[0].version, **weights})


def weights_checksum(config: SketchConfig) -> dict[str, str]:
    """The checksum of the weights file, so that other weights under the same name make the artifact stale.

    Raises:
        V2VError: weights for an estimator that takes none, or there is no such file.
    """
    from v2vkit.estimators.registry import refuse_unused

    refuse_unused("face", config)
    return {} if config.weights is None else {"face weights": file_digest(config.weights)}


STAGE = Stage(
    name="make-sketches",
    config=SketchConfig,
    version=2,
    output=lambda config: "sketches",
    make=PerClip(open_sketches),
    inputs=lambda config: ("frames",),
    sources=weights_checksum,
)
