"""Pictures for comparison: renderings side by side with their input."""

import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.conditions.preview import contact_sheet
from v2vkit.conditions.regions import Regions
from v2vkit.inference.conditioned import ConditionedFrame
from v2vkit.inference.rollout import Rollout
from v2vkit.inference.styles import Style, Styles
from v2vkit.models.any_generator import AnyGenerator

_COLUMNS = 4


def side_by_side(source: Conditioning, frame: ConditionedFrame, image: Image) -> Image:
    """[input frame |] source map | output, side by side: RGB uint8 [H, n W, 3]."""
    shown = [source.preview(frame.s), image]
    return np.concatenate(shown if frame.frame.image is None else [frame.frame.image, *shown], 1)


def style_sheet(
    generator: AnyGenerator, info: ModelInfo, styles: Styles, s: NDArray[np.float32], regions: Regions
) -> Image:
    """A contact sheet of a source map and its first frame in every style, RGB uint8, at most four pictures a row.

    Args:
        generator: in evaluation mode; it must not need given first frames.
        s: source map float32 [C, H, W].
        regions: of the same frame, int32 [H, W].
    """
    flow = np.zeros((3, *regions.shape), np.float32) if generator.config.takes_flow else None  # no previous frame
    frame = ConditionedFrame(s, flow=flow, regions=regions)
    images = [info.conditioning.preview(s)]
    for seed in styles.seeds:
        images.append(Rollout(generator, info.downsamplings).image(frame.conditioning(Style(styles, seed))))
    captions = ["source map", *(f"style {number}" for number in range(len(styles.seeds)))]
    title = f"{info.stage}: one frame in {len(styles.seeds)} styles"
    return contact_sheet(images, captions, columns=_COLUMNS, title=title)
