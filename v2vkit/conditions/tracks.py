"""Tracks: the tracker's state for each object of a shot, and its file, which carries it from clip to clip.

The file is a small JSON beside the last instance map of a clip (`.tracks.json`). Masks of wholly visible objects are
in the instance map; masks of hidden ones are bits in the JSON. Equal states give equal bytes.
"""

import base64
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.ndimage import find_objects

from v2vkit.config import MAX_SIDE
from v2vkit.errors import V2VError

Mask = NDArray[np.bool_]
Instances = NDArray[np.uint16]
Box = tuple[slice, slice]

MAX_ID = 65535


@dataclass(frozen=True)
class Track:
    """One object through time.

    Attributes:
        id: its number in the instance maps, 1 to `MAX_ID`.
        label: its class.
        top, left, mask: its last whole view: position in that frame, and bool [h, w] with at least one pixel.
        motion: pixels per frame (x, y); None = seen once.
        hidden: frames since that view, in which it was partly or wholly hidden.
        unseen: frames since any part of it was seen; 0 = seen in the newest frame.
    """

    id: int
    label: int
    top: int
    left: int
    mask: Mask
    motion: tuple[float, float] | None = None
    hidden: int = 0
    unseen: int = 0


@dataclass(frozen=True)
class TrackState:
    """State that is carried from frame to frame of a shot.

    Attributes:
        next_id: the smallest id that has not been used.
        tracks: in the order of their ids.
        instances: uint16 [H, W], the newest frame's ids; None = no frame yet.
    """

    next_id: int = 1
    tracks: tuple[Track, ...] = ()
    instances: Instances | None = None


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


_Pixels = Annotated[float, Field(ge=-MAX_SIDE, le=MAX_SIDE)]


class _TrackRecord(_Record):
    """A track; `bits` are the pixels of its mask, row by row, if it is hidden in the frame."""

    id: int = Field(ge=1, le=MAX_ID)
    label: int = Field(ge=0, le=255)
    motion: tuple[_Pixels, _Pixels] | None
    hidden: int = Field(default=0, ge=0, le=10**6)
    unseen: int = Field(default=0, ge=0, le=10**6)
    top: int = Field(default=0, ge=0, le=MAX_SIDE)
    left: int = Field(default=0, ge=0, le=MAX_SIDE)
    height: int = Field(default=0, ge=0, le=MAX_SIDE)
    width: int = Field(default=0, ge=0, le=MAX_SIDE)
    bits: str = ""


class _StateRecord(_Record):
    next_id: int = Field(ge=1, le=MAX_ID + 1)
    tracks: tuple[_TrackRecord, ...]


def encode_state(state: TrackState) -> bytes:
    """The state after a frame as JSON; `decode_state` needs the frame's instance map beside it."""
    records = []
    for track in state.tracks:
        record = _TrackRecord(id=track.id, label=track.label, motion=track.motion)
        if track.hidden:
            (height, width), bits = track.mask.shape, base64.b64encode(np.packbits(track.mask).tobytes()).decode()
            place = {"top": track.top, "left": track.left, "height": height, "width": width, "bits": bits}
            record = record.model_copy(update={"hidden": track.hidden, "unseen": track.unseen, **place})
        records.append(record)
    return _StateRecord(next_id=state.next_id, tracks=tuple(records)).model_dump_json(exclude_defaults=True).encode()


def decode_state(data: bytes, instances: Instances, where: str = "a state of tracks") -> TrackState:
    """The state after a frame.

    Args:
        data: from `encode_state`.
        instances: uint16 [H, W], the tracker's result for that frame.
        where: what the bytes are, for messages.

    Raises:
        V2VError: damaged, or of another frame.
    """
    boxes = find_objects(instances)
    try:
        record = _StateRecord.model_validate_json(data)
        tracks = tuple(_decode_track(each, instances, boxes) for each in record.tracks)
    except (ValidationError, ValueError) as error:
        text = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise V2VError(
            "tracks-damaged", f"{where} is damaged ({text}).", "Make the artifact again with --overwrite."
        ) from None
    return TrackState(record.next_id, tracks, instances)


def _decode_track(record: _TrackRecord, instances: Instances, boxes: list[Box | None]) -> Track:
    top, left = record.top, record.left
    if record.hidden:
        bits = np.frombuffer(base64.b64decode(record.bits, validate=True), np.uint8)
        size = record.height * record.width
        if len(bits) != (size + 7) // 8:
            raise ValueError(f"the mask of object {record.id} has another size")
        mask = np.unpackbits(bits)[:size].astype(bool).reshape(record.height, record.width)
    else:
        box = boxes[record.id - 1] if record.id <= len(boxes) else None
        if box is None:
            raise ValueError(f"object {record.id} is not in the instance map")
        mask = np.asarray(instances[box] == record.id)
        top, left = box[0].start, box[1].start
    if not mask.any():
        raise ValueError(f"the mask of object {record.id} is empty")
    return Track(record.id, record.label, top, left, mask, record.motion, record.hidden, record.unseen)
