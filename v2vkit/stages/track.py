"""`v2v track`: tracks objects of the label maps: one instance id per object through its whole shot."""

import sys
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pydantic import field_validator

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import Manifest, read_manifest
from v2vkit.artifacts.shard import read_index
from v2vkit.classes.remap import final_table
from v2vkit.classes.table import ClassName, ids_of
from v2vkit.config import StageConfig, setting
from v2vkit.errors import V2VError
from v2vkit.pipeline.stage import Clip, Opened, PerClip, Sample, Stage, make_again

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NO_INSTANCES = "no instance map, and no --things for connected areas"


class _Maps(NamedTuple):
    """The arguments of `track_frame` for one frame."""

    labels: "NDArray[np.uint8]"
    instances: "NDArray[np.uint16] | None"
    flow: "NDArray[np.float32] | None"
    confidence: "NDArray[np.float32] | None"


class TrackConfig(StageConfig):
    """Track objects: give every object one instance id through its whole shot.

    Reads the label maps with their instances and, if it exists, the flow. For every frame: inst.png, the instances with
    ids that stay the same over the shot, also across its clips. Without instance maps, connected areas of the labels in
    --things are the objects. Ids start at 1 in every shot.
    """

    things: tuple[ClassName, ...] = setting(
        (),
        "Label whose objects are tracked, by id or name; default: the things of the class table, or all labels "
        "with instances without one. Cityscapes' instance maps contain surfaces too: name the labels of cars, people "
        "and so on, or ingest with --classes.",
        metavar="ID|NAME",
    )
    bridge: float = setting(
        1.0, "Seconds for which an object that is not found keeps its id; after that it gets a new one.", ge=0, le=60
    )
    min_overlap: float = setting(
        0.2, "Minimum intersection over union of an object with its predicted mask.", gt=0, le=1
    )
    min_pixels: int = setting(16, "Minimum area of an object in pixels (without instance maps).", ge=1)
    flow: bool | None = setting(None, "Predict masks with the flow (stride 1); default: if the workspace has it.")

    @field_validator("things")
    @classmethod
    def _ids(cls, things: tuple[int | str, ...]) -> tuple[int | str, ...]:
        if not all(0 <= label < 255 for label in things if isinstance(label, int)):
            raise ValueError("things are label ids from 0 to 254")
        return tuple(sorted(set(things), key=lambda label: (isinstance(label, str), label)))

    @property
    def thing_ids(self) -> tuple[int, ...]:
        """`things` once names have been looked up in the class table, which the stage does first; ascending."""
        return tuple(label for label in self.things if isinstance(label, int))


def track_clip(clip: Clip, *, config: TrackConfig) -> Iterator[Sample]:
    """The instance maps of a clip with stable ids, and at its last frame `tracks.json` for the next clip.

    Args:
        clip: with labels, instances and flow; `clip.before` if it continues a shot.

    Raises:
        V2VError: a map is missing, damaged or of another size than its clip.
    """
    from v2vkit.artifacts.images import decode_gray, encode_png
    from v2vkit.conditions.settings import TrackerSettings
    from v2vkit.conditions.tracking import track_frame, track_settings
    from v2vkit.conditions.tracks import TrackState, decode_state, encode_state
    from v2vkit.engine.threads import prefetch

    settings = track_settings(TrackerSettings.model_validate(config.model_dump()), Fraction(clip.info.fps))
    state = TrackState()
    if clip.before is not None:
        where = f"the last frame before {clip.info.name}"
        last = decode_gray(clip.before["inst.png"], where).astype("uint16")
        state = decode_state(clip.before["tracks.json"], last, where)

    for t, maps in enumerate(prefetch(_read_maps(clip, t, config) for t in range(clip.info.num_frames))):
        done = track_frame(state, **maps._asdict(), settings=settings)
        state = done.state
        files = {"inst.png": encode_png(done.instances)}
        if t == clip.info.num_frames - 1:
            files["tracks.json"] = encode_state(state)
        missing = NO_INSTANCES if maps.instances is None and not config.things else None
        yield Sample(t, files, missing, {"objects": done.num_new, "bridged gaps": done.num_bridged})


