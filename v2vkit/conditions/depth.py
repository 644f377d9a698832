"""The condition `depth`: distance of every pixel, and a mask of where it is known."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from v2vkit.arrays import Image
from v2vkit.artifacts.images import decode_gray, encode_png
from v2vkit.conditions.augment import Change, warp_id_map
from v2vkit.conditions.base import Bytes, Condition, Size, Use
from v2vkit.conditions.given import check_ids
from v2vkit.conditions.layers import Layer, OpenLayer
from v2vkit.errors import V2VError
from v2vkit.video.depth_values import (
    FAR,
    NEAR,
    decode_depth,
    depth_channel,
    encode_depth,
    encode_relative,
    relative_channel,
)
from v2vkit.video.label_files import MapKind


@dataclass(frozen=True, eq=False)
class DepthMap:
    """Depth as it is stored, uint16 [H, W], 0 = unknown.

    Metric: metres * 256 (`encode_depth`, KITTI). Relative: normalised inverse depth (`encode_relative`).
    """

    stored: NDArray[np.uint16]

    @classmethod
    def of(cls, depth: NDArray[np.floating], *, near_far: tuple[float, float] | None = None) -> "DepthMap":
        """From depth [H, W], 0 = unknown.

        Args:
            depth: in metres, or of an unknown unit.
            near_far: the range of the shot (`depth_range`) for an unknown unit; None = metres.
        """
        if near_far is None:
            return cls(encode_depth(depth, depth > 0))
        return cls(encode_relative(depth, depth > 0, near=near_far[0], far=near_far[1]))

    @property
    def size(self) -> Size:
        return self.stored.shape[1], self.stored.shape[0]

    @property
    def found(self) -> bool:
        return bool(self.stored.any())


def depth_layer(examples: Any) -> Layer:
    """Stored depth in grey, stretched to the range of each map."""
    return Layer(_stretched, "stored depth in grey, each map from its 2nd to its 98th percentile, red = unknown")


def _stretched(data: bytes, where: str) -> Image:
    stored = decode_gray(data, where).astype(np.float64)
    known = stored > 0
    low, high = np.percentile(stored[known], (2, 98)) if known.any() else (0.0, 1.0)
    grey = np.rint(np.clip((stored - low) / max(high - low, 1), 0, 1) * 255).astype(np.uint8)
    return np.where(known[..., None], grey[..., None], np.array([96, 0, 0], np.uint8)).astype(np.uint8)


class DepthCondition(Condition[DepthMap]):
    """Two channels: inverse depth, (1/d - 1/far) / (1/near - 1/far) cut to [0, 1], and 1 where depth is known.

    Attributes:
        metric: depth is in metres, so that the same distance is the same number in every video; otherwise near and far
            are the 2nd and 98th percentile of each shot, and the unknown unit cancels out.
        near, far: with `metric`, the distances in metres that become 1 and 0.
    """

    artifact: ClassVar[str] = "depth"
    required: ClassVar[tuple[str, ...]] = ("depth.png",)
    arrays: ClassVar[str] = "depth in metres [H, W], 0 = unknown (models of metric depth)"
    reads: ClassVar[Mapping[Use, tuple[str, ...]]] = dict.fromkeys(("channels", "augment"), ("depth.png",))
    layers: ClassVar[Mapping[str, OpenLayer]] = {"depth.png": depth_layer}
    nothing: ClassVar[str] = "no depth"
    mirrors: ClassVar[bool] = True
    beside: ClassVar[MapKind | None] = "depth"

    name: Literal["depth"] = "depth"
    metric: bool = False
    near: float = Field(default=NEAR, gt=0, allow_inf_nan=False)
    far: float = Field(default=FAR, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.near >= self.far:
            raise ValueError(f"near {self.near:g} is not below far {self.far:g}")
        return self

    def __str__(self) -> str:
        return f"depth, {self.near:g} to {self.far:g} m" if self.metric else "relative depth"

    @classmethod
    def configured(cls, settings: Mapping[str, Any], count_labels: Any) -> Self:
        taken = {name: settings[name] for name in ("metric", "near", "far") if name in settings}
        metric = {"metric": True} if settings.get("depth_scale") is not None else {}
        metres = {
            name: settings[f"depth_{name}"] for name in ("near", "far") if settings.get(f"depth_{name}") is not None
        }
        return cls.model_validate(taken | metric | metres)

    def given(self, value: Any, *, size: Size) -> DepthMap:
        """As in `Condition`; arrays in metres for models of metric depth, else `DepthMap.of` with the shot's range."""
        if isinstance(value, np.ndarray):
            value = self._of_metres(value)
        if isinstance(value, DepthMap):
            check_ids(value.stored, np.uint16, "A depth map", size)
        return super().given(value, size=size)

    def _of_metres(self, depth: NDArray[Any]) -> DepthMap:
        if not self.metric:
            raise V2VError(
                "depth-range-required",
                "This model takes relative depth, which needs the range of the shot.",
                "Give DepthMap.of(depth, near_far=(near, far)) for every frame.",
            )
        if (
            depth.ndim != 2
            or not np.issubdtype(depth.dtype, np.floating)
            or not (np.isfinite(depth) & (depth >= 0)).all()
        ):
            raise V2VError(
                "array-mismatch",
                f"A depth map is {depth.dtype} {list(depth.shape)}, or holds negative or infinite values.",
                "Give metres as floating-point numbers [H, W], 0 = unknown.",
            )
        return DepthMap.of(depth)

    @property
    def num_channels(self) -> int:
        return 2

    @classmethod
    def of_map(cls, numbers: NDArray[Any], *, near_far: tuple[float, float] | None) -> DepthMap:
        return DepthMap.of(numbers, near_far=near_far)

    @classmethod
    def encode(cls, annotation: DepthMap, *, estimator: str = "") -> dict[str, bytes]:
        return {"depth.png": encode_png(annotation.stored)}

    @classmethod
    def decode(cls, files: Mapping[str, bytes], *, size: Size) -> DepthMap:
        stored = decode_gray(files["depth.png"], "a depth map")
        if stored.dtype != np.uint16:
            raise V2VError(
                "depth-damaged", "A depth map has 8 bits; 16 are expected.", "Make the artifact depth again."
            )
        return DepthMap(stored.astype(np.uint16, copy=False))

    def channels(self, annotation: DepthMap, image: Image | None = None) -> Bytes:
        if not self.metric:
            return relative_channel(annotation.stored)
        return depth_channel(*decode_depth(annotation.stored), near=self.near, far=self.far)

    def augment(self, annotation: DepthMap, change: Change) -> DepthMap:
        """Warped by nearest neighbour: the mean of a near and a far surface would be no surface."""
        return DepthMap(warp_id_map(annotation.stored, change.move))

    def preview(self, channels: NDArray[np.float32]) -> Image:
        """Near white, far dark, unknown black."""
        return np.repeat(np.rint(channels[0] * 255).astype(np.uint8)[..., None], 3, 2)
