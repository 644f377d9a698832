"""`v2v ingest`: videos and image sequences cut into clips, resized and packed into shards; label maps beside them."""

import sys
from collections.abc import Iterator
from dataclasses import astuple, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import field_serializer, field_validator, model_validator

from v2vkit.artifacts.manifest import ClipInfo
from v2vkit.config import SizeSetting, StageConfig, parse_rate, setting
from v2vkit.errors import V2VError
from v2vkit.stages.base import Clip, Opened, Plan, Sample, Stage, refuse_workspaces

if TYPE_CHECKING:
    from v2vkit.estimators.base import FaceEstimator
    from v2vkit.video.collect import Material
    from v2vkit.video.label_files import LabelRules, MapKind
    from v2vkit.video.limits import Limits
    from v2vkit.video.shots import Piece, Shots

_EXTENSIONS: dict["MapKind", str] = {"labels": "label.png", "instances": "inst.png"}
_EVERYTHING = "Give videos that play from beginning to end, or folders of numbered images."


class IngestConfig(StageConfig):
    """Cut videos into clips and pack their frames into shards.

    A source is a video file, a folder of videos, a folder of numbered images, a folder of such folders, or a pattern in
    quotes. Each shot becomes one clip, or several when it is long. Frames of variable-rate video are taken as they are:
    none is dropped or doubled. Sources that cannot be read are named and the rest is processed.
    """

    sources: tuple[str, ...] = setting(
        ..., "Videos, folders or patterns.", argument=True, metavar="SOURCE...", min_length=1
    )
    size: SizeSetting | None = setting(None, "Size of the frames; without it they keep their own.")
    crop: Literal["none", "center", "face"] = setting(
        "none",
        "Before resizing: keep all (changes the aspect when --size has another), cut the middle to the aspect of "
        "--size, or a square around the face of each clip's first frame (the first frame in which there is one).",
    )
    face: Literal["mediapipe", "dlib"] = setting("mediapipe", "Estimator that finds the face for --crop face.")
    face_weights: str | None = setting(None, "Shape predictor for --face dlib.", metavar="FILE", neutral=True)
    cuts: Literal["adaptive", "content", "none"] = setting(
        "adaptive", "How shot cuts are found: against the motion around them, by a fixed threshold, or not at all."
    )
    start: float = setting(0.0, "Leave out the first seconds of every source.", ge=0, allow_inf_nan=False)
    duration: float | None = setting(None, "Use only so many seconds of every source.", gt=0, allow_inf_nan=False)
    max_frames: int | None = setting(None, "Use only so many frames of every source.", ge=1)
    fps: str = setting("25", "Frame rate of image sequences, such as 25 or 30000/1001.")
    lossless: bool = setting(False, "Store frames as PNG instead of JPEG (4:4:4, quality 95).")
    clip_frames: int = setting(64, "Most frames of a clip; a longer shot is split evenly.", ge=1)
    min_frames: int = setting(8, "Fewest frames of a clip; shorter shots are left out and named.", ge=1)
    shard_frames: int = setting(64, "Most frames of a shard; a longer clip has one to itself.", ge=1)
    labels: str | None = setting(
        None,
        "Folder with one label map (PNG of ids, 255 = ignore) per frame; with several sources, one sub-folder of "
        "that name for each (with one source, too, where there is one).",
        metavar="FOLDER",
    )
    instances: str | None = setting(None, "Folder with instance maps (16-bit PNG), likewise.", metavar="FOLDER")
    num_labels: int | None = setting(None, "Number of labels; larger ids are refused.", ge=1, le=255)
    allow_palette: bool = setting(False, "Take the stored numbers of palette PNGs as label ids.")

    @field_serializer("sources")
    def _as_text(self, sources: tuple[str, ...]) -> list[str]:
        """A name that is not UTF-8 is told of as far as it can be: manifests hold text."""
        from v2vkit.video.sources import readable

        return [readable(source) for source in sources]

    @field_validator("fps")
    @classmethod
    def _rate(cls, text: str) -> str:
        return str(parse_rate(text))

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
        if self.face_weights is not None and self.face != "dlib":
            raise ValueError(
                f"the face estimator {self.face} takes no --face-weights; leave it out, or use --face dlib"
            )
        if self.crop != "face" and self.face != "mediapipe":
            raise ValueError(f"--face finds the face for --crop face, and crop is {self.crop}; leave it out")
        if self.instances is not None and self.labels is None:
            raise ValueError("--instances needs --labels")
        return self


