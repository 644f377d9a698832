"""Whether objects keep their colour in a rendering: variance over time of each object's mean colour.

`python -m benchmarks.style_tracks WORK [STYLES]`: a workspace with frames, labels, tracks, a model with features and
styles. The same maps are rendered with ids that are new in every frame (numbered from left to right, as by a segmenter
without memory), with tracks, and, where the label maps have instances, with the ids of the maps themselves. The objects
whose colours are measured are those of the maps, or of the tracks where there are no instances.
"""

import sys
from collections.abc import Sequence

import numpy as np

import v2vkit
from benchmarks.tracking import Instances, renumbered
from v2vkit.artifacts.folder import Folder
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.labels import LabelMap, LabelsCondition
from v2vkit.evaluation.object_colours import ColourChange, colour_change
from v2vkit.inference.workspace import shots_of
from v2vkit.pipeline.stage import load_inputs

Maps = list[LabelMap]


def maps_of(work: Folder) -> dict[str, list[Maps]]:
    """Kind of ids -> the label maps of every shot."""
    condition = LabelsCondition(num_labels=255)
    readers = {kind: ClipReader(work, load_inputs(work, ("labels", *more))) for kind, more in _KINDS.items()}
    shots = shots_of(readers["tracks"].clips)
    found = {
        kind: [
            [reader.annotation(condition, clip.name, t, "channels") for clip in shot for t in range(clip.num_frames)]
            for shot in shots
        ]
        for kind, reader in readers.items()
    }
    if found["maps"][0][0].instances is None:
        del found["maps"]
    # Of the tracked objects alone, so that all three have the same objects and differ in their ids only.
    found["frame by frame"] = [
        [LabelMap(of.labels, ids) for of, ids in zip(shot, renumbered(_ids(shot)), strict=True)]
        for shot in found["tracks"]
    ]
    return found


_KINDS: dict[str, tuple[str, ...]] = {"maps": (), "tracks": ("tracks",)}


def measure(work: str, styles: Sequence[int]) -> dict[str, ColourChange]:
    """Kind of ids -> change of colours, averaged over shots and styles; "footage": of the frames themselves."""
    model, folder = v2vkit.load(work, device="cpu"), Folder(work)
    maps = maps_of(folder)
    reader = ClipReader(folder, load_inputs(folder, ("frames",)))
    truth = [_ids(shot) for shot in maps.get("maps", maps["tracks"])]
    real = [
        [reader.frame(clip.name, t) for clip in shot for t in range(clip.num_frames)] for shot in shots_of(reader.clips)
    ]
    found = {"footage": _mean([colour_change(zip(*pair, strict=True)) for pair in zip(real, truth, strict=True)])}
    for kind, shots in maps.items():
        changes = [
            colour_change(zip(model.generate(shot, style=style), ids, strict=True))
            for style in styles
            for shot, ids in zip(shots, truth, strict=True)
        ]
        found[kind] = _mean(changes)
    return found


def _ids(shot: Maps) -> list[Instances]:
    """The object ids of every frame of a shot that has some."""
    return [of.instances.astype(np.uint16) for of in shot if of.instances is not None]


def _mean(changes: Sequence[ColourChange]) -> ColourChange:
    weights = [of.num_objects for of in changes]
    variance = float(np.average([of.variance for of in changes], weights=weights))
    return ColourChange(variance, max(of.worst for of in changes), sum(weights))


if __name__ == "__main__":
    for name, change in measure(sys.argv[1], range(int(sys.argv[2]) if len(sys.argv) > 2 else 4)).items():
        print(f"{name:15} variance {change.variance:8.1f}  worst {change.worst:8.1f}  objects {change.num_objects}")
