"""The source map s_t: what conditions the generator, per domain. Domains are rows of a table.

Values are in [0, 1] (vid2vid specification 1.5); shapes are [C, H, W] for one frame. Maps are built in bytes, 255 = 1,
and become floats (`to_unit`) last: a street's at 2048x1024 are 75 MB in bytes and 300 MB in floats.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.artifacts.images import decode_gray, decode_image
from v2vkit.conditions.alignment import Placement, place_face, place_people
from v2vkit.conditions.augment import Change, move_ids, move_points
from v2vkit.conditions.curves import strokes_of
from v2vkit.conditions.labels import colorize
from v2vkit.conditions.landmarks import landmarks_from_json
from v2vkit.conditions.people import move_people, people_from_json
from v2vkit.conditions.regions import Regions, face_regions, street_ids, street_regions
from v2vkit.conditions.settings import MapSettings
from v2vkit.conditions.skeleton import NUM_CHANNELS as POSE_CHANNELS
from v2vkit.conditions.skeleton import draw_people, drop_parts, skeleton_channels
from v2vkit.conditions.sketch import NUM_CHANNELS as FACE_CHANNELS
from v2vkit.conditions.sketch import draw_sketch, face_channels
from v2vkit.config import IGNORE, DomainName, StageConfig, setting
from v2vkit.errors import V2VError

Bytes = NDArray[np.uint8]
Image = NDArray[np.uint8]


class SourceConfig(StageConfig):
    """Everything that decides the source map; stored in checkpoints."""

    domain: DomainName = setting(..., "what the video shows")
    num_labels: int = setting(0, "label classes (street)", ge=0, le=255)
    edges: bool = setting(True, "add a channel of instance edges (street)")

    def __str__(self) -> str:
        """In words, for messages."""
        if self.domain == "street":
            return f"street, {self.num_labels} labels, {'with' if self.edges else 'no'} edges"
        return self.domain


@dataclass(frozen=True)
class Domain:
    """One row of the table.

    Attributes:
        kind: the artifact with this domain's maps.
        nothing: what a frame is counted under in which its estimator found nothing.
        required, optional: extensions of its files.
        channels: config -> number of channels of one frame.
        build: config, files by extension -> uint8 [C, H, W], 255 = 1.
        picture: config, s float32 [C, H, W] in [0, 1] -> what people look at, RGB uint8 [H, W, 3].
        changed: the same after a change: also the moved frame (RGB uint8 [H, W, 3]), the change, and the settings of
            the stage that made the maps. Drawn anew where lines are thin, so that it looks like any other frame's.
        regions: files by extension -> `v2vkit.conditions.regions` of the frame, int32 [H, W]; None = the domain has
            none.
        region_files: extensions of the files that this reads, where they are not optional.
        placed: files by extension -> where the subject of the frame is, None = there is none; None = the domain has
            no subject.
    """

    kind: str
    nothing: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    channels: Callable[[SourceConfig], int]
    build: Callable[[SourceConfig, dict[str, bytes]], Bytes]
    picture: Callable[[SourceConfig, NDArray[np.float32]], Image]
    changed: Callable[[SourceConfig, dict[str, bytes], Image, Change, MapSettings], Bytes]
    regions: Callable[[dict[str, bytes]], Regions] | None = None
    region_files: tuple[str, ...] = ()
    placed: Callable[[dict[str, bytes]], Placement | None] | None = None


def to_unit(channels: Bytes) -> NDArray[np.float32]:
    """A source map in bytes as the float32 in [0, 1] that networks take."""
    return channels / np.float32(255)


def one_hot(labels: NDArray[Any], num_labels: int) -> NDArray[np.bool_]:
    """uint8 [H, W] ids -> bool [num_labels, H, W]; ignored pixels (255) are in no channel.

    Raises:
        V2VError: an id that is neither below `num_labels` nor 255.
    """
    wrong = (labels >= num_labels) & (labels != IGNORE)
    if wrong.any():
        raise V2VError(
            f"A label map holds id {int(labels[wrong].max())}, but the model knows {num_labels} labels.",
            f"Train with --num-labels above the highest id, or mark such pixels {IGNORE} (ignore).",
        )
    hot: NDArray[np.bool_] = labels[None] == np.arange(num_labels, dtype=np.uint8)[:, None, None]
    return hot


def instance_edges(ids: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a pixel's id differs from any of its four neighbours, both sides marked: [H, W] -> bool [H, W]."""
    edges = np.zeros(ids.shape, bool)
    for axis in (0, 1):
        a = ids[1:] if axis == 0 else ids[:, 1:]
        b = ids[:-1] if axis == 0 else ids[:, :-1]
        differs = a != b
        if axis == 0:
            edges[1:] |= differs
            edges[:-1] |= differs
        else:
            edges[:, 1:] |= differs
            edges[:, :-1] |= differs
    return edges


