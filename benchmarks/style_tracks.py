"""Whether objects keep their colour in a rendering: variance over time of each object's mean colour.

`python -m benchmarks.style_tracks WORK [STYLES]`: a workspace with frames, labels, tracks, a model with features and
styles (two at least). The same maps are rendered with tracks, with ids that are new in every frame (from left to right,
or in any order, as a detector gives them), and, where the label maps have instances, with the ids of the maps
themselves. Measured are the tracked objects, by the ids of the maps, or by tracks where there are no instances: how
often their ids change, the change of their colours, and the part of it that is due to the style (`StyleChange`).
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import v2vkit
from benchmarks.object_colours import ColourChange, StyleChange, colour_change, mean_colours, style_change
from benchmarks.tracking import Instances, renumbered
from v2vkit.artifacts.folder import Folder
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.labels import LabelMap, LabelsCondition
from v2vkit.inference.workspace import shots_of
from v2vkit.pipeline.stage import load_inputs

Maps = list[LabelMap]
LEAST = 48  # pixels: smaller objects have more edge than paint


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
    # Of the tracked objects alone, so that all ways have the same objects and differ in their ids only.
    tracked = [_ids(shot) for shot in found["tracks"]]
    for way, numbered in {"left to right": renumbered, "any order": shuffled}.items():
        found[way] = [
            [LabelMap(of.labels, ids) for of, ids in zip(shot, numbered(maps), strict=True)]
            for shot, maps in zip(found["tracks"], tracked, strict=True)
        ]
    return found


def shuffled(maps: list[Instances]) -> list[Instances]:
    """Ids of each frame for itself in any order, as a detector that sorts by its score gives them."""
    rng, result = np.random.default_rng(0), []
    for ids in maps:
        present = np.unique(ids)[1:]
        table = np.zeros(int(ids.max(initial=0)) + 1, np.uint16)
        table[present] = rng.permutation(len(present)) + 1
        result.append(table[ids])
    return result


_KINDS: dict[str, tuple[str, ...]] = {"maps": (), "tracks": ("tracks",)}


@dataclass(frozen=True)
class Row:
    """One kind of ids: changes of an object's id per 100 frames of an object, and of its colours."""

    switches: float
    colours: ColourChange
    style: StyleChange


def switches(truth: Sequence[Instances], found: Sequence[Instances]) -> tuple[int, int]:
    """How often the id that covers most of an object changes from a frame to the next, and the pairs of frames.

    Args:
        truth: true ids of each frame, uint16 [H, W], 0 = none.
        found: the ids in question.
    """
    last: dict[int, tuple[int, int]] = {}
    changes = pairs = 0
    for t, (true, ids) in enumerate(zip(truth, found, strict=True)):
        for number in np.flatnonzero(np.bincount(true.ravel()) >= LEAST).tolist():
            if number:
                now = int(np.bincount(ids[true == number]).argmax())
                before, one = last.get(number, (-9, 0))
                if before == t - 1:
                    pairs, changes = pairs + 1, changes + (one != now)
                last[number] = t, now
    return changes, pairs


def measure(work: str, styles: Sequence[int]) -> dict[str, Row]:
    """Kind of ids -> change of ids and colours, averaged over shots and styles; "footage": of the frames themselves."""
    model, folder = v2vkit.load(work, device="cpu"), Folder(work)
    maps = maps_of(folder)
    reader = ClipReader(folder, load_inputs(folder, ("frames",)))
    pairs = zip(maps.get("maps", maps["tracks"]), maps["tracks"], strict=True)
    truth = [
        [np.where(tracked > 0, ids, np.uint16(0)) for ids, tracked in zip(_ids(own), _ids(shot), strict=True)]
        for own, shot in pairs
    ]
    parts = shots_of(reader.clips)
    real = [[reader.frame(of.name, t) for of in shot for t in range(of.num_frames)] for shot in parts]
    footage = _mean([_change(*pair) for pair in zip(real, truth, strict=True)])
    found = {"footage": Row(0.0, footage, StyleChange(0.0, 0.0, footage.num_objects))}
    for kind, shots in maps.items():
        colours, by_style, counts = [], [], []
        for shot, ids in zip(shots, truth, strict=True):
            videos = [list(model.generate(shot, style=style)) for style in styles]
            colours += [_change(video, ids) for video in videos]
            means = [mean_colours(zip(video, ids, strict=True), least_pixels=LEAST) for video in videos]
            by_style.append(style_change(means))
            counts.append(switches(ids, _ids(shot)))
        changes, seen = np.sum(counts, 0)
        found[kind] = Row(float(100 * changes / max(seen, 1)), _mean(colours), _mean_style(by_style))
    return found


def _mean_style(changes: Sequence[StyleChange]) -> StyleChange:
    weights = [of.num_objects for of in changes]
    if not sum(weights):
        return StyleChange(0.0, 0.0, 0)
    reach, change = (float(np.average([getattr(of, name) for of in changes], weights=weights)) for name in _STYLE)
    return StyleChange(reach, change, sum(weights))


_STYLE = ("reach", "change")


def _ids(shot: Maps) -> list[Instances]:
    """The object ids of every frame of a shot that has some."""
    return [of.instances.astype(np.uint16) for of in shot if of.instances is not None]


def _change(images: Iterable[NDArray[np.uint8]], ids: list[Instances]) -> ColourChange:
    return colour_change(zip(images, ids, strict=True), least_pixels=LEAST)


def _mean(changes: Sequence[ColourChange]) -> ColourChange:
    weights = [of.num_objects for of in changes]
    variance, flicker = (
        float(np.average([getattr(of, name) for of in changes], weights=weights)) for name in ("variance", "flicker")
    )
    return ColourChange(variance, max(of.worst for of in changes), flicker, sum(weights))


if __name__ == "__main__":
    for name, row in measure(sys.argv[1], range(int(sys.argv[2]) if len(sys.argv) > 2 else 4)).items():
        of, style = row.colours, row.style
        print(
            f"{name:15} ids change {row.switches:5.1f} %  variance {of.variance:7.1f}  worst {of.worst:7.1f}  "
            f"flicker {of.flicker:7.1f}  style: reach {style.reach:6.1f}  change {style.change:6.1f}  "
            f"share {style.share:.3f}  objects {of.num_objects // max(row.style.num_objects, 1)}x{style.num_objects}"
        )
