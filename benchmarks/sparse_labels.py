"""Labels of some frames, wanted on all: a trained segmenter beside copying and warping the nearest label map.

`python -m benchmarks.sparse_labels WORK TRUTH`: WORK has frames, `sparse-labels` and the labels that `v2v segment` made
with the segmenter that was trained on them; TRUTH has the same frames with all their true labels. Only frames without a
given map are measured, by their distance to the nearest given one.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.artifacts.folder import Folder
from v2vkit.classes.remap import final_table
from v2vkit.conditions.clips import ClipReader
from v2vkit.estimators.dis import DIS
from v2vkit.evaluation.segmentation import Confusion, counted_in, no_confusion
from v2vkit.pipeline.stage import load_input

Labels = NDArray[np.uint8]
Row = tuple[str, int, Labels, Labels]
METHODS = ("segmenter", "nearest", "flow")


def warped(labels: Labels, flow: NDArray[np.float32]) -> Labels:
    """The labels of another frame as seen from this one, by this frame's backward flow into it."""
    rows, columns = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    return np.asarray(cv2.remap(labels, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def rows(work: Folder, truth: Folder) -> Iterator[Row]:
    """(method, distance in frames, true labels, its labels) of every frame without a given map."""
    kinds = ("frames", "sparse-labels", "labels")
    ours = ClipReader(work, {kind: load_input(work, kind) for kind in kinds})
    true = ClipReader(truth, {"labels": load_input(truth, "labels")})
    flow = DIS(preset="quality")
    for clip in ours.clips:
        given = [t for t in range(clip.num_frames) if ours.has("sparse-labels", clip.name, t, "label.png")]
        for t in range(clip.num_frames):
            if t in given or not given:
                continue
            nearest = min(given, key=lambda other: abs(other - t))
            known = _labels(ours, "sparse-labels", clip.name, nearest)
            real, distance = _labels(true, "labels", clip.name, t), abs(nearest - t)
            vectors = flow(ours.frame(clip.name, t), ours.frame(clip.name, nearest))
            found = (_labels(ours, "labels", clip.name, t), known, warped(known, vectors))
            yield from ((method, distance, real, labels) for method, labels in zip(METHODS, found, strict=True))


def _labels(reader: ClipReader, kind: str, clip: str, t: int) -> Labels:
    data = reader.read(kind, clip, t, "label.png")
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), np.uint8)


def main(work: str, truth: str) -> None:
    """Print the table."""
    manifest = load_input(Folder(truth), "labels")
    table = final_table(manifest.config)
    assert table is not None, "ingest with --classes"
    found: dict[tuple[str, int], Confusion] = defaultdict(lambda: no_confusion(table.num_labels))
    for method, distance, real, labels in rows(Folder(work), Folder(truth)):
        for key in ((method, 0), (method, distance)):
            found[key] = counted_in(found[key], real, labels)
    for (method, distance), of in sorted(found.items(), key=lambda item: (item[0][1], item[0][0])):
        where = f"distance {distance}" if distance else "all"
        print(f"{method:10} {where:11} frames {of.frames:3}  accuracy {of.accuracy:.3f}  mean IoU {of.mean_iou:.3f}")
    for method in METHODS:
        iou = found[method, 0].iou
        print(f"{method:10} " + ", ".join(f"{table.names[i]} {iou[i]:.2f}" for i in range(len(iou))))


if __name__ == "__main__":
    main(*sys.argv[1:3])
