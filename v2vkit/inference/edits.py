"""Edits of a stream between `annotate` and `channels`: object ids that last (tracking), then new labels."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.classes.table import ids_of
from v2vkit.conditions.edits import Region, Relabelling, edit_frame
from v2vkit.conditions.labels import LabelMap, LabelsCondition
from v2vkit.conditions.settings import TrackerSettings
from v2vkit.conditions.tracking import track_frame, track_settings
from v2vkit.conditions.tracks import TrackState
from v2vkit.config import IGNORE
from v2vkit.errors import V2VError
from v2vkit.inference.workspace import knows_instances
from v2vkit.video.stream import Source

Flow = NDArray[np.float32]


@dataclass(frozen=True)
class Edits:
    """What is done to the label maps of a stream.

    Attributes:
        relabellings: applied to every frame, one after another.
        track: give every object one id through its shot; None = if the training maps were tracked, or if instances are
            estimated and the model has styles.
    """

    relabellings: tuple[Relabelling, ...] = ()
    track: bool | None = None


NO_EDITS = Edits()


@dataclass
class LabelEditor:
    """Edits the frames of a stream in order; tracking begins anew with every shot.

    Attributes:
        position: of the label maps among the annotations of a frame.
        tracker: settings of the tracker; None = object ids stay as they are.
        fps: frames per second.
        relabellings: applied after tracking, so that objects are named by the ids that last.
        num_changed: number of frames so far in which a label was changed.
        number: number of frames so far.
    """

    position: int
    tracker: TrackerSettings | None
    fps: Fraction
    relabellings: tuple[Relabelling, ...] = ()
    num_changed: int = field(default=0, init=False)
    number: int = field(default=0, init=False)
    _state: TrackState = field(default_factory=TrackState, init=False)

    def shot(self) -> None:
        """A new shot begins: ids begin at 1."""
        self._state = TrackState()

    def edit(self, annotations: Sequence[Any], flow: Flow | None = None) -> tuple[Any, ...]:
        """The annotations of the next frame after the edits.

        Args:
            annotations: one per condition.
            flow: backward flow in pixels and confidence, float32 [3, H, W], as for the artifact `tracks`.
        """
        before = annotations[self.position]
        after = edit_frame(self._tracked(before, flow), self.relabellings, self.number)
        self.num_changed += bool(self.relabellings) and not np.array_equal(before.labels, after.labels)
        self.number += 1
        return (*annotations[: self.position], after, *annotations[self.position + 1 :])

    def edit_shot(self, frames: Iterable[tuple[Any, Sequence[Any]]]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
        """(anything, annotations) of each frame of one shot, edited."""
        self.shot()
        for frame, annotations in frames:
            yield frame, self.edit(annotations)

    def _tracked(self, annotation: LabelMap, flow: Flow | None) -> LabelMap:
        if self.tracker is None or (annotation.instances is None and not self.tracker.things):
            return annotation
        done = track_frame(
            self._state,
            labels=annotation.labels.astype(np.uint8),
            instances=annotation.instances,
            flow=None if flow is None else np.ascontiguousarray(flow[:2].transpose(1, 2, 0)),
            confidence=None if flow is None else flow[2],
            settings=track_settings(self.tracker, self.fps),
        )
        self._state = done.state
        return replace(annotation, instances=done.instances)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences, before the stream is read."""
        if self.tracker is None:
            return ()
        return ("Objects are tracked while rendering, with flow only where the source is a workspace that has it.",)

    def problems(self) -> list[str]:
        """Sentences, after the stream has been read."""
        if self.relabellings and not self.num_changed:
            return ["--relabel changed nothing: no frame has such labels where it applies"]
        return []


