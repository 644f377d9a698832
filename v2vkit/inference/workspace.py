"""Opens a workspace as a source with precomputed annotations."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, ClipInfo, Manifest, one_rate
from v2vkit.artifacts.shots import continues
from v2vkit.checkpoint.model_file import ModelInfo, refuse_other_sizes
from v2vkit.conditions.base import Condition, Use
from v2vkit.conditions.clips import ClipReader, tracks_beside
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.conditions.labels import TRACKS, LabelsCondition
from v2vkit.conditions.settings import Origin
from v2vkit.errors import V2VError
from v2vkit.pipeline.stage import load_inputs
from v2vkit.video.stream import InputFrame, Source

_IGNORED = {"weights", "device", "labels", "instances", "openpose"}
"""Settings of the stages that do not change the maps: paths and devices."""


def maps_warning(info: ModelInfo, manifests: dict[str, Manifest]) -> str | None:
    """A warning if the maps of a workspace were made by another stage or with other settings than the training maps."""
    notes = (_other_maps(origin, manifests[condition.artifact]) for condition, origin in info.conditions)
    return next((note for note in notes if note is not None), None)


def _other_maps(origin: Origin, maps: Manifest) -> str | None:
    if maps.stage != origin.stage:
        return f"These maps were made by {maps.stage}; the training maps of the model were made by {origin.stage}."
    if maps.stage == "ingest":  # its settings are about frames
        return None
    made = origin.settings
    known = (made.keys() & maps.config.keys()) - _IGNORED
    different = [key for key in sorted(known) if made[key] != maps.config[key]]
    if not different:
        return None
    listed = ", ".join(f"{key} {maps.config[key]} (the model's: {made[key]})" for key in different)
    return f"These maps were made with other settings than the training maps of the model: {listed}."


def count_missing_instances(info: ModelInfo, reader: ClipReader) -> dict[str, int]:
    """Reason -> number of frames without instance maps, if the model was trained with instances."""
    if not knows_instances(info):
        return {}
    frames = ((clip.name, t) for clip in reader.clips for t in range(clip.num_frames))
    kind = reader.kind_of(LabelsCondition, "inst.png")
    number = sum(not reader.has(kind, name, t, "inst.png") for name, t in frames)
    return {"no instances, with which the model was trained": number} if number else {}


def knows_instances(info: ModelInfo) -> bool:
    """Whether instances are part of the model's source maps or features."""
    features = info.encoder is not None
    return any(condition.uses_instances(origin.settings, features=features) for condition, origin in info.conditions)


def open_workspace_source(work: Folder, info: ModelInfo, *, track: bool | None = None) -> Source:
    """Opens the annotations of a workspace; consecutive clips of one shot are rendered without a break.

    Includes the frames, if the workspace has them, flow, if the model or tracking takes it, and the object ids of
    `v2v track`, if there are some.

    Args:
        track: False = the ids of the label maps, even if the workspace has tracks.

    Raises:
        V2VError: an artifact is missing, empty or of another size; the clips have several frame rates; a shard is
            missing or damaged.
    """
    kinds = info.conditioning.artifacts
    tracks = () if track is False else tracks_beside(work, kinds)
    tracking = not tracks and (info.tracks is not None if track is None else track)
    flow = info.generator.takes_flow or (tracking and (work / "flow").exists(MANIFEST))
    others = [("frames", (work / "frames").exists(MANIFEST)), ("flow", flow)]
    manifests = load_inputs(work, (*kinds, *tracks, *(other for other, wanted in others if wanted)))
    manifest = manifests[kinds[0]]
    missing = {reason: count for kind in kinds for reason, count in manifests[kind].missing.items()}
    if not manifest.num_frames:
        raise V2VError(
            "frames-missing", f"The artifact {kinds[0]} in {work.url} has no frames.", "Name another workspace."
        )
    refuse_other_sizes(info, manifest.clips, work.url)
    fps = one_rate(manifest.clips, "Ingest the footage of each frame rate into a workspace of its own.")
    reader = ClipReader(work, manifests)
    return Source(
        name=work.url,
        width=info.width,
        height=info.height,
        fps=fps,
        read=lambda: annotated_frames(
            reader,
            info.conditioning,
            shots_of(reader.clips),
            images="frames" in manifests,
            flow="flow" in manifests,
            regions=info.encoder is not None,
        ),
        num_frames=manifest.num_frames,
        annotated=True,
        tracked=TRACKS in manifests,
        missing={**missing, **count_missing_instances(info, reader)},
        note=maps_warning(info, manifests),
    )


def annotated_frames(
    reader: ClipReader,
    conditioning: Conditioning,
    shots: Iterable[Iterable[ClipInfo]],
    *,
    images: bool = False,
    flow: bool = False,
    regions: bool = False,
) -> Iterator[InputFrame]:
    """The frames of shots with their annotations.

    Args:
        images: include the pictures.
        flow: include backward flow with confidence.
        regions: also read the annotation files that `Conditioning.regions` needs.
    """

    def uses(condition: Condition[Any]) -> tuple[Use, ...]:
        return ("channels", "regions") if regions and condition.has_regions else ("channels",)

    for number, shot in enumerate(shots):
        for clip, t in ((part, t) for part in shot for t in range(part.num_frames)):
            yield InputFrame(
                reader.frame(clip.name, t) if images else None,
                shot=number,
                annotations=tuple(reader.annotation(of, clip.name, t, *uses(of)) for of in conditioning.conditions),
                flow=_flow_channels(reader, clip, t) if flow else None,
            )


def shots_of(clips: Iterable[ClipInfo]) -> list[list[ClipInfo]]:
    """The clips grouped by shot, in order."""
    shots: list[list[ClipInfo]] = []
    for clip in clips:
        if shots and continues(shots[-1][-1], clip):
            shots[-1].append(clip)
        else:
            shots.append([clip])
    return shots


def _flow_channels(reader: ClipReader, clip: ClipInfo, t: int) -> NDArray[np.float32]:
    """Backward flow in pixels and confidence of a frame, float32 [3, H, W]; zeros at the start of a clip.

    Channel order as in `models.covst.with_flow`.
    """
    pair = reader.flow(clip.name, t, 1)
    if pair is None:
        return np.zeros((3, clip.height, clip.width), np.float32)
    return np.concatenate([pair[0].transpose(2, 0, 1), pair[1][None]]).astype(np.float32)
