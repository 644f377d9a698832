"""`v2v estimate-pose`: key points of the people in every frame, drawn as coloured skeletons."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import field_validator

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import Manifest
from v2vkit.config import StageConfig, as_absolute, setting
from v2vkit.engine.devices import DEVICES
from v2vkit.errors import V2VError
from v2vkit.estimators.keypoints import layouts
from v2vkit.estimators.registry import chosen, estimators_of, open_estimators, refuse_unused
from v2vkit.pipeline.stage import Clip, Opened, PerClip, Stage
from v2vkit.stages.run_estimator import annotate_clip
from v2vkit.weights import file_digest

if TYPE_CHECKING:
    from v2vkit.conditions.people import Persons


class PoseConfig(StageConfig):
    """Find people's key points and draw them as coloured skeletons.

    For every frame: skeleton.png (the drawing) and json (the key points, in OpenPose's format with the 25 points of
    BODY_25). Frames without a person are counted as "no person", and --missing decides what is drawn there: hold
    interpolates linearly between the last and the next people of the clip (in gaps longer than 15 frames they stay
    still until 15 frames before the next; the first people are shown for at most 15 frames before they appear); blank
    draws nothing. A clip without people is blank. --hands and --face add fingers and the lines of the face. With
    --openpose the key points are read from OpenPose's files: bodies, and faces and hands where the files have them.
    """

    pose: str = setting(
        "mediapipe",
        "Estimator of the key points: mediapipe includes its model and finds one person; yolo finds several, without "
        "feet, and needs --weights and the extra yolo (licence: AGPL).",
        choices=estimators_of("pose"),
    )
    weights: str | None = setting(
        None,
        "Weights for yolo (.pt, task pose, COCO's 17 points); never downloaded.",
        metavar="FILE",
        affects_output=False,
    )
    device: str = setting("cpu", f"Device of yolo: {DEVICES}.", affects_output=False)
    hands: bool = setting(False, "Also find the 21 points of each hand (mediapipe).", since="0.1")
    face: bool = setting(False, "Also find the 70 points of the face (mediapipe).", since="0.1")
    openpose: str | None = setting(
        None,
        "Read the key points from OpenPose's JSON files, one per frame of the source: in FOLDER, or, with several "
        "sources, in FOLDER/NAME with each source's name without its ending. Files match images by name and frames of "
        "videos by number; coordinates are pixels of the source video.",
        metavar="FOLDER",
        affects_output=False,
    )
    keypoints: str = setting(
        "body25",
        "Layout of the body points in the files of --openpose: BODY_25 (OpenPose's default), BODY_25B, COCO with 17 or "
        "18 points, Halpe with 26; points that a layout lacks (feet) are missing.",
        choices=layouts,
        since="0.1",
    )
    min_score: float | None = setting(
        None,
        "Points with a lower score are missing; default: 0.2, at which points flicker least (0 with --openpose).",
        ge=0,
        le=1,
    )
    smooth: int = setting(
        3,
        "Smooth the key points over this many frames (Gaussian, centred, per clip and person); higher values blur fast "
        "movements, 0 = off.",
        ge=0,
        le=99,
    )
    stroke: int = setting(
        0,
        "Half the width of a body's strokes in pixels (hands and faces: a third of it); 0 = in proportion "
        "to the height of the frames, 3 at 512 pixels, at least 1.",
        ge=0,
        le=64,
    )
    missing: Literal["hold", "blank"] = setting(
        "hold", "Frames without a person: hold interpolates between the neighbouring people, blank draws nothing."
    )

    _found_anywhere = field_validator("weights")(as_absolute)


def _in_files(clip: Clip, *, folder: str, layout: str) -> "Iterator[tuple[None, Persons]]":
    """The people in OpenPose's files of every frame of a clip."""
    from v2vkit.conditions.openpose_files import pose_files, read_people

    return ((None, read_people(file, clip.info, layout=layout)) for file in pose_files(folder, clip.info))


def _refuse_unused(config: PoseConfig) -> None:
    """Check that no setting of an estimator is ignored.

    Raises:
        V2VError: a setting belongs to another estimator than the chosen one, or --openpose replaces the estimator.
    """
    if config.openpose is None:
        if config.keypoints != PoseConfig.model_fields["keypoints"].default:
            raise V2VError(
                "setting-unused",
                "--keypoints is the layout of --openpose's files, and --openpose is not given.",
                "Leave it out, or name the files with --openpose FOLDER.",
            )
        refuse_unused("pose", config)
        return
    for key in ("pose", "weights", "device", "hands", "face"):
        if getattr(config, key) != PoseConfig.model_fields[key].default:
            raise V2VError(
                "setting-unused",
                f"--{key} is for an estimator, and --openpose replaces it.",
                f"Leave out --{key}, or --openpose.",
            )


def open_poses(config: PoseConfig) -> Opened:
    """Open the estimator; raises V2VError for a missing package or weights file."""
    from v2vkit.conditions.pose import PoseCondition

    name, settings = chosen("pose", dict(config))
    estimators = [] if config.openpose is not None else open_estimators("pose", name, **settings)
    name, version = (estimators[0].name, estimators[0].version) if estimators else ("openpose", "files")
    function = partial(
        annotate_clip,
        condition=PoseCondition(stroke=config.stroke),
        estimators=estimators,
        settings=dict(config),
        estimator=f"{name} {version}",
        read=None if config.openpose is None else partial(_in_files, folder=config.openpose, layout=config.keypoints),
    )
    return Opened(function, {"name": name, "version": version, **_weights(config)})


def _weights(config: PoseConfig) -> dict[str, str]:
    """The checksum of the weights; empty without weights."""
    return {} if config.weights is None else {"weights": file_digest(config.weights)}


def files_checksum(config: PoseConfig) -> dict[str, str]:
    """Checksums of OpenPose's files and of the weights, so that changed files make the artifact stale.

    Raises:
        V2VError: a setting has no effect, or a file cannot be read.
    """
    from v2vkit.conditions.openpose_files import files_digest

    _refuse_unused(config)
    files = {} if config.openpose is None else {"openpose files": files_digest(config.openpose)}
    return files | _weights(config)


def _check(config: PoseConfig, manifests: dict[str, Manifest], work: Folder) -> dict[str, str]:
    """Check that there are key points for every frame of every clip; gives notes about them for the user."""
    from v2vkit.conditions.openpose_files import check_files

    if config.openpose is None:
        return {}
    frames = manifests["frames"]
    parts = ("start", "duration", "max_frames", "fps")
    whole = not any(frames.config.get(name) for name in parts) and frames.config.get("crop") != "face"
    return check_files(config.openpose, frames.clips, whole=whole, layout=config.keypoints)


STAGE = Stage(
    name="estimate-pose",
    config=PoseConfig,
    version=1,
    output=lambda config: "poses",
    make=PerClip(open_poses),
    inputs=lambda config: ("frames",),
    sources=files_checksum,
    check=_check,
)
