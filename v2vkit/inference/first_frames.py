"""The first frames of a video: made by an image model (`--first-frame image`), or real ones that are given."""

import numpy as np
from numpy.typing import NDArray

from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import MODEL, ModelInfo, load_model
from v2vkit.errors import V2VError
from v2vkit.inference.framing import frame_images
from v2vkit.models.any_generator import AnyGenerator, is_independent
from v2vkit.video.images import read_image
from v2vkit.video.sources import find_sequence


def find_first_frame_model(work: Folder, folder: str | None, info: ModelInfo) -> AnyGenerator | None:
    """The generator that makes a video's first L frames, on the CPU; None where the model needs none.

    Args:
        work: workspace whose `checkpoints/pix2pixhd` is taken when no folder is named.
        folder: the image model's checkpoint, or None.
        info: of the video model.

    Raises:
        V2VError: there is no such model, or one for another size or other source maps; a folder was named for a model
            that does not begin from an image model's frames.
    """
    if info.first_frame != "image":
        if folder is not None:
            raise V2VError(
                f"This model begins by itself (--first-frame {info.first_frame}), not with an image model.",
                "Leave out --first-frame-model.",
            )
        return None
    place = Folder(folder) if folder is not None else work / "checkpoints/pix2pixhd"
    if folder is None and not place.exists(MODEL):
        raise V2VError(
            f"This model begins from frames of an image model, and there is none in {work.url}.",
            "Run `v2v train --method pix2pixhd`, or name one with --first-frame-model FOLDER.",
        )
    generator, found = load_model(place)
    if not is_independent(generator.config):
        raise V2VError(
            f"{place.url} makes no first frames.", "Name a checkpoint that `v2v train --method pix2pixhd` made."
        )
    if found.encoder is not None:
        raise V2VError(
            f"The image model {place.url} takes features, which this video model has none of.",
            "Train one without --feature-dims.",
        )
    if (found.width, found.height) != (info.width, info.height):
        raise V2VError(
            f"The image model {place.url} makes {found.width}x{found.height}; {info.width}x{info.height} is needed.",
            "Train one on the frames of this workspace.",
        )
    if not found.conditioning.same_channels(info.conditioning):
        raise V2VError(
            f"The image model {place.url} is conditioned on other source maps than the video model "
            f"({found.conditioning}; here {info.conditioning}).",
            "Train both on the same maps with the same --num-labels and --edges.",
        )
    return generator


def read_first_frames(folder: str | None, info: ModelInfo) -> NDArray[np.uint8] | None:
    """The L real frames to begin every shot from, RGB uint8 [L, H, W, 3], framed as in training; None without one.

    Raises:
        V2VError: a model that was trained only from real frames gets none, or one that takes none gets some; the folder
            holds too few.
    """
    length = info.generator.history
    if folder is None:
        if info.first_frame == "real":
            raise V2VError(
                "This model was trained to begin from real frames (--first-frame real).",
                f"Give a folder with {length} images with --first-frames, or train with --first-frame self.",
            )
        return None
    if not length:
        raise V2VError("This model makes every frame by itself and takes no first ones.", "Leave out --first-frames.")
    files = find_sequence(folder)
    if len(files.images) < length:
        raise V2VError(f"{folder} holds {len(files.images)} images; {length} are needed.", "Add the missing ones.")
    return frame_images([read_image(files.image_path(number)) for number in range(length)], info)
