"""Transfer to other people: the proportions that a driver gets, and the rendered face put back into its frame."""

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.body_proportions import BodyProportions
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.face_proportions import FaceProportions
from v2vkit.conditions.proportions import typical_proportions
from v2vkit.config import Size
from v2vkit.errors import V2VError
from v2vkit.inference.conditioned import ConditionedFrame
from v2vkit.pipeline.stage import load_inputs

_GROW, _SOFT = 0.04, 0.05
"""The mask of a face is widened and blurred by these parts of its height."""


def find_proportions(info: ModelInfo, work: Folder) -> FaceProportions | BodyProportions:
    """The proportions of the model's subject: stored in the model, else measured on the workspace's annotations.

    Raises:
        V2VError: the model has no subject or other conditions beside it, or neither knows them.
    """
    if info.conditioning.with_subject is None:
        raise V2VError(
            "retargeting-unsupported",
            f"--retarget is for faces and bodies; this model is conditioned on {info.conditioning.names}.",
            "Leave it out.",
        )
    if len(info.conditioning.conditions) > 1:
        raise V2VError(
            "retargeting-unsupported",
            f"--retarget changes the subject alone, but this model is conditioned on {info.conditioning.names}, whose "
            "other maps would stay as they are in the video.",
            "Leave it out.",
        )
    if info.proportions is not None:
        return info.proportions
    kinds = info.conditioning.artifacts
    found = None
    if all((work / kind).exists(MANIFEST) for kind in kinds):
        reader = ClipReader(work, load_inputs(work, kinds))
        found = typical_proportions(reader, info.conditioning) if any(of.num_frames for of in reader.clips) else None
    if found is None:
        raise V2VError(
            "retargeting-unsupported",
            f"This model does not store the proportions of its training footage, and {work.url} has no {kinds[0]}.",
            "Render without --retarget, or train it again.",
        )
    return found


def at_size(
    found: FaceProportions | BodyProportions, info: ModelInfo, size: Size | None
) -> FaceProportions | BodyProportions:
    """The proportions in frames of another size; `info`: as trained."""
    if size is None:
        return found
    across, down = size.width / info.width, size.height / info.height
    return found.scaled(across, down)


def refuse_paste_back(info: ModelInfo, *, compare: bool) -> None:
    """Check that a rendered frame can be put back into the driving frame.

    Raises:
        V2VError: the model has no face, or --compare wants the rendering alone.
    """
    if info.conditioning.of_task("face") is None:
        raise V2VError(
            "paste-back-unsupported",
            f"--paste-back is for faces; this model is conditioned on {info.conditioning.names}.",
            "Leave it out.",
        )
    if compare:
        raise V2VError(
            "setting-conflict",
            "--paste-back writes the driving frame, --compare the rendered one.",
            "Give one of them.",
        )


def paste_back(frame: ConditionedFrame, image: Image) -> Image:
    """The driving frame in its full size with the rendered face in it.

    Args:
        frame: with the uncropped frame (`InputFrame.original`), its crop window and the regions of its face.
        image: rendering of the crop window, RGB uint8 [H, W, 3].

    Returns:
        RGB uint8 of the size of the source; without a face the driving frame unchanged.
    """
    original, window, regions = frame.frame.original, frame.frame.window, frame.regions
    assert original is not None, "kept by `crop_shots`"
    assert window is not None, "kept by `crop_shots`"
    if regions is None or not regions.any():
        return original
    height, width = original.shape[:2]
    size = (window.width, window.height)
    share = cv2.resize(soft_mask(regions > 0), size, interpolation=cv2.INTER_LINEAR)
    face = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    left, top = max(window.x, 0), max(window.y, 0)
    right, bottom = min(window.x + window.width, width), min(window.y + window.height, height)
    if right <= left or bottom <= top:
        return original
    inside = np.s_[top - window.y : bottom - window.y, left - window.x : right - window.x]
    part, mask = original[top:bottom, left:right], share[inside][..., None]
    pasted = original.copy()
    pasted[top:bottom, left:right] = np.rint(part + (face[inside].astype(np.float32) - part) * mask).astype(np.uint8)
    return pasted


def soft_mask(face: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A mask [H, W] of a face with a soft edge: 1 inside, 0 from some pixels outside on.

    The border of the picture is 0 too, so that a face that is cut off there leaves no edge in a larger frame.
    """
    rows = np.flatnonzero(face.any(1))
    extent = 0 if not len(rows) else int(rows[-1] - rows[0] + 1)
    grow, soft = max(1, round(extent * _GROW)), max(1.0, extent * _SOFT)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grow + 1, 2 * grow + 1))
    wide = cv2.dilate(face.astype(np.float32), disc)
    wide[[0, -1], :] = wide[:, [0, -1]] = 0
    return np.asarray(cv2.GaussianBlur(wide, (0, 0), soft, borderType=cv2.BORDER_CONSTANT), np.float32)
