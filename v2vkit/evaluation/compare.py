"""Compares the outputs of methods and baselines with the real frames of a clip, by any metrics.

A few frames of each video are in memory, however long the clip is.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from v2vkit.arrays import Image
from v2vkit.errors import V2VError
from v2vkit.evaluation.metrics.contract import MISSED, REAL, REPEAT, Batch, Metric, Value

T = TypeVar("T")

BATCH = 8
"""Frames of a method that metrics take at once."""


@dataclass(frozen=True)
class Row:
    """The metrics of one method on one frame.

    Attributes:
        clip, frame: name of the clip, and number of the frame in it.
        method: see `metrics.contract`.
        values: metric -> value, where it has one.
        missed: metrics for which something was expected in the frame and not found.
        shot: name of the first clip of its shot.
        offset: number of frames of the shot before the clip.
    """

    clip: str
    frame: int
    method: str
    values: Mapping[str, float] = field(default_factory=dict)
    missed: tuple[str, ...] = ()
    shot: str = ""
    offset: int = 0

    @property
    def time(self) -> int:
        """Number of the frame in its shot."""
        return self.offset + self.frame


@dataclass(frozen=True)
class Before:
    """The part of a shot before a clip: its first clip, its number of frames, its first real frame.

    Without a counterpart there is no real frame.
    """

    shot: str
    num_frames: int
    first: Image | None


@dataclass
class _Taken:
    """Frames of all methods that wait to be measured."""

    times: list[int] = field(default_factory=list)
    videos: dict[str, list[Image]] = field(default_factory=dict)
    previous: dict[str, list[Image | None]] = field(default_factory=dict)
    beside: dict[str, list[Any]] = field(default_factory=dict)


def evaluate_clip(
    clip: str,
    real: Iterable[Image] | None,
    methods: Mapping[str, Iterable[Image]],
    *,
    metrics: Mapping[str, Metric],
    before: Before | None = None,
    beside: Mapping[str, Iterable[Any]] | None = None,
    skip_first: int = 1,
) -> list[Row]:
    """Computes the metrics of every method on every frame of one clip.

    `REPEAT` (the shot's first real frame, repeated) and `REAL` are added. All inputs are read once, frame by frame.

    Args:
        clip: name of the clip.
        real: the real frames, RGB uint8 [H, W, 3]; None where there is no counterpart.
        methods: method -> its frames, of the same number and size (`OURS`, `SOURCE`, `REAL_COARSE`).
        metrics: name -> metric; those of sets keep what they need for `Metric.compute`.
        before: the part of the shot before this clip; None if the clip begins a shot.
        beside: what is known of each frame: `Batch.beside`.
        skip_first: number of frames at the start of each shot that are not measured: at least the one that `REPEAT`
            shows, more if the model was given more real first frames.

    Raises:
        V2VError: a method or what is beside has another number of frames, or a method another size.
    """
    assert skip_first >= 1, "a baseline repeats the first frame"
    known = dict(beside or {})
    streams: dict[str, Iterator[Any]] = {name: iter(frames) for name, frames in {**methods, **known}.items()}
    shot, offset = (clip, 0) if before is None else (before.shot, before.num_frames)
    first: Image | None = None if before is None else before.first
    leading = next(iter(methods)) if real is None else REAL
    rows: list[Row] = []
    previous: dict[str, Image] = {}
    taken, number = _Taken(), 0
    lead = streams.pop(leading) if real is None else iter(real)
    for number, frame in enumerate(lead, 1):
        t = number - 1
        now = {name: _next(stream, name, clip, t) for name, stream in streams.items()}
        extras = {name: now.pop(name) for name in known}
        videos: dict[str, Image] = {**({leading: frame} if real is None else {}), **now}
        if real is not None:
            first = frame if first is None else first
            videos |= {REPEAT: first, REAL: frame}
        for name, image in videos.items():
            if image.shape != frame.shape:
                raise _other_size(name, clip, t, image, frame)
        if offset + t >= skip_first:
            taken.times.append(t)
            for name, image in videos.items():
                taken.videos.setdefault(name, []).append(image)
                taken.previous.setdefault(name, []).append(previous.get(name))
            for name, value in extras.items():
                taken.beside.setdefault(name, []).append(value)
        previous = videos
        if len(taken.times) == BATCH:
            rows += _measure(taken, metrics, clip, shot, offset)
            taken = _Taken()
    for name, stream in streams.items():
        if next(stream, _END) is not _END:
            raise _other_length(name, clip, f"more than {number}")
    return rows + _measure(taken, metrics, clip, shot, offset)


def measure_real(shot: str, frames: Iterable[Image], metrics: Mapping[str, Metric]) -> int:
    """Shows the real frames of a shot without a counterpart to the metrics of sets; returns how many they are."""
    images: list[Image] = []
    number = 0

    def flush() -> None:
        times = range(number - len(images), number)
        for metric in metrics.values():
            metric.update(Batch(REAL, shot, shot, times, list(images)))
        images.clear()

    for image in frames:
        images.append(image)
        number += 1
        if len(images) == BATCH:
            flush()
    if images:
        flush()
    return number


def _measure(taken: _Taken, metrics: Mapping[str, Metric], clip: str, shot: str, offset: int) -> list[Row]:
    """The rows of the frames that were taken: frame by frame, all methods of each."""
    values: dict[tuple[int, str], dict[str, Value]] = {(t, name): {} for t in taken.times for name in taken.videos}
    if not values:
        return []
    for method, images in taken.videos.items():
        batch = Batch(
            method=method,
            clip=clip,
            shot=shot,
            times=[offset + t for t in taken.times],
            images=images,
            real=taken.videos.get(REAL),
            previous=taken.previous[method],
            beside=taken.beside,
        )
        for name, metric in metrics.items():
            found = metric.update(batch)
            for t, value in zip(taken.times, found, strict=False):  # metrics of sets have no values of frames
                values[t, method][name] = value
    return [
        Row(
            clip,
            t,
            method,
            {name: value for name, value in found.items() if isinstance(value, float)},
            tuple(name for name, value in found.items() if value == MISSED),
            shot,
            offset,
        )
        for (t, method), found in values.items()
    ]


_END = object()


def _next(stream: Iterator[T], name: str, clip: str, t: int) -> T:
    value = next(stream, _END)
    if value is _END:
        raise _other_length(name, clip, f"only {t}")
    return value  # type: ignore[return-value]


def _other_length(name: str, clip: str, count: str) -> V2VError:
    return V2VError(
        "frame-count-mismatch",
        f"{name}: clip {clip} has {count} frames.",
        "Evaluate outputs with one frame per real frame.",
    )


def _other_size(name: str, clip: str, t: int, image: Image, frame: Image) -> V2VError:
    sizes = [f"{shape[1]}x{shape[0]}" for shape in (image.shape, frame.shape)]
    return V2VError(
        "size-mismatch",
        f"{name}: frame {t} of clip {clip} is {sizes[0]}, the real one {sizes[1]}.",
        "Evaluate frames of one size.",
    )