def open_editor(info: ModelInfo, source: Source, edits: Edits) -> LabelEditor | None:
    """The editor of a source's frames; None where there is nothing to do.

    Raises:
        V2VError: label maps are to be edited or tracked, and the model is not conditioned on them; a label that the
            model does not have.
    """
    found = next((of for of in info.conditioning.conditions if isinstance(of, LabelsCondition)), None)
    if found is None:
        if edits.track or edits.relabellings:
            flag = "--relabel" if edits.relabellings else "--track"
            raise V2VError(
                "setting-unused",
                f"{flag} is for label maps; this model is conditioned on {info.conditioning.names}.",
                "Leave it out.",
            )
        return None
    for label in (label for edit in edits.relabellings for pair in edit.changes.items() for label in pair):
        if label >= found.num_labels and label != IGNORE:
            raise V2VError(
                "label-id-out-of-range",
                f"--relabel names the label {label}, but the model has {found.num_labels} labels.",
                f"Give ids from 0 to {found.num_labels - 1}, or {IGNORE} (ignore).",
            )
    tracker = None
    if not source.tracked and _tracks(info, source, edits.track):
        things = () if found.classes is None else tuple(of.id for of in found.classes.classes if of.thing)
        tracker = info.tracker or TrackerSettings(things=things)
    if tracker is None and not edits.relabellings:
        return None
    return LabelEditor(info.conditioning.conditions.index(found), tracker, source.fps, edits.relabellings)


def _tracks(info: ModelInfo, source: Source, wanted: bool | None) -> bool:
    if wanted is not None:
        return wanted
    return info.tracks is not None or (info.encoder is not None and not source.annotated and knows_instances(info))


def parse_edits(
    info: ModelInfo,
    *,
    relabel: Sequence[str] = (),
    in_region: str | None = None,
    objects: Sequence[int] = (),
    in_frames: str | None = None,
    track: bool | None = None,
) -> Edits:
    """Edits from the flags of `v2v render`; labels are given by id or by their name in the model's class table.

    Raises:
        V2VError: a flag cannot be read, a name is unknown, or there is a restriction of nothing.
    """
    limits = {"--in-region": in_region, "--objects": objects, "--in-frames": in_frames}
    if not relabel:
        if given := [flag for flag, value in limits.items() if value]:
            raise V2VError("setting-unused", f"{given[0]} restricts --relabel, which is not given.", "Leave it out.")
        return Edits(track=track)
    found = next((of for of in info.conditioning.conditions if isinstance(of, LabelsCondition)), None)
    table = None if found is None else found.classes
    changes: dict[int, int] = {}
    for text in relabel:
        before, _, after = text.partition("=")
        if not before.strip() or not after.strip():
            raise V2VError("setting-invalid", f"--relabel {text} is not FROM=TO.", "Write --relabel tree=building.")
        pair = [int(of) if of.isdecimal() else of for of in (before.strip(), after.strip())]
        old, new = ids_of(pair, table, "--relabel")
        if changes.setdefault(old, new) != new:
            raise V2VError("label-duplicate", f"--relabel gives {before} two new labels.", "Name every label once.")
    things = None if table is None else frozenset(of.id for of in table.classes if of.thing)
    edit = Relabelling(changes, _region(in_region), tuple(objects), _frames(in_frames), things)
    return Edits((edit,), track)


def _region(text: str | None) -> Region | None:
    if text is None:
        return None
    if re.fullmatch(r"\d{1,5}(,\d{1,5}){3}", text) is None:
        raise V2VError(
            "setting-invalid", f"--in-region {text} is not x,y,w,h in pixels.", "Write --in-region 0,40,128,32."
        )
    x, y, width, height = map(int, text.split(","))
    return x, y, width, height


def _frames(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    found = re.fullmatch(r"(\d{0,9}):(\d{0,9})", text)
    first, end = ((int(part) if part else None) for part in found.groups()) if found else (0, 0)
    if found is None or (first or 0) >= (end if end is not None else 1 << 40):
        raise V2VError(
            "setting-invalid",
            f"--in-frames {text} is not a range of frames A:B with A below B.",
            "Write --in-frames 10:50 (frames 10 to 49), 10: or :50.",
        )
    return first, end
