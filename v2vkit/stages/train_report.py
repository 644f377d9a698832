"""What `v2v train` measures when a training has ended."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import ShardEntry, entry_of

if TYPE_CHECKING:
    from v2vkit.conditions.clips import ClipReader

JSON, PLOT = "held-out.json", "held-out.png"


Report = Callable[[Folder, "ClipReader", str], tuple[ShardEntry, ...]]
"""Folder of the model, footage that it was trained on, device as the settings name it -> entries of written files."""


def report_segmenter(folder: Folder, reader: "ClipReader", device: str) -> tuple[ShardEntry, ...]:
    """Measure a segmenter on the labelled frames that were held out, print and write the result; as `Report`."""
    from v2vkit.checkpoint.model_file import MODEL, read_info
    from v2vkit.evaluation.segmentation import counted_in, no_confusion, plot, summary_json, summary_text
    from v2vkit.inference.trained_segment import TrainedSegment
    from v2vkit.training.data.labelled import LabelledReader

    assert isinstance(reader, LabelledReader), "as the segmenter's `MethodSpec` opens it"
    if not reader.held_out:
        print("No labelled frame was held out, so nothing is measured (--held-out).", flush=True)
        return ()
    (condition,) = read_info(folder).conditioning.conditions
    segment = TrainedSegment.of(folder, MODEL, device=device)
    names = segment.classes or tuple(map(str, range(segment.num_labels)))
    found = no_confusion(segment.num_labels)
    for name in reader.held_out:
        truth = reader.annotation(condition, name, 0, "channels").labels
        found = counted_in(found, truth, segment(reader.frame(name, 0)).labels)
    print(f"held out: {summary_text(found, names)}", flush=True)
    files = {JSON: summary_json(found, names), PLOT: plot(found, names, f"{found.frames} held-out frames")}
    for name, data in files.items():
        folder.write(name, data)
    return tuple(entry_of(name, data) for name, data in files.items())


REPORTS: Mapping[str, Report] = {"segmenter": report_segmenter}
"""Method -> what is measured when its training has ended; here because training imports no evaluation."""
