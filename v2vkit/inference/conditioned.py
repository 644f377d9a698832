"""Turns the frames of a source into the generator's input: shots, crop, annotations, channels, one function each.

Every step keeps time stamp and shot of the frame. Annotations that come with the frames are used unchanged; otherwise
they are estimated on the fly, as the stages do.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby, tee
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.conditioning import to_unit
from v2vkit.conditions.proportions import Proportions
from v2vkit.conditions.regions import Regions
from v2vkit.engine.threads import prefetch
from v2vkit.inference.edits import LabelEditor
from v2vkit.inference.estimated_maps import MapMaker, open_map_maker
from v2vkit.inference.framing import crop_shots, open_locator
from v2vkit.inference.styles import Style
from v2vkit.video.cuts import CutMethod
from v2vkit.video.stream import InputFrame, Source, image_of, with_shots


@dataclass(frozen=True)
class ConditionedFrame:
    """A frame of a source with its conditions.

    Attributes:
        s: source map float32 [C, H, W] in [0, 1].
        frame: the frame itself, cropped and resized; without an image if only annotations were given.
        flow: backward flow in pixels and confidence, float32 [3, H, W], for generators that take it.
        regions: `v2vkit.conditions.regions` of this frame, int32 [H, W]; None if the model has none.
        found: False if the estimators found nothing in this frame.
    """

    s: NDArray[np.float32]
    frame: InputFrame = field(default_factory=InputFrame)
    flow: NDArray[np.float32] | None = None
    regions: Regions | None = None
    found: bool = True

    def conditioning(self, style: Style | None) -> NDArray[np.float32]:
        """The generator's input channels: source map, features in that style, flow; the last two only if present."""
        assert style is None or self.regions is not None, "features need regions"
        features = None if style is None or self.regions is None else style.paint(self.regions, self.frame.shot)
        parts = [part for part in (self.s, features, self.flow) if part is not None]
        return np.concatenate(parts) if len(parts) > 1 else self.s


def conditioned_frames(
    source: Source,
    info: ModelInfo,
    *,
    cuts: CutMethod | None = None,
    align: bool = False,
    device: str = "cpu",
    editor: LabelEditor | None = None,
    target: Proportions | None = None,
    paste_back: bool = False,
) -> Iterator[ConditionedFrame]:
    """The frames of a source with their conditions, prepared exactly as for training.

    Estimators are opened at once. Shots are detected as by `ingest`; each has its own crop, and smoothing and tracking
    restart with it. A frame depends on later frames: 2 for cut detection (`number_shots`), a few for smoothing, at most
    15 for a crop or for filling a gap; estimators take 4 frames at once.

    Args:
        source: the source.
        info: description of the model.
        cuts: how cuts are detected; None = as in the training footage.
        align: shift and zoom each shot, see `open_locator`.
        device: where the estimator runs, as in `open_map_maker`.
        editor: tracks and edits label maps (`open_editor`).
        target: proportions that the subject gets, which keeps its place with `paste_back`; None = its own.
        paste_back: keep the uncropped frames, see `v2vkit.inference.transfer`.

    Raises:
        V2VError: as `open_map_maker` and `open_locator`; while reading, as the source and `crop_shots`.
    """
    if source.annotated:
        frames = source.frames() if editor is None else edited(source.frames(), editor, flow=info.generator.takes_flow)
        return (stored(frame, info) for frame in frames)
    live = open_map_maker(
        info,
        source.name,
        device=device,
        edit=None if editor is None else editor.edit_shot,
        target=target,
        keep_place=paste_back,
    )
    locate = open_locator(info, align=align, device=device)
    method: CutMethod = cuts or info.frames.get("cuts", "adaptive")

    numbered = with_shots(source.frames(), method=method, fps=source.fps)
    return estimated(crop_shots(source, numbered, info, locate, keep_original=paste_back), live)


def edited(
    frames: Iterable[InputFrame], editor: LabelEditor, *, flow: bool, track_by_flow: bool = True
) -> Iterator[InputFrame]:
    """The frames with edited annotations; without their flow, unless the model takes it.

    Args:
        flow: the model takes flow.
        track_by_flow: False where frames may be dropped: flow leads from one frame to the very next.
    """
    for _, shot in groupby(frames, key=attrgetter("shot")):
        editor.shot()
        for frame in shot:
            annotations = editor.edit(frame.annotations, frame.flow if track_by_flow else None)
            yield replace(frame, annotations=annotations, flow=frame.flow if flow else None)


def estimated(frames: Iterable[InputFrame], live: MapMaker) -> Iterator[ConditionedFrame]:
    """The frames, read ahead in a thread, with conditions that are estimated shot by shot."""
    for _, shot in groupby(prefetch(frames), key=attrgetter("shot")):
        kept, seen = tee(shot)  # holds as many frames as `live` looks ahead
        for frame, (image, s, regions, found) in zip(kept, live(image_of(frame) for frame in seen), strict=True):
            yield ConditionedFrame(s, replace(frame, image=image), regions=regions, found=found)


def stored(frame: InputFrame, info: ModelInfo) -> ConditionedFrame:
    """The frame conditioned on the annotations that came with it."""
    s = to_unit(info.conditioning.channels(frame.annotations))
    regions = info.conditioning.regions(frame.annotations) if info.encoder is not None else None
    return ConditionedFrame(s, frame, flow=frame.flow, regions=regions)
