"""`v2v ingest`: cuts footage, with its maps and pictures, into clips, resizes them and packs them into shards."""

from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import field_serializer, field_validator, model_validator

from v2vkit.artifacts.manifest import Manifest, fingerprint
from v2vkit.config import RateSetting, SizeSetting, StageConfig, as_absolute, extras, setting, settings_of
from v2vkit.estimators.registry import estimators_of, rows_of, with_stored_weights
from v2vkit.pipeline.stage import Opened, PerClip, Stage, refuse_workspaces
from v2vkit.stages.ingest_clip import MAP_KINDS, conditions_beside, ingest_clip
from v2vkit.stages.ingest_flow import FlowMapSettings
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
    quotes. Each shot becomes one clip, or several if it is long. Frames of variable-rate video are kept as they are:
    none is duplicated, and none is dropped without --fps. Sources that cannot be read are listed and skipped.

    Maps and pictures for conditions can be given with the frames: --labels, --depth and --densepose (folders of maps)
    and --picture (a video or folder with the same frames in another look), and exact flow with --flow. Each is cropped
    and resized like its frame and stored in an artifact of its own.
    """

    sources: tuple[str, ...] = setting(
        ...,
        "Videos, folders, or patterns in quotes.",
        argument=True,
        metavar="SOURCE...",
        min_length=1,
        affects_output=False,
    )
    size: SizeSetting | None = setting(None, "Size of the frames in pixels; default: that of the source.")
    crop: Literal["none", "center", "face"] = setting(
        "none",
        "Crop before resizing: none (frames are stretched if --size has another aspect), center (the middle, with the "
        "aspect of --size), or face (a square around the first face found in each clip).",
    )
    face: str = setting("mediapipe", "Estimator that finds the face for --crop face.", choices=estimators_of("face"))
    face_weights: str | None = setting(
        None,
        "Shape predictor for --face dlib; default: dlib-68 of `v2v weights`.",
        metavar="FILE",
        affects_output=False,
    )
    cuts: Literal["adaptive", "content", "none"] = setting(
        "adaptive",
        "How shot cuts are found: adaptive (relative to the motion nearby), content (fixed threshold), or none.",
    )
    start: float = setting(0.0, "Skip this many seconds at the start of every source.", ge=0, allow_inf_nan=False)
    duration: float | None = setting(None, "Use at most this many seconds of every source.", gt=0, allow_inf_nan=False)
    max_frames: int | None = setting(None, "Use at most this many frames of every source.", ge=1)
    fps: RateSetting | None = setting(
        None,
        "Frames per second, such as 25 or 30000/1001: the rate of image sequences and of raw streams (.264, .hevc, "
        ".m2v), which have no time stamps (default: 25); videos are subsampled to it, keeping the frame nearest to "
        "each tick (default: all frames). 29.97 counts as 30, 23.976 as 24.",
    )
    stream: int | None = setting(
        None,
        "Number of the video stream, from 0, in files with several; default: one that is not a still picture.",
        ge=0,
        since="0.1",
    )
    keep_interlaced: bool = setting(False, "Do not deinterlace interlaced video.", since="0.1")
    lossless: bool = setting(False, "Store frames as PNG instead of JPEG (4:4:4, quality 95).")
    clip_frames: int = setting(64, "Maximum frames of a clip; a longer shot is split evenly.", ge=1)
    min_frames: int = setting(8, "Minimum frames of a clip; shorter shots are left out and listed.", ge=1)
    shard_frames: int = setting(64, "Maximum frames of a shard; a longer clip has its own shard.", ge=1)
    picture: str | None = setting(
        None,
        "Video or folder of images with the same frames in another look, one per frame (for example from a simulator); "
        "may have another size. With several sources, a folder that holds one per source, with its name.",
        metavar="VIDEO|FOLDER",
        affects_output=False,
    )
    depth: str | None = setting(
        None,
        "Folder with one depth map per frame, arranged like --labels: 16-bit PNG, EXR or .npy, 0 = unknown.",
        metavar="FOLDER",
        affects_output=False,
    )
    depth_scale: float | None = setting(
        None,
        "Stored units of --depth per metre: 256 (KITTI), 1000 (millimetres), 1 (metres). The model's input is then 1/d "
        "scaled from --depth-near to --depth-far of `v2v train`. Default: relative depth, 1/d scaled from the 2nd to "
        "the 98th percentile of each shot.",
        gt=0,
        since="0.1",
    )
    depth_inverse: bool = setting(False, "--depth holds disparity (larger = nearer).", since="0.1")
    densepose: str | None = setting(
        None,
        "Folder with one DensePose IUV picture (PNG) per frame, arranged like --labels: part index I (0 to 24) in the "
        "blue channel, U in green, V in red, as DensePose writes them.",
        metavar="FOLDER",
        affects_output=False,
    )
    label_maps: LabelMapSettings = LabelMapSettings()
    flow_maps: FlowMapSettings = FlowMapSettings()

    if TYPE_CHECKING:  # settings are given by their own names, whatever their group

        def __init__(self, **settings: Any) -> None: ...

    _found_anywhere = field_validator("face_weights")(as_absolute)

    @field_serializer("sources")
    def _as_text(self, sources: tuple[str, ...]) -> list[str]:
        """Source names as valid text, with invalid UTF-8 replaced: manifests hold text."""
        from v2vkit.video.sources import readable

        return [readable(source) for source in sources]

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
            raise ValueError(f"--face belongs to --crop face, and crop is {self.crop}; leave it out")
        if self.label_maps.labels is None and (self.label_maps.num_labels is not None or self.label_maps.allow_palette):
            raise ValueError("--num-labels and --allow-palette are about --labels, which is not given")
        if self.depth is None and (self.depth_scale is not None or self.depth_inverse):
            raise ValueError("--depth-scale and --depth-inverse belong to --depth, which is not given")
        return self

    @property
    def map_folders(self) -> dict["MapKind", str]:
        """Kind of map -> the user's folder."""
        given: dict[MapKind, str | None] = {"depth": self.depth, "densepose": self.densepose}
        beside = {what: folder for what, folder in given.items() if folder is not None}
        return self.label_maps.folders | beside

    @property
    def every_folder(self) -> dict["MapKind", str]:
        """`map_folders`, and that of the flow."""
        return self.map_folders | ({} if self.flow_maps.flow is None else {"flow": self.flow_maps.flow})

    def find_sources(self) -> "tuple[SourceFiles, ...]":
        """The sources at their current paths.

        Raises:
            V2VError: as `find_sources`.
        """
        from v2vkit.video.options import VideoOptions
        from v2vkit.video.sources import find_sources

        return find_sources(self.sources, options=VideoOptions(self.stream, not self.keep_interlaced, self.fps))

    @property
    def label_rules(self) -> "LabelRules":
        """How maps are checked and read."""
        return replace(self.label_maps.rules, depth_scale=self.depth_scale, depth_inverse=self.depth_inverse)


