"""`v2v ingest`: footage, and the maps and pictures beside it, cut into clips, resized and packed into shards."""

from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import field_serializer, field_validator, model_validator

from v2vkit.artifacts.manifest import Manifest, fingerprint
from v2vkit.config import SizeSetting, StageConfig, as_absolute, as_text, extras, parse_rate, setting, settings_of
from v2vkit.estimators.registry import estimators_of, rows_of
from v2vkit.pipeline.stage import Opened, PerClip, Stage, refuse_workspaces
from v2vkit.stages.ingest_clip import MAP_KINDS, conditions_beside, ingest_clip
from v2vkit.stages.ingest_plan import plan_ingest
from v2vkit.video.label_settings import LabelMapSettings

if TYPE_CHECKING:
    from v2vkit.conditions.base import Condition
    from v2vkit.video.label_files import MapKind
    from v2vkit.video.label_reading import LabelRules
    from v2vkit.video.sources import SourceFiles


class IngestConfig(StageConfig):
    """Cut videos into clips and pack their frames into shards.

    A source is a video file, a folder of videos, a folder of numbered images, a folder of such folders, or a pattern in
    quotes. Each shot becomes one clip, or several when it is long. Frames of variable-rate video are taken as they are:
    none is doubled, and none dropped without --fps. Sources that cannot be read are named and the rest is processed.

    What a model can be conditioned on may lie beside the frames: --labels, --depth and --densepose (folders of maps)
    and --picture (a video or folder of the same frames in another look). Each is cropped and resized as its frame, and
    goes into an artifact of its own.
    """

    sources: tuple[str, ...] = setting(
        ..., "Videos, folders or patterns.", argument=True, metavar="SOURCE...", min_length=1, affects_output=False
    )
    size: SizeSetting | None = setting(None, "Size of the frames; without it they keep their own.")
    crop: Literal["none", "center", "face"] = setting(
        "none",
        "Before resizing: keep all (changes the aspect when --size has another), cut the middle to the aspect of "
        "--size, or a square around the face of each clip's first frame (the first frame in which there is one).",
    )
    face: str = setting("mediapipe", "Estimator that finds the face for --crop face.", choices=estimators_of("face"))
    face_weights: str | None = setting(None, "Shape predictor for --face dlib.", metavar="FILE", affects_output=False)
    cuts: Literal["adaptive", "content", "none"] = setting(
        "adaptive", "How shot cuts are found: against the motion around them, by a fixed threshold, or not at all."
    )
    start: float = setting(0.0, "Leave out the first seconds of every source.", ge=0, allow_inf_nan=False)
    duration: float | None = setting(None, "Use only so many seconds of every source.", gt=0, allow_inf_nan=False)
    max_frames: int | None = setting(None, "Use only so many frames of every source.", ge=1)
    fps: str | None = setting(
        None,
        "Frames per second, such as 25 or 30000/1001: of image sequences (25 without it); videos are thinned to it, "
        "keeping the frame nearest to each tick (without it, all); it is the rate of raw streams (.264, .hevc, .m2v), "
        "which have no time stamps. 29.97 counts as 30, 23.976 as 24.",
    )
    stream: int | None = setting(
        None,
        "Number of the video stream, from 0, where videos hold several; without it one that is no single picture.",
        ge=0,
        since="0.1",
    )
    keep_interlaced: bool = setting(False, "Leave interlaced video as it is instead of deinterlacing it.", since="0.1")
    lossless: bool = setting(False, "Store frames as PNG instead of JPEG (4:4:4, quality 95).")
    clip_frames: int = setting(64, "Most frames of a clip; a longer shot is split evenly.", ge=1)
    min_frames: int = setting(8, "Fewest frames of a clip; shorter shots are left out and named.", ge=1)
    shard_frames: int = setting(64, "Most frames of a shard; a longer clip has one to itself.", ge=1)
    picture: str | None = setting(
        None,
        "Video or folder of images with the same frames in another look, one for each (a simulator's for real footage, "
        "a preview for the final rendering); may have another size. With several sources, a folder with one of the "
        "same name for each.",
        metavar="VIDEO|FOLDER",
        affects_output=False,
    )
    depth: str | None = setting(
        None,
        "Folder with one depth map per frame, as --labels has them: 16-bit PNG, EXR or .npy, 0 = unknown.",
        metavar="FOLDER",
        affects_output=False,
    )
    depth_scale: float | None = setting(
        None,
        "Stored units of --depth per metre: 256 (KITTI), 1000 (millimetres), 1 (metres). A model then sees 1/d from "
        "--depth-near to --depth-far of `v2v train`. Without it depth is relative: 1/d from the 2nd to the 98th "
        "percentile of each shot.",
        gt=0,
        since="0.1",
    )
    depth_inverse: bool = setting(False, "--depth holds disparity (larger = nearer).", since="0.1")
    densepose: str | None = setting(
        None,
        "Folder with one DensePose IUV picture (PNG) per frame, as --labels has them: part index I (0 to 24) in the "
        "blue channel, U in green, V in red, as DensePose writes them.",
        metavar="FOLDER",
        affects_output=False,
    )
    label_maps: LabelMapSettings = LabelMapSettings()

    if TYPE_CHECKING:  # settings are given by their own names, whatever their group

        def __init__(self, **settings: Any) -> None: ...

    _found_anywhere = field_validator("face_weights")(as_absolute)

    @field_serializer("sources")
    def _as_text(self, sources: tuple[str, ...]) -> list[str]:
        """A name that is not UTF-8 is told of as far as it can be: manifests hold text."""
        from v2vkit.video.sources import readable

        return [readable(source) for source in sources]

    _number = field_validator("fps", mode="before")(as_text)

    @field_validator("fps")
    @classmethod
    def _rate(cls, text: str | None) -> str | None:
        return None if text is None else str(parse_rate(text))

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if 2 * self.min_frames > self.clip_frames + 1:
            raise ValueError(
                f"min_frames {self.min_frames} is more than half of clip_frames {self.clip_frames}, so that the halves "
                "of a split shot would be too short; lower --min-frames or raise --clip-frames"
            )
        if self.crop != "none" and self.size is None:
            raise ValueError(f"crop {self.crop} needs --size")
        if self.crop == "face" and self.size is not None and self.size.width != self.size.height:
            raise ValueError("crop face gives square pictures, so --size must be square")
        faces = rows_of("face")
        if self.face_weights is not None and "weights" not in faces[self.face].takes:
            others = " or ".join(f"--face {name}" for name, row in faces.items() if "weights" in row.takes)
            raise ValueError(f"the face estimator {self.face} takes no --face-weights; leave it out, or use {others}")
        if self.crop != "face" and self.face != type(self).model_fields["face"].default:
            raise ValueError(f"--face finds the face for --crop face, and crop is {self.crop}; leave it out")
        if self.depth is None and (self.depth_scale is not None or self.depth_inverse):
            raise ValueError("--depth-scale and --depth-inverse say how --depth is read, which is not given")
        return self

    @property
    def map_folders(self) -> dict["MapKind", str]:
        """Kind of map -> the folder that the user gave."""
        given: dict[MapKind, str | None] = {"depth": self.depth, "densepose": self.densepose}
        beside = {what: folder for what, folder in given.items() if folder is not None}
        return self.label_maps.folders | beside

    @property
    def found(self) -> "tuple[SourceFiles, ...]":
        """The sources, as they lie now.

        Raises:
            V2VError: as `find_sources`.
        """
        from v2vkit.video.options import VideoOptions
        from v2vkit.video.sources import find_sources

        rate = None if self.fps is None else Fraction(self.fps)
        return find_sources(self.sources, options=VideoOptions(self.stream, not self.keep_interlaced, rate))

    @property
    def label_rules(self) -> "LabelRules":
        """What maps must be like, and how they are read."""
        return replace(self.label_maps.rules, depth_scale=self.depth_scale, depth_inverse=self.depth_inverse)


