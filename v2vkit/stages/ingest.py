"""`v2v ingest`: videos and image sequences cut into clips, resized and packed into shards; label maps beside them."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import field_serializer, field_validator, model_validator

from v2vkit.artifacts.manifest import Manifest, fingerprint
from v2vkit.config import SizeSetting, StageConfig, as_absolute, as_text, extras, parse_rate, setting
from v2vkit.errors import V2VError
from v2vkit.estimators.registry import estimators_of, rows_of
from v2vkit.pipeline.stage import Clip, Opened, PerClip, Sample, Stage, refuse_workspaces
from v2vkit.stages.ingest_plan import plan_ingest

if TYPE_CHECKING:
    from v2vkit.video.label_files import LabelRules, MapKind
    from v2vkit.video.sources import SourceFiles

_MAP_KINDS: tuple["MapKind", ...] = ("labels", "instances")


class IngestConfig(StageConfig):
    """Cut videos into clips and pack their frames into shards.

    A source is a video file, a folder of videos, a folder of numbered images, a folder of such folders, or a pattern in
    quotes. Each shot becomes one clip, or several when it is long. Frames of variable-rate video are taken as they are:
    none is doubled, and none dropped without --fps. Sources that cannot be read are named and the rest is processed.
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
    labels: str | None = setting(
        None,
        "Folder with one label map (PNG of ids, 255 = ignore) per frame; with several sources, one sub-folder of "
        "that name for each (with one source, too, where there is one).",
        metavar="FOLDER",
        affects_output=False,
    )
    instances: str | None = setting(
        None, "Folder with instance maps (16-bit PNG), likewise.", metavar="FOLDER", affects_output=False
    )
    num_labels: int | None = setting(None, "Number of labels; larger ids are refused.", ge=1, le=255)
    allow_palette: bool = setting(False, "Take the stored numbers of palette PNGs as label ids.")

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
        if self.instances is not None and self.labels is None:
            raise ValueError("--instances needs --labels")
        return self

    @property
    def map_folders(self) -> dict["MapKind", str]:
        """Kind of map -> the folder that the user gave."""
        folders: dict[MapKind, str | None] = {"labels": self.labels, "instances": self.instances}
        return {what: folder for what, folder in folders.items() if folder is not None}

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
        """What label maps must be like."""
        from v2vkit.video.label_files import LabelRules

        return LabelRules(self.num_labels, self.allow_palette)


def source_checksums(config: IngestConfig) -> dict[str, str]:
    """SHA-256 of every source and its maps, so that a changed file makes the artifact stale and a moved one does not.

    Raises:
        V2VError: a path does not exist, or a pattern matches nothing.
    """
    from v2vkit.video.collect import checksums
    from v2vkit.video.sources import checksum

    refuse_workspaces(config.sources)
    sums = checksums(config.found, config.map_folders)
    if config.face_weights is not None:
        sums["face weights"] = checksum(Path(config.face_weights).parent, [Path(config.face_weights).name])
    return sums


def ingest_clip(
    clip: Clip, *, lossless: bool, rules: "LabelRules", sources: tuple["SourceFiles", ...], roots: dict["MapKind", str]
) -> Iterator[Sample]:
    """Frames and maps of one clip.

    Args:
        sources: as they lie now: since the plan was made, they may have been moved, or be named from another folder.
        roots: kind of map -> folder that the user gave, likewise.

    Yields:
        one sample per frame in order, with `jpg` or `png`, and `label.png` and `inst.png` where there are maps.

    Raises:
        V2VError: the source has changed since the plan was made.
    """
    from v2vkit.artifacts.images import encode_jpeg, encode_png
    from v2vkit.conditions.labels import LabelMap, LabelsCondition
    from v2vkit.video.collect import map_folder
    from v2vkit.video.footage import read_frames
    from v2vkit.video.framing import Window, reframe, reframe_ids
    from v2vkit.video.label_files import read_map
    from v2vkit.video.thinning import only

    info, plan = clip.info, clip.info.source
    found = sources[plan["number"] - 1 if "number" in plan else 0]
    place = found.path if "number" in plan else plan["file"]  # version 1 kept no number
    source = replace(found, path=place, images=tuple(plan.get("images", ())))
    folders = {what: map_folder(source, root, several=len(sources) > 1) for what, root in roots.items()}
    start, stop = (0, len(source.images)) if source.images else (plan["start"], plan["stop"])
    every = read_frames(source, start, stop, fps=Fraction(info.fps), threads=False, start_pts=plan.get("start_pts"))
    frames = only(every, plan.get("frames"))
    window, size = Window(*plan["crop"]), (info.width, info.height)
    count = 0
    for t, frame in enumerate(frames):
        image = reframe(frame.image, window, size)
        files = {"png": encode_png(image)} if lossless else {"jpg": encode_jpeg(image)}
        ids = {
            what: reframe_ids(read_map(what, Path(folders[what]) / plan[what]["files"][t], rules), window, size)
            for what in _MAP_KINDS
            if what in plan
        }
        if "labels" in ids:
            files |= LabelsCondition.encode(LabelMap(ids["labels"], ids.get("instances")))
        yield Sample(t, files)
        count += 1
    if count != info.num_frames:
        raise V2VError(
            f"{place} gave {count} frames instead of {info.num_frames} for {info.name}: it has changed.",
            "Give the command again with --overwrite when the file is complete.",
        )


def label_files(config: IngestConfig) -> dict[str, tuple[str, ...]]:
    """The artifact that label maps go into, and the extensions of its files; none where there are no maps."""
    from v2vkit.conditions.labels import LabelsCondition

    found = {LabelsCondition.artifact: (*LabelsCondition.required, *LabelsCondition.optional)}
    return found if config.labels is not None else {}


def open_ingest(config: IngestConfig) -> Opened:
    """The function over clips; nothing needs to be opened for it."""
    return Opened(
        partial(
            ingest_clip,
            lossless=config.lossless,
            rules=config.label_rules,
            sources=config.found,
            roots=config.map_folders,
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
        elif kind in _MAP_KINDS:
            key = f"{kind} of {source}"
        inputs[key] = checksum
    config = {**old.config, "fps": fps}
    # Not through the model: whatever the file says, an old manifest is compared and not refused.
    every = {name: extras(IngestConfig, name) for name in IngestConfig.model_fields}
    unrelated = {name for name, extra in every.items() if extra["since"] or not extra["affects_output"]}
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
        label_files,
    ),
    sources=source_checksums,
    stale_hint="Give the command with --overwrite to make it again, or with the old settings to keep it. "
    "To add footage, name all sources, the old ones too, with --overwrite: what is not named is dropped.",
    migrate=migrate,
)