def source_checksums(config: IngestConfig) -> dict[str, str]:
    """SHA-256 of every source and every folder of maps, so that a changed file makes the artifact stale.

    Raises:
        V2VError: a path does not exist, or a pattern matches nothing.
    """
    from v2vkit.video.collect import checksums
    from v2vkit.video.sources import checksum, find_sources

    refuse_workspaces(config.sources)
    sums = checksums(find_sources(config.sources), _roots(config))
    if config.face_weights is not None:
        sums["face weights"] = checksum(Path(config.face_weights).parent, [Path(config.face_weights).name])
    return sums


def _roots(config: IngestConfig) -> dict["MapKind", str]:
    roots: dict[MapKind, str | None] = {"labels": config.labels, "instances": config.instances}
    return {what: root for what, root in roots.items() if root is not None}


def _rules(config: IngestConfig) -> "LabelRules":
    from v2vkit.video.label_files import LabelRules

    return LabelRules(config.num_labels, config.allow_palette)


def plan_ingest(config: IngestConfig) -> Plan:
    """Read every source once: what can be used, where its shots are, which clips share a shard.

    Label and instance maps are all checked first, because they are quick to check and their mistakes are the user's.

    Raises:
        V2VError: a map is wrong, or nothing is left to ingest.
    """
    from tqdm import tqdm

    from v2vkit.video.collect import collect
    from v2vkit.video.label_files import match_maps
    from v2vkit.video.limits import Limits
    from v2vkit.video.shots import find_shots
    from v2vkit.video.sources import find_sources

    find_face = _open_face(config)
    materials, skipped = collect(find_sources(config.sources), _roots(config), _rules(config), fps=Fraction(config.fps))
    limits = Limits.typed(config.start, config.duration, config.max_frames)
    found: list[tuple[Material, Shots]] = []
    counts = [_count_read(material, limits) for material in materials]
    total = None if None in counts else sum(count or 0 for count in counts)
    with tqdm(total=total, desc="reading", unit="frame", disable=None) as progress:
        for material in materials:
            try:
                shots = find_shots(
                    material.source,
                    fps=material.footage.fps,
                    cuts=config.cuts,
                    limits=limits,
                    min_length=config.min_frames,
                    max_length=config.clip_frames,
                    whole=bool(material.maps),
                    progress=progress.update,
                )
            except V2VError as error:
                skipped[material.source.path] = error.message
                continue
            maps = tuple(match_maps(material.source, shots.num_read, maps) for maps in material.maps)
            found.append((replace(material, maps=maps), shots))
            if not shots.pieces:
                skipped[material.source.path] = _too_short(config, shots)
            elif shots.short:
                where = ", ".join(f"{start}-{stop - 1}" for start, stop in shots.short)
                text = f"{material.source.path}: left out shots of fewer than {config.min_frames} frames: {where}"
                progress.write(text, file=sys.stderr)
    clips = [clip for material, shots in found for clip in _clips(config, material, shots, find_face, skipped)]
    if not clips:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in skipped.items())
        raise V2VError(f"Nothing can be ingested. {reasons}", _EVERYTHING)
    return Plan(pack(clips, config.shard_frames), skipped)


def _count_read(material: "Material", limits: "Limits") -> int | None:
    """How many frames `find_shots` reads; None where it is not known. With maps it counts those behind the limits."""
    footage = material.footage
    if footage.num_frames is None or material.maps:
        return footage.num_frames
    return limits.count_read(footage.num_frames, footage.fps)


def _too_short(config: IngestConfig, shots: "Shots") -> str:
    if not shots.short:
        return "no frames lie within --start and --duration"
    longest = max(stop - start for start, stop in shots.short)
    return f"its longest shot has {longest} frames, fewer than --min-frames {config.min_frames}"


