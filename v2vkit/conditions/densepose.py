"""The condition `densepose`: for every pixel the body part and the coordinates on its surface."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.artifacts.images import decode_image, encode_png
from v2vkit.conditions.augment import Change, warp_id_map
from v2vkit.conditions.base import Bytes, Condition, Size, Use
from v2vkit.conditions.given import check_image
from v2vkit.conditions.layers import OpenLayer, photo_layer
from v2vkit.conditions.settings import Origin
from v2vkit.errors import V2VError
from v2vkit.video.densepose_files import NUM_PARTS
from v2vkit.video.label_files import MapKind

_PART = 2  # the channel of the part index


@dataclass(frozen=True, eq=False)
class DensePoseMap:
    """DensePose of a frame: V, U and the part index I (0 = background, 1 to 24) of every pixel, uint8 [H, W, 3]."""

    vui: NDArray[np.uint8]

    @property
    def size(self) -> Size:
        return self.vui.shape[1], self.vui.shape[0]

    @property
    def found(self) -> bool:
        return bool(self.vui[..., _PART].any())


def drop_body_parts(vui: NDArray[np.uint8], rng: np.random.Generator, probability: float) -> NDArray[np.uint8]:
    """The map with each of the 24 parts set to background, in all three channels, with this probability (vid2vid's
    training; there 0.05)."""
    dropped = np.concatenate([[False], rng.random(NUM_PARTS) < probability])
    return np.where(dropped[vui[..., _PART]][..., None], np.uint8(0), vui)


class DensePoseCondition(Condition[DensePoseMap]):
    """Channels V, U, and the part index times 255/24, rounded: order and scale of vid2vid's published pose networks,
    which see these three channels before the skeleton's (`densepose`, then `pose`)."""

    artifact: ClassVar[str] = "densepose"
    required: ClassVar[tuple[str, ...]] = ("iuv.png",)
    arrays: ClassVar[str] = "V, U and part, uint8 [H, W, 3]"
    reads: ClassVar[Mapping[Use, tuple[str, ...]]] = dict.fromkeys(("channels", "augment"), ("iuv.png",))
    layers: ClassVar[Mapping[str, OpenLayer]] = {"iuv.png": photo_layer}
    nothing: ClassVar[str] = "no person"
    has_parts: ClassVar[bool] = True
    has_bodies: ClassVar[bool] = True
    shows_parts: ClassVar[bool] = True
    signed: ClassVar[bool] = True
    published: ClassVar[Origin | None] = Origin(stage="ingest")
    beside: ClassVar[MapKind | None] = "densepose"

    name: Literal["densepose"] = "densepose"

    def given(self, value: Any, *, size: Size) -> DensePoseMap:
        if isinstance(value, np.ndarray):
            value = DensePoseMap(value)
        if isinstance(value, DensePoseMap):
            part = int(check_image(value.vui, size, "A DensePose map", channels="VUI")[..., _PART].max())
            if part > NUM_PARTS:
                raise V2VError(
                    "part-out-of-range",
                    f"A DensePose map holds part {part}.",
                    f"Parts are 0 (background) to {NUM_PARTS}.",
                )
        return super().given(value, size=size)

    @property
    def num_channels(self) -> int:
        return 3

    @classmethod
    def of_map(cls, numbers: NDArray[Any], *, near_far: tuple[float, float] | None = None) -> DensePoseMap:
        return DensePoseMap(numbers.astype(np.uint8, copy=False))

    @classmethod
    def encode(cls, annotation: DensePoseMap, *, estimator: str = "") -> dict[str, bytes]:
        return {"iuv.png": encode_png(annotation.vui)}

    @classmethod
    def decode(cls, files: Mapping[str, bytes], *, size: Size) -> DensePoseMap:
        vui = decode_image(files["iuv.png"], "a DensePose map")
        if int(vui[..., _PART].max(initial=0)) > NUM_PARTS:
            raise V2VError(
                "part-out-of-range",
                f"A DensePose map holds a part above {NUM_PARTS}.",
                "Make the artifact densepose again.",
            )
        return DensePoseMap(vui)

    def channels(self, annotation: DensePoseMap, image: Image | None = None) -> Bytes:
        channels = np.ascontiguousarray(annotation.vui.transpose(2, 0, 1))
        channels[_PART] = np.rint(channels[_PART] * (255 / NUM_PARTS)).astype(np.uint8)
        return channels

    def augment(self, annotation: DensePoseMap, change: Change) -> DensePoseMap:
        """Warped by nearest neighbour: parts, and surface coordinates of two parts, cannot be mixed."""
        vui = warp_id_map(annotation.vui, change.move)
        if change.drop:  # a seed of its own, so that the choice is independent of the skeleton's
            vui = drop_body_parts(vui, np.random.default_rng([*change.seed, NUM_PARTS]), change.drop)
        return DensePoseMap(vui)

    def preview(self, channels: NDArray[np.float32]) -> Image:
        return np.ascontiguousarray(np.rint(channels * 255).astype(np.uint8).transpose(1, 2, 0))
