"""The format of `ClipInfo.source`: where a clip comes from, as JSON."""

from typing import Literal, TypedDict

MapName = Literal["labels", "instances", "depth", "densepose", "flow"]
"""A kind of maps that come with frames, as a key of `ClipSource`."""


class MapFiles(TypedDict, total=False):
    """The maps of one kind beside a clip's frames."""

    folder: str  # when the clip was planned; it may have moved since
    files: list[str]  # names, one per frame; empty = the frame has no map (sparse labels)
    near_far: list[float]  # range of the shot's depth, if its unit is not known


class PicturesBeside(TypedDict, total=False):
    """The pictures of another look beside a clip's frames."""

    crop: list[int]  # left, top, width, height in their pixels
    images: list[str]  # names, one per frame, if they are a folder
    start_pts: int  # time stamp of the first one if it can be sought by it


class FaceFound(TypedDict):
    """The face that a clip is cropped around."""

    estimator: str  # name
    version: str  # of the estimator
    frame: int  # number in the source


class ClipSource(TypedDict, total=False):
    """Where a clip comes from: the keys that apply, all written by `ingest` but the last two."""

    file: str  # path of the video or folder
    number: int  # position among the sources of the command, from 1
    start: int  # number of the first frame in the source (of `predict`: of the first observed frame in its shot)
    stop: int  # number of the frame after the last one
    shot: int  # number of the shot in the source
    size: list[int]  # width, height of the source's frames
    crop: list[int]  # left, top, width, height in the source's frames
    face: FaceFound  # with --crop face
    frames: list[int]  # numbers in the source, if --fps leaves some out
    start_pts: int  # time stamp of the first frame if it can be sought by it
    images: list[str]  # names, one per frame, if the source is a folder
    labels: MapFiles  # the maps that came with the frames, by kind
    instances: MapFiles
    depth: MapFiles
    densepose: MapFiles
    flow: MapFiles
    picture: PicturesBeside
    short_shots: list[list[int]]  # first frame and end of shots that are too short; only in the first clip of a source
    clip: str  # of `predict`: first clip of the observed shot
    observed: int  # of `predict`: number of observed frames
