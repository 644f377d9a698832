"""What drives a rendering: a stream of source maps, one per frame, prepared exactly as for training."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import ClipInfo, Manifest
from v2vkit.engine.threads import prefetch
from v2vkit.errors import V2VError
from v2vkit.maps.clips import ClipReader
from v2vkit.maps.regions import Regions, region_ids
from v2vkit.maps.source import DOMAINS, SourceConfig, source_map, street_channels
from v2vkit.synthesis.framing import crop_of, framed_shots, open_shot_window
from v2vkit.synthesis.live import open_live
from v2vkit.synthesis.model import ModelInfo
from v2vkit.synthesis.styles import Style
from v2vkit.video.collect import maps_of
from v2vkit.video.cuts import CutMethod
from v2vkit.video.decode import decode
from v2vkit.video.framing import crop_window, reframe_ids
from v2vkit.video.label_files import LabelRules, MapKind, Maps, check_maps, match_maps, read_map
from v2vkit.video.limits import Limits, find_part
from v2vkit.video.probe import probe
from v2vkit.video.sources import Source, find_sequence

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Driven:
    """One frame to render.

    Attributes:
        s: source map float32 [C, H, W] in [0, 1].
        image: the driving frame, RGB uint8 [H, W, 3]; None where only maps were given.
        pts: time stamp in ticks of the drive's time base; None = constant rate.
        duration: ticks for which it is shown if it is the last frame; None = as long as frames are on average.
        begins: the first frame of a video or of a shot: nothing before it belongs to it.
        flow: backward flow in pixels and confidence, float32 [3, H, W], for generators that take them; None = none is
            given.
        regions: `v2vkit.maps.regions` of this frame, int32 [H, W]; None where the domain has none.
    """

    s: NDArray[np.float32]
    image: Image | None = None
    pts: int | None = None
    begins: bool = False
    flow: NDArray[np.float32] | None = None
    regions: Regions | None = None
    duration: int | None = None

    def conditioning(self, style: Style | None) -> NDArray[np.float32]:
        """What the frame is made from: source map, features in that style, then the flow where it is given."""
        assert style is None or self.regions is not None, "features need regions"
        features = None if style is None or self.regions is None else style.paint(self.regions)
        parts = [part for part in (self.s, features, self.flow) if part is not None]
        return np.concatenate(parts) if len(parts) > 1 else self.s


@dataclass
class Drive:
    """A stream of `Driven` frames and what the output file needs to know about it.

    Attributes:
        fps: average frame rate; `time_base` = seconds per tick of `pts`, None for a constant rate.
        num_frames: how many there will be; None when the container does not tell.
        audio_from: file whose audio belongs to these frames.
        audio_span: the part of it that does, as `VideoWriter` takes it; None = all.
        missing: reason -> number of frames without a proper source map, complete at the end of the stream.
    """

    frames: Iterator[Driven]
    fps: Fraction
    time_base: Fraction | None = None
    num_frames: int | None = None
    audio_from: str | None = None
    audio_span: tuple[Fraction, Fraction | None] | None = None
    missing: dict[str, int] = field(default_factory=dict)


def drive_by_video(
    path: str,
    info: ModelInfo,
    *,
    start: float = 0.0,
    duration: float | None = None,
    cuts: CutMethod | None = None,
    align: bool = False,
) -> Drive:
    """Drive a model with a video: decode, crop and resize as `ingest` did, estimate and draw as the stage
    of the model's maps did (`v2vkit.synthesis.live`), each step in a thread of its own, in constant memory.

    Shots are told apart as `ingest` did, too: each `begins` anew, has a crop of its own around its face, and nothing is
    followed from one into the next.

    Args:
        path: the driving video.
        start, duration: the part to use, in seconds.
        cuts: how shots are told apart; None = as for the training footage.
        align: zoom and shift each shot as `open_shot_window` does.

    Raises:
        V2VError: the video cannot be read, no frames lie in that part, the model needs maps that no estimator makes
            here, the estimator is missing, or as `open_shot_window`.
    """
    live = open_live(info, path)
    nothing = DOMAINS[info.source.domain].nothing
    video = probe(path)
    part = find_part(path, Limits.typed(start, duration, None))
    first, last = part.start, part.stop
    windows = open_shot_window(info, path, first, align=align)
    drive = Drive(
        frames=iter(()),
        fps=video.fps,
        time_base=video.time_base,
        num_frames=None if video.num_frames is None else max(0, min(video.num_frames, last or 1 << 62) - first),
        audio_from=path if video.has_audio else None,
        audio_span=None if part.whole else part.span,
    )
    method: CutMethod = cuts or info.frames.get("cuts", "adaptive")
    end = part.span[1]
    times: list[tuple[int, int | None]] = []

    def pictures() -> Iterator[Image]:
        for frame in decode(path, first, last, start_pts=part.start_pts):
            cut = end is not None and frame.index + 1 == last
            times.append((frame.pts, round(end / frame.time_base) - frame.pts if end and cut else frame.duration))
            yield frame.image

    def driven() -> Iterator[Driven]:
        origin = None
        framed = framed_shots(pictures(), info, windows, method=method, fps=video.fps)
        for _, shot in groupby(prefetch(framed), key=itemgetter(1)):
            for t, (image, s, regions, found) in enumerate(live(image for image, _ in shot)):
                if not found:
                    drive.missing[nothing] = drive.missing.get(nothing, 0) + 1
                pts, duration = times.pop(0)
                origin = pts if origin is None and not part.whole else origin
                yield Driven(s, image, pts - (origin or 0), begins=t == 0, regions=regions, duration=duration)

    drive.frames = prefetch(driven())
    return drive


def drive_by_label_folder(folder: str, info: ModelInfo, *, instances: str | None = None) -> Drive:
    """Drive a street model with a folder of label maps (ids as in training), resized as `ingest` did.

    Args:
        folder: the label maps.
        instances: folder with an instance map for each, found, matched and checked as `ingest` does.

    Raises:
        V2VError: no folder of images, a palette or colour image, an id that the model does not know, instance maps that
            are missing, too many or of another size.
    """
    if info.source.domain != "street":
        raise V2VError(f"{folder} is a folder, but this model is driven by videos.", "Give a video file.")
    source = find_sequence(folder)
    rules = LabelRules(info.source.num_labels, bool(info.frames.get("allow_palette")))
    size = (info.width, info.height)
    beside = None if instances is None else _instance_maps(source, instances, rules)

    def resized(what: MapKind, path: Path) -> NDArray[Any]:
        ids = read_map(what, path, rules)
        height, width = ids.shape
        return reframe_ids(ids, crop_window(crop_of(info), width, height, size), size)

    def maps() -> Iterator[Driven]:
        for number in range(len(source.images)):
            labels = resized("labels", Path(source.image_path(number)))
            objects = None if beside is None else resized("instances", Path(beside.folder) / beside.names[number])
            yield Driven(street_channels(labels, objects, info.source), regions=region_ids(labels, objects))

    fps = Fraction(info.frames.get("fps") or "25")
    return Drive(prefetch(maps()), fps, num_frames=len(source.images))


def _instance_maps(source: Source, root: str, rules: LabelRules) -> Maps:
    """The instance maps of a folder of label maps, one for each in their order, of the size of the first label map."""
    (found,) = maps_of(source, {"instances": root}, several=False)
    matched = match_maps(source, len(source.images), found)
    height, width = read_map("labels", source.image_path(0), rules).shape
    check_maps(source, (width, height), matched, rules, lambda count: None)
    return matched


def drive_by_artifact(
    work: Folder, manifests: dict[str, Manifest], source: SourceConfig, *, regions: bool = False
) -> Drive:
    """Drive with the maps of a workspace; clips that follow each other in one source go on without a break.

    Args:
        manifests: of the map artifact and, where there are any, of `frames` and `flow` (both are then given).
        regions: give the regions too, for a model that takes features.

    Raises:
        V2VError: a shard is missing or corrupt; names it.
    """
    manifest = manifests[DOMAINS[source.domain].kind]
    reader = ClipReader(work, manifests)
    return Drive(
        prefetch(_from_clips(reader, source, images="frames" in manifests, flow="flow" in manifests, regions=regions)),
        Fraction(manifest.clips[0].fps),
        num_frames=manifest.num_frames,
        missing=dict(manifest.missing),
    )


def driven_frames(
    reader: ClipReader,
    source: SourceConfig,
    clip: ClipInfo,
    *,
    begins: bool = True,
    images: bool = False,
    flow: bool = False,
    regions: bool = False,
) -> Iterator[Driven]:
    """The frames of one clip.

    Args:
        begins: whether nothing before the clip belongs to it.
        images, flow, regions: what is given beside the source maps.
    """
    for t in range(clip.num_frames):
        yield Driven(
            source_map(source, reader.map_files(source, clip.name, t)),
            reader.frame(clip.name, t) if images else None,
            begins=begins and t == 0,
            flow=_flow_channels(reader, clip, t) if flow else None,
            regions=reader.regions(source, clip.name, t) if regions else None,
        )


def _flow_channels(reader: ClipReader, clip: ClipInfo, t: int) -> NDArray[np.float32]:
    """Backward flow in pixels and confidence of a frame, float32 [3, H, W]; zeros at a clip's start.

    The order is that of `models.covst.with_flow`.
    """
    pair = reader.flow(clip.name, t, 1)
    if pair is None:
        return np.zeros((3, clip.height, clip.width), np.float32)
    return np.concatenate([pair[0].transpose(2, 0, 1), pair[1][None]]).astype(np.float32)


def _from_clips(
    reader: ClipReader, source: SourceConfig, *, images: bool, flow: bool, regions: bool
) -> Iterator[Driven]:
    before: ClipInfo | None = None
    for clip in reader.clips:
        begins = not _continues(before, clip)
        yield from driven_frames(reader, source, clip, begins=begins, images=images, flow=flow, regions=regions)
        before = clip


def _continues(before: ClipInfo | None, clip: ClipInfo) -> bool:
    """Whether a clip is the next part of the same shot (long shots are split at a set length)."""
    if before is None or "file" not in clip.source:
        return False
    same_shot = all(before.source.get(key) == clip.source.get(key) for key in ("file", "shot"))
    return same_shot and before.source.get("stop") == clip.source.get("start")


def is_image_folder(path: str) -> bool:
    """Whether a driving source is a folder (of label maps) and not a video file."""
    try:
        return Path(path).is_dir()
    except OSError:
        return False  # opening it as a video tells what is the matter