def source_checksums(config: IngestConfig) -> dict[str, str]:
    """SHA-256 of every source and its maps, so that a changed file makes the artifact stale and a moved one does not.

    Raises:
        V2VError: a path does not exist, or a pattern matches nothing.
    """
    from v2vkit.video.collect import checksums
    from v2vkit.video.sources import checksum

    refuse_workspaces(config.sources)
    sums = checksums(config.find_sources(), config.every_folder, pictures=config.picture)
    if (description := config.label_rules.panoptic) is not None:
        sums["segments of the label maps"] = checksum(Path(description).parent, [Path(description).name])
    if config.face_weights is not None:
        sums["face weights"] = checksum(Path(config.face_weights).parent, [Path(config.face_weights).name])
    return sums


def side_files(config: IngestConfig) -> dict[str, tuple[str, ...]]:
    """The side outputs (maps and pictures): artifact -> extensions of its files."""
    from v2vkit.conditions.labels import SPARSE_LABELS, LabelsCondition
    from v2vkit.conditions.picture import PictureCondition

    made: list[type[Condition[Any]]] = [LabelsCondition] if config.label_maps.labels is not None else []
    made += [condition for condition in conditions_beside() if condition.beside in config.map_folders]
    made += [PictureCondition] if config.picture is not None else []
    files = {condition.artifact: (*condition.required, *condition.optional) for condition in made}
    if config.flow_maps.flow is not None:
        files["flow"] = tuple(f"flow{k}.png" for k in config.flow_maps.strides)
    if config.label_maps.sparse_labels:
        files = {SPARSE_LABELS: files.pop(LabelsCondition.artifact), **files}
    return files


def open_ingest(config: IngestConfig) -> Opened:
    """The function over clips; needs no estimator."""
    return Opened(
        partial(
            ingest_clip,
            lossless=config.lossless,
            rules=config.label_rules,
            sources=config.find_sources(),
            roots=config.map_folders,
            pictures=config.picture,
            flow=config.flow_maps,
        )
    )


def migrate(old: Manifest) -> Manifest:
    """A manifest of version 1, which identified sources by path, as version 2 would have written it.

    Unchanged where version 1 was given --fps for videos: it ignored the setting, so its frames differ from today's.
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
            with suppress(OSError):  # it may have been moved
                path = path.resolve() if path.is_dir() else path
            source = key = source_key(number, path.name)
        elif kind in MAP_KINDS:
            key = f"{kind} of {source}"
        inputs[key] = checksum
    config = {**old.config, "fps": fps}
    # Not validated by the model: an old manifest is compared, not refused.
    about = {name: extras(IngestConfig, name) for name in settings_of(IngestConfig)}
    # Settings that were added later do not count at their defaults (`fingerprinted`).
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
    resolve=lambda config, work: (
        with_stored_weights("face", config, key="face_weights") if config.crop == "face" else config
    ),
    stale_hint="Add --overwrite to remake it, or use the old settings to keep it. To add footage, name all sources, "
    "old and new, with --overwrite: sources that are not named are dropped.",
    migrate=migrate,
)
