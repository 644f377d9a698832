"""The condition `edges`: thresholded Laplacian edges of the frame itself (S-Flow GAN paper, section 3.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from v2vkit.arrays import Image
from v2vkit.artifacts.images import decode_gray
from v2vkit.conditions.augment import Change, warp_id_map
from v2vkit.conditions.base import Bytes, Condition, Size, Use
from v2vkit.conditions.given import refuse_size
from v2vkit.conditions.laplacian import laplacian_edges
from v2vkit.conditions.layers import OpenLayer, gray_layer
from v2vkit.conditions.settings import Origin
from v2vkit.conditions.sketch import encode_drawing
from v2vkit.errors import V2VError
from v2vkit.models.laplacian import MAX_SIGMA, SIGMA, THRESHOLD, Kernel


@dataclass(frozen=True, eq=False)
class EdgeMap:
    """Edges of a frame: uint8 [H, W], 255 on 0."""

    edges: NDArray[np.uint8]

    @property
    def size(self) -> Size:
        return self.edges.shape[1], self.edges.shape[0]

    @property
    def found(self) -> bool:
        return True


class EdgesCondition(Condition[EdgeMap]):
    """One channel, 1 on edges: |Laplacian(Gaussian(grey))| above a threshold.

    Edges are those of the real frame in training, and those of the source frame (of a simulator) in use. No estimator
    is needed.

    Attributes:
        kernel: the discrete Laplacian: `cross` has 4 neighbours, `square` 8.
        sigma: standard deviation in pixels of the Gaussian blur before it; 0 = none.
        threshold: response in grey levels of 255 above which a pixel is an edge.
    """

    artifact: ClassVar[str] = "edges"
    required: ClassVar[tuple[str, ...]] = ("edges.png",)
    arrays: ClassVar[str] = "edges, bool or uint8 [H, W], 0 = none"
    reads: ClassVar[Mapping[Use, tuple[str, ...]]] = dict.fromkeys(("channels", "augment"), ("edges.png",))
    layers: ClassVar[Mapping[str, OpenLayer]] = {"edges.png": gray_layer}
    nothing: ClassVar[str] = "no edges"
    mirrors: ClassVar[bool] = True
    from_frame: ClassVar[bool] = True
    shows_edges: ClassVar[bool] = True

    name: Literal["edges"] = "edges"
    kernel: Kernel = "cross"
    sigma: float = Field(default=SIGMA, ge=0, le=MAX_SIGMA, allow_inf_nan=False)
    threshold: float = Field(default=THRESHOLD, ge=0, le=4096, allow_inf_nan=False)

    def __str__(self) -> str:
        return f"edges ({self.kernel}, sigma {self.sigma:g}, threshold {self.threshold:g})"

    def given(self, value: Any, *, size: Size) -> EdgeMap:
        if isinstance(value, np.ndarray):
            if value.ndim != 2 or value.dtype not in (np.bool_, np.uint8):
                raise V2VError(
                    "array-mismatch",
                    f"An edge map is {value.dtype} {list(value.shape)}.",
                    "Give bool or uint8 [H, W]; 0 = no edge, all other values are edges.",
                )
            refuse_size((value.shape[1], value.shape[0]), size, "An edge map")
            value = EdgeMap(_binary(value))
        return super().given(value, size=size)

    @property
    def num_channels(self) -> int:
        return 1

    def of_frame(self, image: Image) -> EdgeMap:
        edges = laplacian_edges(image, kernel=self.kernel, sigma=self.sigma, threshold=self.threshold)
        return EdgeMap(_binary(edges))

    @classmethod
    def encode(cls, annotation: EdgeMap, *, estimator: str = "") -> dict[str, bytes]:
        return {"edges.png": encode_drawing(annotation.edges, strokes=True)}

    @classmethod
    def decode(cls, files: Mapping[str, bytes], *, size: Size) -> EdgeMap:
        return EdgeMap(_binary(decode_gray(files["edges.png"], "an edge map")))

    def channels(self, annotation: EdgeMap, image: Image | None = None) -> Bytes:
        return annotation.edges[None]

    def augment(self, annotation: EdgeMap, change: Change) -> EdgeMap:
        """Warped by nearest neighbour, so that the map stays binary."""
        return EdgeMap(warp_id_map(annotation.edges, change.move))

    def preview(self, channels: NDArray[np.float32]) -> Image:
        return np.repeat(np.rint(channels[0] * 255).astype(np.uint8)[..., None], 3, 2)

    def refuse_other_footage(self, origin: Origin, source: str) -> None:
        """Refuses nothing: edges are made from the frames of the video."""


def _binary(edges: NDArray[Any]) -> NDArray[np.uint8]:
    return np.where(edges != 0, np.uint8(255), np.uint8(0))