def _clips(
    config: IngestConfig,
    material: "Material",
    shots: "Shots",
    find_face: "FaceEstimator | None",
    skipped: dict[str, str],
) -> list[ClipInfo]:
    """The clips of one source, named and framed; clips without a face are put into `skipped`."""
    from v2vkit.video.framing import crop_window

    footage, clips = material.footage, list[ClipInfo]()
    width, height = config.size or (footage.width, footage.height)
    for piece in shots.pieces:
        source: dict[str, Any] = {
            "file": material.source.path,
            "start": piece.start,
            "stop": piece.stop,
            "shot": piece.shot,
        }
        if find_face is None:
            window = crop_window(config.crop, footage.width, footage.height, (width, height))
            source["crop"] = list(astuple(window))
        elif (around := _around_face(material, piece, find_face)) is not None:
            source |= around
        else:
            where = f"{material.source.path}, frames {piece.start} to {piece.stop - 1}"
            skipped[where] = "no face found in any frame of this clip"
            continue
        if piece.start_pts is not None:
            source["start_pts"] = piece.start_pts
        if material.source.images:
            source["images"] = list(material.source.images[piece.start : piece.stop])
        for maps in material.maps:
            source[maps.what] = {"folder": maps.folder, "files": list(maps.names[piece.start : piece.stop])}
        if not clips and shots.short:
            source["short_shots"] = [list(bounds) for bounds in shots.short]
        clips.append(
            ClipInfo(
                name=f"{material.name}-{len(clips):04d}",
                num_frames=piece.stop - piece.start,
                width=width,
                height=height,
                fps=str(footage.fps),
                source=source,
            )
        )
    return clips


def _around_face(material: "Material", piece: "Piece", find_face: "FaceEstimator") -> dict[str, Any] | None:
    """The crop around the face of the first frame that has one; None when no frame has."""
    from v2vkit.video.footage import read_frames
    from v2vkit.video.framing import first_face

    fps = material.footage.fps
    found = first_face(
        read_frames(material.source, piece.start, piece.stop, fps=fps, start_pts=piece.start_pts), find_face
    )
    if found is None:
        return None
    number, window = found
    return {
        "crop": list(astuple(window)),
        "face": {"estimator": find_face.name, "version": find_face.version, "frame": number},
    }


def _open_face(config: IngestConfig) -> "FaceEstimator | None":
    if config.crop != "face":
        return None
    from v2vkit.estimators.table import chosen, open_estimator

    name, settings = chosen("face", {"face": config.face, "weights": config.face_weights})
    estimator: FaceEstimator = open_estimator("face", name, **settings)
    return estimator


def pack(clips: list[ClipInfo], shard_frames: int) -> tuple[tuple[ClipInfo, ...], ...]:
    """Whole clips in order, into shards of at most `shard_frames` frames (a longer clip has one to itself)."""
    units: list[list[ClipInfo]] = []
    room = 0
    for clip in clips:
        if clip.num_frames > room:
            units.append([])
            room = shard_frames
        units[-1].append(clip)
        room -= clip.num_frames
    return tuple(tuple(unit) for unit in units)


def ingest_clip(clip: Clip, *, lossless: bool, rules: "LabelRules") -> Iterator[Sample]:
    """Frames and maps of one clip.

    Yields:
        one sample per frame in order, with `jpg` or `png`, and `label.png` and `inst.png` where there are maps.

    Raises:
        V2VError: the source has changed since the plan was made.
    """
    from v2vkit.artifacts.images import encode_jpeg, encode_png
    from v2vkit.video.footage import read_frames
    from v2vkit.video.framing import Window, reframe, reframe_ids
    from v2vkit.video.label_files import read_map
    from v2vkit.video.sources import Source

    info, plan = clip.info, clip.info.source
    source = Source(plan["file"], tuple(plan.get("images", ())))
    start, stop = (0, len(source.images)) if source.images else (plan["start"], plan["stop"])
    frames = read_frames(source, start, stop, fps=Fraction(info.fps), threads=False, start_pts=plan.get("start_pts"))
    window, size = Window(*plan["crop"]), (info.width, info.height)
    count = 0
    for t, frame in enumerate(frames):
        image = reframe(frame.image, window, size)
        files = {"png": encode_png(image)} if lossless else {"jpg": encode_jpeg(image)}
        for what, extension in _EXTENSIONS.items():
            if what in plan:
                ids = read_map(what, Path(plan[what]["folder"]) / plan[what]["files"][t], rules)
                files[extension] = encode_png(reframe_ids(ids, window, size))
        yield Sample(t, files)
        count += 1
    if count != info.num_frames:
        raise V2VError(
            f"{plan['file']} gave {count} frames instead of {info.num_frames} for {info.name}: it has changed.",
            "Give the command again with --overwrite when the file is complete.",
        )


def open_ingest(config: IngestConfig) -> Opened:
    """The function over clips; nothing needs to be opened for it."""
    return Opened(partial(ingest_clip, lossless=config.lossless, rules=_rules(config)))


STAGE = Stage(
    name="ingest",
    config=IngestConfig,
    version=1,
    output=lambda config: "frames",
    open=open_ingest,
    sources=source_checksums,
    plan=plan_ingest,
    side_outputs=lambda config: {"labels": tuple(_EXTENSIONS.values())} if config.labels is not None else {},
)
