"""Maps that are there already drive a rendering: a folder of label maps, or the artifacts of a workspace."""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import ClipInfo, Manifest, one_rate
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.base import Condition
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.conditioning import Conditioning, to_unit
from v2vkit.conditions.labels import LabelMap, LabelsCondition
from v2vkit.conditions.settings import Origin
from v2vkit.errors import V2VError
from v2vkit.inference.driving import Drive, Driven
from v2vkit.inference.framing import crop_of, squeezed
from v2vkit.video.collect import maps_of
from v2vkit.video.depth_values import range_of_files
from v2vkit.video.framing import crop_window, reframe_ids
from v2vkit.video.images import read_numbers
from v2vkit.video.label_files import LabelRules, MapKind, Maps, check_maps, match_maps, read_map
from v2vkit.video.sources import IMAGE_ENDINGS, Source, find_sequence

Driver = Literal["video", "pictures", "labels"]

_NO_INSTANCES = "no instance map, with which the model was trained (--instances)"


def driver_of(path: str, info: ModelInfo) -> Driver:
    """What a driving source is to that model. A picture stands for a folder with nothing else in it.

    A folder drives a street model with label maps, unless the model's labels were segmented from frames and the
    folder's first picture has colours.

    Raises:
        V2VError: as `find_sequence`, or that picture cannot be read.
    """
    try:
        if not Path(path).is_dir() and Path(path).suffix.lower() not in IMAGE_ENDINGS:
            return "video"
    except OSError:
        return "video"  # opening it as a video tells what is the matter
    labels = info.conditioning.label_folder
    if labels is None:
        return "pictures"
    if info.origins[info.conditioning.conditions.index(labels)].stage != labels.estimator_stage:
        return "labels"
    return "labels" if read_numbers(find_sequence(path).image_path(0)).ndim == 2 else "pictures"


def drive_by_label_folder(
    folder: str,
    info: ModelInfo,
    *,
    instances: str | None = None,
    beside: Mapping[MapKind, str] | None = None,
    fps: Fraction | None = None,
) -> Drive:
    """Drive a street model with a folder of label maps (ids as in training), resized as `ingest` did.

    Where instances told the model more than labels do, and none are given, all frames count as `missing` them.

    Args:
        folder: the label maps.
        instances: folder with an instance map for each, found, matched and checked as `ingest` does.
        beside: kind -> folder of the maps of the model's other conditions, one for each label map likewise.
        fps: rate of the label maps; None = that of the model's footage.

    Raises:
        V2VError: no folder of images, a palette or colour image, an id that the model does not know, maps that are
            missing, too many or of another size.
    """
    source = find_sequence(folder)
    rules = LabelRules(
        info.conditioning.num_labels,
        bool(info.frames.get("allow_palette")),
        info.frames.get("depth_scale"),
        bool(info.frames.get("depth_inverse")),
    )
    size = (info.width, info.height)
    roots: dict[MapKind, str] = dict(beside or {}) | ({} if instances is None else {"instances": instances})
    refuse_missing_maps(info.conditioning, roots)
    found = _maps_beside(source, roots, rules)
    span = _depth_range(found.get("depth"), rules)

    def resized(what: MapKind, path: Path) -> NDArray[Any]:
        ids = read_map(what, path, rules)
        height, width = ids.shape[:2]
        return reframe_ids(ids, crop_window(crop_of(info), width, height, size), size)

    def annotation(condition: Condition[Any], number: int) -> Any:
        read = {what: resized(what, Path(of.folder) / of.names[number]) for what, of in found.items()}
        if isinstance(condition, LabelsCondition):
            return LabelMap(resized("labels", Path(source.image_path(number))), read.get("instances"))
        assert condition.beside is not None, "refused before"
        return condition.of_map(read[condition.beside], near_far=span)

    def maps() -> Iterator[Driven]:
        for number in range(len(source.images)):
            given = tuple(annotation(condition, number) for condition in info.conditioning.conditions)
            yield Driven(to_unit(info.conditioning.channels(given)), regions=info.conditioning.regions(given))

    height, width = read_map("labels", source.image_path(0), rules).shape[:2]
    count = len(source.images)
    return Drive(
        maps(),
        fps or info.rate,
        num_frames=count,
        missing={_NO_INSTANCES: count} if instances is None and _knows_instances(info) else {},
        note=squeezed(info, folder, width, height),
    )


def _knows_instances(info: ModelInfo) -> bool:
    """Whether instances were in the source maps or features with which the model was trained."""
    features = info.encoder is not None
    return any(condition.uses_instances(origin.settings, features=features) for condition, origin in info.conditions)


def refuse_missing_maps(conditioning: Conditioning, roots: Mapping[MapKind, str]) -> None:
    """Whether the maps that are given beside label maps are those that the model is conditioned on.

    Raises:
        V2VError: they are not.
    """
    wanted = {of.beside for of in conditioning.conditions if of.beside is not None}
    if missing := next((kind for kind in sorted(wanted) if kind not in roots), None):
        raise V2VError(
            f"This model is conditioned on {conditioning.names}, and there is no {missing}.",
            f"Give the folder of the maps with --{missing}, or a workspace with --maps.",
        )
    if spare := next((kind for kind in roots if kind not in {*wanted, "instances"}), None):
        raise V2VError(f"This model is conditioned on {conditioning.names}, not on {spare}.", f"Leave out --{spare}.")


