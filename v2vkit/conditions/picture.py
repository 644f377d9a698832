"""The condition `picture`: the same frame in another look (from a simulator, a preview, before colour grading)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.artifacts.images import decode_image, encode_png
from v2vkit.conditions.augment import Change, warp_image
from v2vkit.conditions.base import Bytes, Condition, Size, Use
from v2vkit.conditions.given import check_image
from v2vkit.conditions.layers import OpenLayer, photo_layer
from v2vkit.conditions.settings import Origin


@dataclass(frozen=True, eq=False)
class Picture:
    """A frame in another look: RGB uint8 [H, W, 3]."""

    image: Image

    @property
    def size(self) -> Size:
        return self.image.shape[1], self.image.shape[0]

    @property
    def found(self) -> bool:
        return True


class PictureCondition(Condition[Picture]):
    """The picture's red, green and blue channels.

    It needs no estimator: the frames of a video in that look are the pictures. They are stored losslessly, so a picture
    from disk and a frame on the fly are the same bytes.
    """

    artifact: ClassVar[str] = "pictures"
    required: ClassVar[tuple[str, ...]] = ("picture.png",)
    arrays: ClassVar[str] = "RGB uint8 [H, W, 3]"
    reads: ClassVar[Mapping[Use, tuple[str, ...]]] = dict.fromkeys(("channels", "augment"), ("picture.png",))
    layers: ClassVar[Mapping[str, OpenLayer]] = {"picture.png": photo_layer}
    nothing: ClassVar[str] = "no picture"
    depicts: ClassVar[str] = "frames in another look"
    mirrors: ClassVar[bool] = True
    from_frame: ClassVar[bool] = True
    shows_frame: ClassVar[bool] = True

    name: Literal["picture"] = "picture"

    def given(self, value: Any, *, size: Size) -> Picture:
        if isinstance(value, np.ndarray):
            value = Picture(value)
        if isinstance(value, Picture):
            check_image(value.image, size, "A picture")
        return super().given(value, size=size)

    @property
    def num_channels(self) -> int:
        return 3

    def of_frame(self, image: Image) -> Picture:
        return Picture(image)

    @classmethod
    def encode(cls, annotation: Picture, *, estimator: str = "") -> dict[str, bytes]:
        return {"picture.png": encode_png(annotation.image)}

    @classmethod
    def decode(cls, files: Mapping[str, bytes], *, size: Size) -> Picture:
        return Picture(decode_image(files["picture.png"], "a picture"))

    def channels(self, annotation: Picture, image: Image | None = None) -> Bytes:
        return np.ascontiguousarray(annotation.image.transpose(2, 0, 1))

    def augment(self, annotation: Picture, change: Change) -> Picture:
        return Picture(warp_image(annotation.image, change.move))

    def preview(self, channels: NDArray[np.float32]) -> Image:
        return np.ascontiguousarray(np.rint(channels * 255).astype(np.uint8).transpose(1, 2, 0))

    def refuse_other_footage(self, origin: Origin, source: str) -> None:
        """Refuses nothing: the frames of the video are the pictures."""