def _read_maps(clip: Clip, t: int, config: TrackConfig) -> _Maps:
    """Read the maps of a frame and check their size."""
    from v2vkit.artifacts.images import decode_gray
    from v2vkit.conditions.flow_io import decode_kitti

    where = f"frame {t} of {clip.info.name}"
    labels = decode_gray(clip.read("labels", "label.png", t), f"the label map of {where}")
    instances = flow = confidence = None
    if clip.has("labels", "inst.png", t):
        instances = decode_gray(clip.read("labels", "inst.png", t), f"the instance map of {where}")
    if config.flow and clip.has("flow", "flow1.png", t):
        flow, confidence = decode_kitti(clip.read("flow", "flow1.png", t), f"the flow of {where}")
    for kind, found in (("labels", labels), ("labels", instances), ("flow", confidence)):
        if found is not None and found.shape != (clip.info.height, clip.info.width):
            height, width = found.shape
            raise V2VError(
                "size-mismatch",
                f"A map of {where} is {width}x{height} pixels; its clip is {clip.info.width}x{clip.info.height}.",
                f"Remake the artifact {kind}.",
            )
    return _Maps(labels.astype("uint8"), None if instances is None else instances.astype("uint16"), flow, confidence)


def open_tracks(config: TrackConfig) -> Opened:
    """The function over clips; needs no estimator."""
    return Opened(partial(track_clip, config=config))


def _resolve(config: TrackConfig, work: Folder) -> TrackConfig:
    """Use the flow if there is one of stride 1, and the things of the class table if there is one."""
    labels = read_manifest(work / "labels")
    table = None if labels is None else final_table(labels.config)
    wanted = config.things or tuple(of.id for of in (table.classes if table else ()) if of.thing and not of.ignore)
    if wanted:
        config = config.model_copy(update={"things": tuple(sorted(set(ids_of(wanted, table, "--things"))))})
    if config.flow is not None:
        return config
    flow = read_manifest(work / "flow")
    return config.model_copy(update={"flow": flow is not None and _has_stride_1(flow)})


def _has_stride_1(flow: Manifest) -> bool:
    return 1 in flow.config.get("strides", ())


def check_inputs(config: TrackConfig, inputs: dict[str, Manifest], work: Folder) -> None:
    """Check the inputs, and print on standard error which of them are missing.

    Raises:
        V2VError: flow of other frames or without stride 1, a label out of range, or nothing to track.
    """
    labels, flow = inputs["labels"], inputs.get("flow")
    if flow is not None and not _has_stride_1(flow):
        raise V2VError(
            "flow-stride-missing",
            "The artifact flow has no stride 1 (from a frame to the previous one).",
            "Make it with `v2v extract-flow --strides 1 --strides 3 --overwrite`, or track with --no-flow.",
        )
    if flow is not None and labels.inputs.get("frames") != flow.inputs.get("frames"):
        raise V2VError(
            "artifacts-mismatch",
            "The artifacts labels and flow were made from different frames.",
            f"Remake them: {make_again('labels', labels)}; {make_again('flow', flow)}.",
        )
    number = labels.config.get("num_labels")
    if number is not None and config.thing_ids and config.thing_ids[-1] >= number:
        raise V2VError(
            "label-id-out-of-range",
            f"--things {config.thing_ids[-1]} is out of range: label ids are 0 to {number - 1}.",
            "Give ids that the label maps have.",
        )
    instances = any(_has_instances(work / "labels", entry.name) for entry in labels.shards)
    if not instances and not config.things:
        raise V2VError(
            "instances-missing",
            "The label maps have no instances, and --things does not name the labels of objects.",
            "Name these labels (--things 6 --things 7): their connected areas are tracked. Or ingest with --instances.",
        )
    if not instances:
        print("There are no instance maps: objects are the connected areas of --things.", file=sys.stderr)
    if flow is None:
        text = "No flow is used: masks are predicted from their last motion, which gives more wrong ids."
        print(text, file=sys.stderr)


def _has_instances(folder: Folder, shard: str) -> bool:
    index = read_index(folder, shard)
    return index is not None and any(name.endswith(".inst.png") for name in index.members)


STAGE = Stage(
    name="track",
    config=TrackConfig,
    version=1,
    output=lambda config: "tracks",
    make=PerClip(open_tracks, carries_over=True),
    inputs=lambda config: ("labels", "flow") if config.flow else ("labels",),
    resolve=_resolve,
    check=check_inputs,
)