def source_checksums(config: IngestConfig) -> dict[str, str]:
    """SHA-256 of every source and its maps, so that a changed file makes the artifact stale and a moved one does not.

    Raises:
        V2VError: a path does not exist, or a pattern matches nothing.
    """
    from v2vkit.video.collect import checksums
    from v2vkit.video.sources import checksum

    refuse_workspaces(config.sources)
    sums = checksums(config.found, config.map_folders, pictures=config.picture)
    if (description := config.label_rules.panoptic) is not None:
        sums["segments of the label maps"] = checksum(Path(description).parent, [Path(description).name])
    if config.face_weights is not None:
        sums["face weights"] = checksum(Path(config.face_weights).parent, [Path(config.face_weights).name])
    return sums


def side_files(config: IngestConfig) -> dict[str, tuple[str, ...]]:
    """The artifacts beside the frames that are made, and the extensions of their files."""
    from v2vkit.conditions.labels import SPARSE_LABELS, LabelsCondition
    from v2vkit.conditions.picture import PictureCondition

    made: list[type[Condition[Any]]] = [LabelsCondition] if config.label_maps.labels is not None else []
    made += [condition for condition in conditions_beside() if condition.beside in config.map_folders]
    made += [PictureCondition] if config.picture is not None else []
    files = {condition.artifact: (*condition.required, *condition.optional) for condition in made}
    if config.label_maps.sparse_labels:
        files = {SPARSE_LABELS: files.pop(LabelsCondition.artifact), **files}
    return files


