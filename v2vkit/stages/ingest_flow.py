"""Flow beside the frames of `v2v ingest`: settings, plan and files."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import field_validator, model_validator

from v2vkit.config import SettingsGroup, setting
from v2vkit.errors import V2VError
from v2vkit.pipeline.stage import Clip

if TYPE_CHECKING:
    from v2vkit.conditions.flow_given import Direction, Flow, Scale
    from v2vkit.video.collect import OpenedSource
    from v2vkit.video.label_files import Maps
    from v2vkit.video.shots import Shots
    from v2vkit.video.sources import SourceFiles

_TESTED = 3  # pairs of frames
_STILL = 1.0  # levels of 255: what changes less says nothing about motion
_CLEARLY = 0.8  # another reading is better if its error is below this share


class FlowMapSettings(SettingsGroup):
    """Flow."""

    flow: str | None = setting(
        None,
        "Folder with the exact flow of every frame, arranged like --labels: KITTI's 16-bit PNG, .flo, or .npy (floats "
        "[height, width, 2], as of CARLA's optical flow camera). It becomes the artifact flow, so that `v2v "
        "extract-flow` is not needed. The first frame (forward: the last) may have none.",
        metavar="FOLDER",
        affects_output=False,
    )
    flow_direction: Literal["backward", "forward", "velocity"] | None = setting(
        None,
        "What --flow of frame t is: backward (into frame t-1), forward (into frame t+1), or velocity (the motion since "
        "frame t-1, on frame t). Default: forward for PNG and .flo, as KITTI and Middlebury define them, velocity for "
        ".npy. Checked against the frames.",
        since="0.1",
    )
    flow_scale: str | None = setting(
        None,
        "Pixels per stored unit of --flow. Default: 1,1; for .npy half the width and minus half the height (CARLA's "
        "units, y up).",
        metavar="X,Y",
        since="0.1",
    )
    strides: tuple[int, ...] = setting(
        (1, 3),
        "Distance k to the earlier frame, 1 to 99, in the flow that is stored; distances above 1 are chained from the "
        "flow of single steps.",
        min_length=1,
        since="0.1",
    )

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None: ...

    @field_validator("strides")
    @classmethod
    def _sorted_strides(cls, strides: tuple[int, ...]) -> tuple[int, ...]:
        if min(strides) < 1 or max(strides) > 99:
            raise ValueError("every stride must be from 1 to 99")
        return tuple(sorted(set(strides)))

    @field_validator("flow_scale")
    @classmethod
    def _two_numbers(cls, text: str | None) -> str | None:
        if text is None:
            return None
        try:
            across, down = (float(part) for part in text.split(","))
        except ValueError:
            raise ValueError(f"{text!r} is not two numbers such as 640,-360") from None
        if not (0 < abs(across) < 1e6 and 0 < abs(down) < 1e6):
            raise ValueError(f"{text!r} must be two numbers other than 0")
        return f"{across:g},{down:g}"

    @model_validator(mode="after")
    def _fits_together(self) -> "FlowMapSettings":
        if self.flow is None and ({"flow_direction", "flow_scale", "strides"} & self.model_fields_set):
            given = self.flow_direction, self.flow_scale, self.strides
            if given != (None, None, (1, 3)):
                raise ValueError("--flow-direction, --flow-scale and --strides are about --flow, which is not given")
        return self

    @property
    def scale(self) -> "Scale | None":
        """`flow_scale` as numbers."""
        if self.flow_scale is None:
            return None
        across, down = (float(part) for part in self.flow_scale.split(","))
        return across, down

    def direction(self, name: str) -> "Direction":
        """What a file of that name holds."""
        from v2vkit.conditions.flow_given import default_direction

        return self.flow_direction or default_direction(name)


def with_flow(
    settings: FlowMapSettings, opened_sources: "list[OpenedSource]", *, several: bool
) -> "list[OpenedSource]":
    """The same sources with their flow among the maps; every file is read and checked.

    Raises:
        V2VError: the folder or a file is missing, damaged or of another size than the frames.
    """
    if settings.flow is None:
        return opened_sources
    from v2vkit.conditions.flow_given import read_given_flow
    from v2vkit.video.collect import maps_of

    found = []
    for opened in opened_sources:
        (maps,) = maps_of(opened.source, {"flow": settings.flow}, several=several)
        size = opened.footage.width, opened.footage.height
        for name in maps.names:
            path = Path(maps.folder) / name
            height, width = read_given_flow(path, scale=settings.scale)[1].shape
            if (width, height) != size:
                raise V2VError(
                    "size-mismatch",
                    f"{path} is {width}x{height}, but the frames of {opened.source.path} are {size[0]}x{size[1]}.",
                    "Flow must have the size of the frames that it belongs to.",
                )
        found.append(replace(opened, maps=(*opened.maps, maps)))
    return found


def match_flow(settings: FlowMapSettings, source: "SourceFiles", num_frames: int, maps: "Maps") -> "Maps":
    """The flow in the order of the frames, as `match_maps`; an empty name for a first (or last) frame without flow.

    Raises:
        V2VError: another frame lacks its flow, or flow belongs to no frame.
    """
    from v2vkit.video.label_files import match_maps

    if len(maps.names) != num_frames - 1:
        return match_maps(source, num_frames, maps)
    lacking = num_frames - 1 if settings.direction(maps.names[0]) == "forward" else 0
    in_order = replace(maps, names=(*maps.names[:lacking], "", *maps.names[lacking:]))
    if not source.images:
        return in_order
    try:
        matched = match_maps(source, num_frames, maps, sparse=True)
    except V2VError as error:
        if error.code != "frame-count-mismatch":  # no name agrees: the order counts
            raise
        return in_order
    if matched.names[lacking]:
        lost = source.images[matched.names.index("")]
        raise V2VError(
            "map-missing", f"{maps.folder} has no flow for frame {lost} of {source.path}.", "Add the missing file."
        )
    return matched


def check_flow(settings: FlowMapSettings, opened: "OpenedSource", shots: "Shots") -> None:
    """Warp the first frames by their flow, and refuse a reading that they contradict.

    Raises:
        V2VError: another direction or scale explains the frames clearly better, or --fps leaves frames out.
    """
    from v2vkit.conditions.flow_given import as_backward, photometric_error, read_given_flow
    from v2vkit.video.footage import read_frames
    from v2vkit.video.subsampling import only

    maps = next((maps for maps in opened.maps if maps.what == "flow"), None)
    if maps is None or not shots.clip_ranges:
        return
    if any(clip_range.subsampled for clip_range in shots.clip_ranges):
        raise V2VError(
            "setting-conflict",
            "--flow leads from frame to frame, and --fps leaves frames out.",
            "Leave out --fps, or make the flow with `v2v extract-flow`.",
        )
    clip_range = shots.clip_ranges[0]
    numbers = list(clip_range.frames)[: _TESTED + 1]
    fps = Fraction(opened.footage.fps)
    every = read_frames(
        opened.source, numbers[0], numbers[-1] + 1, fps=fps, threads=False, start_pts=clip_range.start_pts
    )
    images = [frame.image for frame in only(every, numbers)]
    own = settings.direction(next(name for name in maps.names if name))
    errors: dict[tuple[Direction, Scale], float] = {}
    still = 0.0
    for number, previous, current in zip(numbers[1:], images, images[1:], strict=False):
        for direction, factor in _readings(own):
            before, now = (
                _scaled(read_given_flow(Path(maps.folder) / name, scale=settings.scale), factor) if name else None
                for name in (maps.names[number - 1], maps.names[number])
            )
            if (before if direction == "forward" else now) is None:
                continue
            error = photometric_error(previous, current, as_backward(before, now, direction))
            errors[direction, factor] = errors.get((direction, factor), 0.0) + error
        zero = (now[0] * 0, now[1]) if now is not None else None
        still += 0.0 if zero is None else photometric_error(previous, current, zero)
    pairs = len(images) - 1
    asked = errors.get((own, (1.0, 1.0)))
    if not errors or asked is None or still < _STILL * pairs or asked <= _STILL * pairs:
        return
    (direction, factor), best = min(errors.items(), key=lambda item: item[1])
    if best < _CLEARLY * asked and best < _CLEARLY * still:
        raise V2VError(
            "flow-mismatch",
            f"The flow in {maps.folder} does not lead from frame to frame of {opened.source.path} as {own} flow: "
            f"warped frames differ by {asked / pairs:.1f} of 255 levels, but by {best / pairs:.1f} as {direction} flow"
            f"{_times(factor)}.",
            f"Give --flow-direction {direction}{_scale_flag(settings, maps, factor, opened)}.",
        )


def _readings(own: "Direction") -> "Iterator[tuple[Direction, Scale]]":
    """The reading that was asked for and those that it is taken for: direction, factor on (x, y)."""
    directions: tuple[Direction, ...] = ("backward", "forward", "velocity")
    for direction in (own, *(other for other in directions if other != own)):
        for factor in ((1.0, 1.0), (1.0, -1.0), (2.0, 2.0), (2.0, -2.0), (0.5, 0.5), (0.5, -0.5)):
            yield direction, factor


def _scaled(flow: "Flow", factor: "Scale") -> "Flow":
    vectors, confidence = flow
    return (vectors * factor).astype("float32"), confidence


def _times(factor: "Scale") -> str:
    return "" if factor == (1.0, 1.0) else f" times {factor[0]:g},{factor[1]:g}"


def _scale_flag(settings: FlowMapSettings, maps: "Maps", factor: "Scale", opened: "OpenedSource") -> str:
    from v2vkit.conditions.flow_given import default_scale

    if factor == (1.0, 1.0):
        return ""
    size = opened.footage.width, opened.footage.height
    across, down = settings.scale or default_scale(maps.names[-1], size)
    return f" --flow-scale={across * factor[0]:g},{down * factor[1]:g}"


def flow_files(
    clip: Clip, folder: str, *, direction: "Direction | None", scale: "Scale | None", strides: Iterable[int]
) -> Iterator[dict[str, bytes]]:
    """The flow of every frame of a clip: `flow{k}.png` for each stride k <= t, as `v2v extract-flow` writes it.

    Args:
        clip: with the names of the files in its plan.
        folder: of these files, at its current path.
        direction, scale: of what they hold; None = as their ending says.
        strides: distances to the earlier frame.
    """
    from v2vkit.conditions.flow_given import (
        as_backward,
        chain_flow,
        default_direction,
        read_given_flow,
        reframe_flow,
    )
    from v2vkit.conditions.flow_io import encode_kitti
    from v2vkit.video.framing import Window

    names = clip.info.source["flow"]["files"]
    own = direction or default_direction(next((name for name in names if name), ""))
    window, size = Window(*clip.info.source["crop"]), (clip.info.width, clip.info.height)
    wanted = sorted(strides)
    before: dict[int, Flow] = {}  # stride -> flow of the previous frame
    for t in range(clip.info.num_frames):
        now: dict[int, Flow] = {}
        if t > 0:
            given = read_given_flow(Path(folder) / names[t - (own == "forward")], scale=scale)
            now[1] = reframe_flow(*as_backward(given, given, own), window, size)
            now |= {k + 1: chain_flow(now[1], before[k]) for k in before if k < wanted[-1]}
        yield {f"flow{k}.png": encode_kitti(*now[k]) for k in wanted if k in now}
        before = now
