"""`v2v make-sketches`: facial landmarks of every frame, drawn as curves, part labels and background edges."""

from functools import partial
from typing import Literal

from pydantic import field_validator

from v2vkit.config import StageConfig, as_absolute, setting
from v2vkit.estimators.registry import chosen, estimators_of, open_estimators, refuse_unused, with_stored_weights
from v2vkit.pipeline.stage import Opened, PerClip, Stage
from v2vkit.stages.run_estimator import annotate_clip
from v2vkit.weights import file_digest


class SketchConfig(StageConfig):
    """Find face landmarks and draw them as sketches with background edges.

    For every frame: sketch.png (curves, and Canny edges outside the face), parts.png (labels of facial parts) and json
    (the 68 landmarks, and whether the face was found). Frames without a face are counted as "no face", and --missing
    decides what is drawn there: hold interpolates linearly between the last and the next face of the clip (in gaps
    longer than 15 frames the last face stays still until 15 frames before the next; the first face is shown for at most
    15 frames before it appears); blank draws nothing. A clip without any face is blank.
    """

    face: str = setting(
        "mediapipe",
        "Estimator of the landmarks: mediapipe includes its models, dlib needs a predictor file.",
        choices=estimators_of("face"),
    )
    weights: str | None = setting(
        None,
        "68-point shape predictor (.dat) for dlib; default: dlib-68 of `v2v weights`.",
        metavar="FILE",
        affects_output=False,
    )
    smooth: int = setting(
        3,
        "Smooth the landmarks over this many frames (Gaussian, centred, per clip); 3 halves the jitter without loss, "
        "higher values blur fast movements, 0 = off.",
        ge=0,
        le=99,
    )
    gaze: bool = setting(
        False, "Also find the irises (mediapipe) and draw them as a channel of their own.", since="0.1"
    )
    canny: bool = setting(True, "Draw Canny edges outside the face.")
    missing: Literal["hold", "blank"] = setting(
        "hold", "Frames without a face: hold interpolates between the neighbouring faces, blank draws nothing."
    )

    _found_anywhere = field_validator("weights")(as_absolute)


def open_sketches(config: SketchConfig) -> Opened:
    """Open the estimator; raises V2VError for a missing package or weights file."""
    from v2vkit.conditions.face import FaceCondition

    name, settings = chosen("face", dict(config))
    estimators = open_estimators("face", name, **settings)
    function = partial(
        annotate_clip,
        condition=FaceCondition(canny=config.canny, gaze=config.gaze),
        estimators=estimators,
        settings=dict(config),
        estimator=f"{estimators[0].name} {estimators[0].version}",
    )
    weights = {} if config.weights is None else {"weights": file_digest(config.weights)}
    return Opened(function, {"name": estimators[0].name, "version": estimators[0].version, **weights})


def weights_checksum(config: SketchConfig) -> dict[str, str]:
    """The checksum of the weights file, so that other weights under the same name make the artifact stale.

    Raises:
        V2VError: weights are given for an estimator that takes none, or the file does not exist.
    """
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
    resolve=lambda config, work: with_stored_weights("face", config),
)
