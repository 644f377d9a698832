"""The annotations of a workspace as a source: they were made before, by the stages."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, ClipInfo, Manifest, one_rate
from v2vkit.checkpoint.model_file import ModelInfo, refuse_other_sizes
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.source import DOMAINS, SourceConfig
from v2vkit.errors import V2VError
from v2vkit.pipeline.stage import load_inputs
from v2vkit.video.stream import InputFrame, Source

_OF_NO_MATTER = {"weights", "device", "labels", "instances", "openpose"}
"""Settings of maps that say where something lies or runs."""


def other_maps(info: ModelInfo, maps: Manifest) -> str | None:
    """A sentence where the maps of a workspace were made otherwise than those that the model was trained on."""
    if maps.stage != info.maps_stage:
        return f"These maps were made by {maps.stage}, those that the model was trained on by {info.maps_stage}."
    if maps.stage == "ingest":  # whose settings are about frames
        return None
    known = (info.maps.keys() & maps.config.keys()) - _OF_NO_MATTER
    different = [key for key in sorted(known) if info.maps[key] != maps.config[key]]
    if not different:
        return None
    listed = ", ".join(f"{key} {maps.config[key]} (the model's: {info.maps[key]})" for key in different)
    return f"These maps were made with other settings than those that the model was trained on: {listed}."


def lacking_instances(info: ModelInfo, reader: ClipReader) -> dict[str, int]:
    """Reason -> number of the frames of a workspace without the instances that told the model more than labels do."""
    if info.source.domain != "street" or not knows_instances(info):
        return {}
    frames = ((clip.name, t) for clip in reader.clips for t in range(clip.num_frames))
    number = sum(not reader.has("labels", name, t, "inst.png") for name, t in frames)
    return {"no instances, with which the model was trained": number} if number else {}


def knows_instances(info: ModelInfo) -> bool:
    """Whether instances were in the source maps or features with which the model was trained."""
    used = info.source.edges or info.encoder is not None
    return used and (info.map_settings.instances is not None or info.map_settings.segment == "yolo")


def open_workspace_source(work: Folder, info: ModelInfo) -> Source:
    """The annotations of a workspace; clips that follow each other in one source go on without a break.

    The frames come with them where there are any, and flow where the model takes it.

    Raises:
        V2VError: an artifact is missing, has no frames or frames of another size; the clips have several frame rates; a
            shard is missing or corrupt.
    """
    kind = DOMAINS[info.source.domain].kind
    others = [("frames", (work / "frames").exists(MANIFEST)), ("flow", info.generator.takes_flow)]
    manifests = load_inputs(work, (kind, *(other for other, wanted in others if wanted)))
    manifest = manifests[kind]
    if not manifest.num_frames:
        raise V2VError(f"The artifact {kind} in {work.url} has no frames.", "Name another workspace.")
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
            info.source,
            shots_of(reader.clips),
            images="frames" in manifests,
            flow="flow" in manifests,
            regions=info.encoder is not None,
        ),
        num_frames=manifest.num_frames,
        annotated=True,
        missing={**manifest.missing, **lacking_instances(info, reader)},
        note=other_maps(info, manifest),
    )


def annotated_frames(
    reader: ClipReader,
    source: SourceConfig,
    shots: Iterable[Iterable[ClipInfo]],
    *,
    images: bool = False,
    flow: bool = False,
    regions: bool = False,
) -> Iterator[InputFrame]:
    """The frames of some shots with their annotations: the files of the domain's kind, `flow` and `regions`.

    Args:
        images, flow, regions: give the pictures, backward flow and confidence (float32 [3, H, W]), and
            `v2vkit.conditions.regions`, too.
    """
    kind = DOMAINS[source.domain].kind
    for number, shot in enumerate(shots):
        for clip, t in ((part, t) for part in shot for t in range(part.num_frames)):
            annotations: dict[str, object] = {kind: reader.map_files(source, clip.name, t)}
            if flow:
                annotations["flow"] = _flow_channels(reader, clip, t)
            if regions:
                annotations["regions"] = reader.regions(source, clip.name, t)
            yield InputFrame(reader.frame(clip.name, t) if images else None, shot=number, annotations=annotations)


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


def _flow_channels(reader: ClipReader, clip: ClipInfo, t: int) -> NDArray[np.float32]:
    """Backward flow in pixels and confidence of a frame, float32 [3, H, W]; zeros at a clip's start.

    The order is that of `models.covst.with_flow`.
    """
    pair = reader.flow(clip.name, t, 1)
    if pair is None:
        return np.zeros((3, clip.height, clip.width), np.float32)
    return np.concatenate([pair[0].transpose(2, 0, 1), pair[1][None]]).astype(np.float32)