def _maps_beside(source: Source, roots: dict[MapKind, str], rules: LabelRules) -> dict[MapKind, Maps]:
    """The maps beside a folder of label maps, one for each in their order, of the size of the first label map."""
    height, width = read_map("labels", source.image_path(0), rules).shape
    found: dict[MapKind, Maps] = {}
    for maps in maps_of(source, roots, several=False):
        found[maps.what] = match_maps(source, len(source.images), maps)
        check_maps(source, (width, height), found[maps.what], rules, lambda count: None)
    return found


def _depth_range(maps: Maps | None, rules: LabelRules) -> tuple[float, float] | None:
    """Near and far end of depth whose unit is not known; None = there is none."""
    if maps is None or rules.depth_scale is not None:
        return None
    return range_of_files(maps.folder, maps.names, inverse=rules.depth_inverse)


_OF_NO_MATTER = {"weights", "device", "labels", "instances", "openpose"}
"""Settings of maps that say where something lies or runs."""


def other_maps(info: ModelInfo, manifests: dict[str, Manifest]) -> str | None:
    """A sentence where maps of a workspace were made otherwise than those that the model was trained on."""
    notes = (_other_maps(origin, manifests[condition.artifact]) for condition, origin in info.conditions)
    return next((note for note in notes if note is not None), None)


def _other_maps(origin: Origin, maps: Manifest) -> str | None:
    if maps.stage != origin.stage:
        return f"These maps were made by {maps.stage}, those that the model was trained on by {origin.stage}."
    if maps.stage == "ingest":  # whose settings are about frames
        return None
    made = origin.settings
    known = (made.keys() & maps.config.keys()) - _OF_NO_MATTER
    different = [key for key in sorted(known) if made[key] != maps.config[key]]
    if not different:
        return None
    listed = ", ".join(f"{key} {maps.config[key]} (the model's: {made[key]})" for key in different)
    return f"These maps were made with other settings than those that the model was trained on: {listed}."


def lacking_instances(info: ModelInfo, reader: ClipReader) -> dict[str, int]:
    """Reason -> number of the frames of a workspace without the instances that told the model more than labels do."""
    if not _knows_instances(info):
        return {}
    frames = ((clip.name, t) for clip in reader.clips for t in range(clip.num_frames))
    number = sum(not reader.has("labels", name, t, "inst.png") for name, t in frames)
    return {"no instances, with which the model was trained": number} if number else {}


def drive_by_artifact(work: Folder, manifests: dict[str, Manifest], info: ModelInfo) -> Drive:
    """Drive with the maps of a workspace; clips that follow each other in one source go on without a break.

    Args:
        manifests: of the map artifact and, where there are any, of `frames` and `flow` (both are then given).

    Raises:
        V2VError: the clips have several frame rates, or a shard is missing or corrupt; names it.
    """
    source, regions = info.conditioning, info.encoder is not None
    manifest = manifests[source.artifacts[0]]
    missing = {reason: count for kind in source.artifacts for reason, count in manifests[kind].missing.items()}
    fps = one_rate(manifest.clips, "Ingest the footage of each frame rate into a workspace of its own.")
    reader = ClipReader(work, manifests)
    return Drive(
        (
            driven
            for shot in shots_of(reader.clips)
            for driven in driven_frames(
                reader, source, shot, images="frames" in manifests, flow="flow" in manifests, regions=regions
            )
        ),
        fps,
        num_frames=manifest.num_frames,
        missing={**missing, **lacking_instances(info, reader)},
        note=other_maps(info, manifests),
    )


def shots_of(clips: Iterable[ClipInfo]) -> list[list[ClipInfo]]:
    """The clips by the shots that they are parts of, in order."""
    shots: list[list[ClipInfo]] = []
    for clip in clips:
        if shots and _continues(shots[-1][-1], clip):
            shots[-1].append(clip)
        else:
            shots.append([clip])
    return shots


def _continues(before: ClipInfo, clip: ClipInfo) -> bool:
    """Whether a clip is the next part of the same shot (long shots are split at a set length), framed alike."""
    if "file" not in clip.source:
        return False
    same_shot = all(before.source.get(key) == clip.source.get(key) for key in ("file", "shot", "crop"))
    return same_shot and before.source.get("stop") == clip.source.get("start")


def driven_frames(
    reader: ClipReader,
    source: Conditioning,
    shot: Iterable[ClipInfo],
    *,
    images: bool = False,
    flow: bool = False,
    regions: bool = False,
) -> Iterator[Driven]:
    """The frames of the clips of one shot, the first of which `begins`.

    Args:
        images, flow, regions: what is given beside the source maps.
    """
    frames = [(clip, t) for clip in shot for t in range(clip.num_frames)]
    for number, (clip, t) in enumerate(frames):
        yield Driven(
            to_unit(reader.channels(source, clip.name, t)),
            reader.frame(clip.name, t) if images else None,
            begins=number == 0,
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
