"""Using a model at another size than that of its training footage."""

from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.alignment import Placement
from v2vkit.config import MAX_PIXELS, Size
from v2vkit.errors import V2VError


def resized(info: ModelInfo, size: Size | None) -> ModelInfo:
    """The description of the same model for frames of another size; all generators here are convolutional.

    Pictures get worse the farther the size is from that of training: the network sees things of another size.

    Args:
        size: of frames and source maps; None = as trained.

    Raises:
        V2VError: the size has too many pixels.
    """
    if size is None:
        return info
    width, height = size
    if width * height > MAX_PIXELS:
        raise V2VError(
            "size-too-large",
            f"{width}x{height} is more than the allowed {MAX_PIXELS} pixels.",
            "Give a smaller --size.",
        )
    placement = info.placement
    if placement is not None:
        across, down = width / info.width, height / info.height
        placement = Placement(
            x=placement.x * across, y=placement.y * down, size=max(1.0, placement.size * (across * down) ** 0.5)
        )
    return info.model_copy(update={"width": width, "height": height, "placement": placement})