def street_channels(labels: NDArray[Any], instances: NDArray[Any] | None, config: SourceConfig) -> Bytes:
    """One-hot labels and, if asked for, the edges between instances (between labels where there are no instances).

    Returns:
        uint8 [C, H, W], 0 or 255.
    """
    channels = one_hot(labels, config.num_labels)
    if config.edges:
        edges = instance_edges(labels)
        if instances is not None and instances.any():
            edges |= instance_edges(instances)
        channels = np.concatenate([channels, edges[None]])
    return np.multiply(channels.view(np.uint8), np.uint8(255))


def _build_face(config: SourceConfig, files: dict[str, bytes]) -> Bytes:
    sketch = decode_gray(files["sketch.png"], "a sketch").astype(np.uint8, copy=False)
    return face_channels(landmarks_from_json(files["json"])[0], sketch)


def _picture_face(config: SourceConfig, s: NDArray[np.float32]) -> Image:
    return np.repeat(np.rint(s[0] * 255).astype(np.uint8)[..., None], 3, 2)


def _changed_face(
    config: SourceConfig, files: dict[str, bytes], image: Image, change: Change, settings: MapSettings
) -> Bytes:
    landmarks = landmarks_from_json(files["json"])[0]
    landmarks = None if landmarks is None else move_points(landmarks, change.move)
    (strokes,) = strokes_of([landmarks])  # both ask for them
    sketch, _ = draw_sketch(image, landmarks, canny=settings.canny, strokes=strokes)
    return face_channels(landmarks, sketch, strokes=strokes)


def _build_pose(config: SourceConfig, files: dict[str, bytes]) -> Bytes:
    return skeleton_channels(decode_image(files["skeleton.png"], "a skeleton"))


def _picture_pose(config: SourceConfig, s: NDArray[np.float32]) -> Image:
    return np.ascontiguousarray(np.rint(s * 255).astype(np.uint8).transpose(1, 2, 0))


def _changed_pose(
    config: SourceConfig, files: dict[str, bytes], image: Image, change: Change, settings: MapSettings
) -> Bytes:
    people = move_people(people_from_json(files["json"]), change.move)
    if people is not None and change.drop:
        people = drop_parts(people, np.random.default_rng(change.seed), change.drop)
    size = (image.shape[1], image.shape[0])
    return skeleton_channels(draw_people(people, size, stroke=settings.stroke))


def _build_street(config: SourceConfig, files: dict[str, bytes]) -> Bytes:
    return street_channels(*street_ids(files), config)


def _picture_street(config: SourceConfig, s: NDArray[np.float32]) -> Image:
    hot = s[: config.num_labels]
    image = colorize(np.where(hot.max(0) > 0, hot.argmax(0), IGNORE).astype(np.uint8))
    if config.edges:
        image[s[-1] > 0] //= 2
    return image


def _changed_street(
    config: SourceConfig, files: dict[str, bytes], image: Image, change: Change, settings: MapSettings
) -> Bytes:
    labels, instances = street_ids(files)
    instances = None if instances is None else move_ids(instances, change.move)
    return street_channels(move_ids(labels, change.move), instances, config)


DOMAINS: dict[DomainName, Domain] = {
    "face": Domain(
        "sketches",
        "no face",
        ("sketch.png", "json"),
        (),
        lambda config: FACE_CHANNELS,
        _build_face,
        _picture_face,
        _changed_face,
        face_regions,
        ("parts.png",),
        lambda files: place_face(landmarks_from_json(files["json"])[0]),
    ),
    "pose": Domain(
        "poses",
        "no person",
        ("skeleton.png", "json"),
        (),
        lambda config: POSE_CHANNELS,
        _build_pose,
        _picture_pose,
        _changed_pose,
        placed=lambda files: place_people(people_from_json(files["json"])),
    ),
    "street": Domain(
        "labels",
        "nothing recognised",
        ("label.png",),
        ("inst.png",),
        lambda config: config.num_labels + int(config.edges),
        _build_street,
        _picture_street,
        _changed_street,
        street_regions,
        ("label.png", "inst.png"),
    ),
}


def num_channels(config: SourceConfig) -> int:
    """Channels of one frame's source map."""
    return DOMAINS[config.domain].channels(config)


def source_map(config: SourceConfig, files: dict[str, bytes]) -> NDArray[np.float32]:
    """float32 [C, H, W] in [0, 1] from a frame's map files (extension -> bytes)."""
    return to_unit(DOMAINS[config.domain].build(config, files))


def source_image(config: SourceConfig, s: NDArray[np.float32]) -> Image:
    """A source map [C, H, W] as people look at it: sketch, skeleton, or labels in colours with edges darkened."""
    return DOMAINS[config.domain].picture(config, s)


def region_files(domain: DomainName, has: Callable[[str], bool]) -> list[str]:
    """Extensions of the files that `region_map` reads of a frame; `has` tells which of the optional ones there are."""
    row = DOMAINS[domain]
    return [name for name in row.region_files if name not in row.optional or has(name)]


def region_map(domain: DomainName, files: dict[str, bytes]) -> Regions:
    """`v2vkit.conditions.regions` of a frame, int32 [H, W], from its `region_files`."""
    regions = DOMAINS[domain].regions
    assert regions is not None, f"{domain} has no regions"
    return regions(files)