def open_ingest(config: IngestConfig) -> Opened:
    """The function over clips; nothing needs to be opened for it."""
    return Opened(
        partial(
            ingest_clip,
            lossless=config.lossless,
            rules=config.label_rules,
            sources=config.found,
            roots=config.map_folders,
            pictures=config.picture,
        )
    )


def migrate(old: Manifest) -> Manifest:
    """A manifest of version 1, which knew sources by their paths, as version 2 would have written it.

    Where version 1 was given --fps for videos, which it ignored, the manifest stays what it is: frames differ now.
    """
    from v2vkit.video.collect import source_key

    fps = None if old.config.get("fps") == "25" else old.config.get("fps")
    ignored = fps is not None and any(clip.fps != fps for clip in old.clips)
    if (old.stage, old.stage_version) != ("ingest", 1) or ignored:
        return old
    inputs: dict[str, str] = {}
    number, source = 0, ""
    for key, checksum in old.inputs.items():
        kind, _, place = key.partition(" ")
        if kind == "source":
            number += 1
            path = Path(place)
            with suppress(OSError):  # it need not lie there any more
                path = path.resolve() if path.is_dir() else path
            source = key = source_key(number, path.name)
        elif kind in MAP_KINDS:
            key = f"{kind} of {source}"
        inputs[key] = checksum
    config = {**old.config, "fps": fps}
    # Not through the model: whatever the file says, an old manifest is compared and not refused.
    about = {name: extras(IngestConfig, name) for name in settings_of(IngestConfig)}
    # Settings that were added since do not count at their defaults (`fingerprinted`).
    unrelated = {name for name, extra in about.items() if extra["since"] or not extra["affects_output"]}
    counting = {name: value for name, value in config.items() if name not in unrelated}
    identity = fingerprint(old.stage, 2, counting, inputs)
    return old.model_copy(update={"stage_version": 2, "config": config, "inputs": inputs, "fingerprint": identity})


STAGE = Stage(
    name="ingest",
    config=IngestConfig,
    version=2,
    output=lambda config: "frames",
    make=PerClip(
        open_ingest,
        plan_ingest,
        side_files,
    ),
    sources=source_checksums,
    stale_hint="Give the command with --overwrite to make it again, or with the old settings to keep it. "
    "To add footage, name all sources, the old ones too, with --overwrite: what is not named is dropped.",
    migrate=migrate,
)
