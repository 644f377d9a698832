"""Crops around faces for `v2v ingest`."""

from dataclasses import astuple
from typing import TYPE_CHECKING

from v2vkit.artifacts.clip_source import ClipSource

if TYPE_CHECKING:
    from v2vkit.estimators.base import FaceEstimator
    from v2vkit.video.collect import OpenedSource
    from v2vkit.video.shots import ClipRange


def crop_around_face(opened: "OpenedSource", clip_range: "ClipRange", find_face: "FaceEstimator") -> ClipSource | None:
    """The crop around the first face found in a clip; None if there is none."""
    from v2vkit.video.footage import read_frames
    from v2vkit.video.framing import first_face
    from v2vkit.video.subsampling import only

    fps = opened.footage.fps
    every = read_frames(opened.source, clip_range.start, clip_range.stop, fps=fps, start_pts=clip_range.start_pts)
    found = first_face(only(every, clip_range.frames), find_face)
    if found is None:
        return None
    number, window = found
    return {
        "crop": list(astuple(window)),
        "face": {"estimator": find_face.name, "version": find_face.version, "frame": number},
    }


def open_face(name: str, weights: str | None) -> "FaceEstimator":
    """Open the face estimator of that name; raises V2VError if a package or weights file is missing."""
    from v2vkit.estimators.registry import chosen, open_estimator

    name, settings = chosen("face", {"face": name, "weights": weights})
    estimator: FaceEstimator = open_estimator("face", name, **settings)
    return estimator
