"""Key point files written by OpenPose, one JSON per frame of a source, read as the key points of a clip's frames."""

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from v2vkit.artifacts.manifest import ClipInfo
from v2vkit.conditions.openpose_pairing import HINT, FileNames, check_pairing, files_of_frames
from v2vkit.conditions.people import Person, Persons, transform_people
from v2vkit.conditions.people_files import people_from_json
from v2vkit.errors import V2VError
from v2vkit.video.sources import SourceFiles, natural_key

_MAX_BYTES = 16 * 1024 * 1024  # a crowd of `MAX_PEOPLE` takes 0.5
_LARGEST_NORMALISED = 2.0  # nobody stays within two pixels of the corner in every frame
_TOLD_OUTSIDE, _MOST_OUTSIDE = 0.05, 0.5  # shares of points; estimators put a few just outside
_SMALL = 0.55  # share of both sides that points of smaller pictures reach; OpenPose's network sees 656x368 of 1280x720
_MARGIN = 1.0  # pixels outside the frame that still count as inside


def check_files(folder: str, clips: Iterable[ClipInfo], *, whole: bool, layout: str = "body25") -> dict[str, str]:
    """Check that every frame of every clip has key points, and that they were written for these frames.

    Args:
        folder: as in `pose_files`; several sources need one subfolder each.
        clips: of all sources.
        whole: every frame of a source is in a clip, or in a shot that is known to be too short.
        layout: of the bodies' points.

    Returns:
        name of a source -> note for the user about its key points.

    Raises:
        V2VError: two sources have the same name; one of several sources has no FOLDER/NAME; files and frames cannot be
            paired (`check_pairing`); a file is not OpenPose's; or the key points were written for other pictures.
    """
    of_source: dict[str, list[ClipInfo]] = {}
    for clip in clips:
        _source_name(clip)
        of_source.setdefault(clip.source["file"], []).append(clip)
    names = {file: _source_name(found[0]) for file, found in of_source.items()}
    if len(set(names.values())) < len(names):
        raise V2VError(
            "source-name-conflict",
            "Two sources have the same name, so it is not clear which key points belong to which.",
            "Rename one of them and ingest again.",
        )
    absent = next((name for name in names.values() if not (Path(folder) / name).is_dir()), None)
    if len(names) > 1 and absent is not None:
        raise V2VError(
            "folder-missing",
            f"There is no folder {Path(folder) / absent}; each of the {len(names)} sources needs its own.",
            HINT,
        )
    _list_files.cache_clear()  # files may have changed since an earlier run in this process
    told: dict[str, str] = {}
    for file, found in of_source.items():
        place = _place(folder, found[0])
        sources = [clip.source for clip in found]
        notes = [check_pairing(_list_files(place), sources, _length(found) if whole else None)]
        people = (_read(path, layout) for clip in found for path in pose_files(folder, clip))
        width, height = found[0].source["size"]
        notes.append(_check_range(people, (width, height), Path(file).name, str(place)))
        if text := "; ".join(note for note in notes if note):
            told[f"key points of {names[file]}"] = text
    return told


def _length(clips: Sequence[ClipInfo]) -> int | None:
    """The number of frames of the source of all these clips; None if frames were left out (thinned)."""
    if any("frames" in clip.source for clip in clips):
        return None
    short = [bounds[1] for clip in clips for bounds in clip.source.get("short_shots", ())]
    return max([*(clip.source["stop"] for clip in clips), *short])


def _check_range(people: Iterable[Persons], size: tuple[int, int], file: str, where: str) -> str:
    """Check that key points are pixels within frames of this (width, height); returns a note for the user, or "".

    Raises:
        V2VError: they are normalised, or most lie outside.
    """
    count = outside = 0
    limits = np.array(size, np.float32)
    reach = np.zeros(2, np.float32)
    for found in people:
        points = _points(found)
        count += len(points)
        outside += int(((points < -_MARGIN) | (points > limits + _MARGIN)).any(1).sum())
        reach = np.maximum(reach, np.abs(points).max(0, initial=0))
    if not count:
        return f"there is nobody in any file of {where}"
    picture, far = "x".join(map(str, size)), "x".join(f"{v:.0f}" for v in reach)
    if reach.max() <= _LARGEST_NORMALISED:
        raise V2VError(
            "keypoints-out-of-range",
            f"The key points in {where} are normalised: no coordinate is above {reach.max():.3g}.",
            "Write them in pixels of the ingested video: OpenPose's --keypoint_scale 0.",
        )
    text = f"{100 * outside / count:.0f} % of the key points in {where} lie outside the {picture} frames of {file}"
    if outside > _MOST_OUTSIDE * count:
        raise V2VError(
            "keypoints-out-of-range",
            f"{text}; they reach {far}.",
            "Run OpenPose with --keypoint_scale 0 on the ingested video, or ingest the video that it ran on.",
        )
    if outside > _TOLD_OUTSIDE * count:
        return f"{text}; they reach {far}: were they written for larger pictures?"
    if (reach <= limits * _SMALL).all():
        return f"no key point in {where} is beyond {far} in {picture} frames: were they written for smaller pictures?"
    return ""


def _points(people: Persons) -> NDArray[np.float32]:
    """x and y of all points that are not missing, float32 [N, 2]."""
    parts = [part for person in people for part in _parts(person)]
    points = np.concatenate(parts) if parts else np.zeros((0, 3), np.float32)
    return points[points[:, 2] > 0, :2]


def _parts(person: Person) -> list[NDArray[np.float32]]:
    found = (person.body, person.face, person.left_hand, person.right_hand)
    return [part for part in found if part is not None]


def _source_name(clip: ClipInfo) -> str:
    """The name of the clip's source without its ending.

    Raises:
        V2VError: the clip does not record its source.
    """
    if not {"file", "start", "stop", "crop", "size"} <= set(clip.source):
        raise V2VError(
            "source-unknown",
            f"The clip {clip.name} does not record from which frames of which file it was made.",
            "Ingest it again.",
        )
    return SourceFiles(clip.source["file"], tuple(clip.source.get("images", ()))).stem


def pose_files(folder: str, clip: ClipInfo) -> list[Path]:
    """The files of a clip's frames, in order; run `check_files` first.

    They lie in FOLDER/NAME, where NAME is the source's file without its ending (or its folder of images), or, if there
    is no such folder, in FOLDER itself. Hidden files are ignored. `files_of_frames` pairs files and frames. A folder is
    listed once for all clips of its source; `check_files` lists it again.

    Raises:
        V2VError: no such folder, or a frame without a file.
    """
    place = _place(folder, clip)
    return [place / name for name in files_of_frames(_list_files(place), clip.source)]


def _place(folder: str, clip: ClipInfo) -> Path:
    own = Path(folder) / _source_name(clip)
    place = own if own.is_dir() else Path(folder)
    if not place.is_dir():
        raise V2VError("folder-missing", f"There is no folder {place}.", HINT)
    return place


@lru_cache(maxsize=1)  # clips of one source come in sequence
def _list_files(place: Path) -> FileNames:
    names = [file.name for file in place.iterdir() if _is_json(file.name)]
    if not names:
        raise V2VError("keypoints-missing", f"There are no JSON files in {place}.", HINT)
    return FileNames.of(sorted(names, key=natural_key), str(place))


def _is_json(name: str) -> bool:
    """Whether it is a JSON file and not a hidden one (file managers write `._NAME.json`)."""
    return name.lower().endswith(".json") and not name.startswith(".")


def read_people(file: Path, clip: ClipInfo, *, layout: str = "body25") -> Persons:
    """The people in one file, in coordinates of the clip's frame (cropped and resized as by `ingest`).

    Raises:
        V2VError: the file cannot be read, or is not OpenPose's JSON.
    """
    left, top, width, height = clip.source["crop"]
    across, down = clip.width / width, clip.height / height
    move = np.array([[across, 0, -left * across], [0, down, -top * down]])
    return transform_people(_read(file, layout), move)


def _read(file: Path, layout: str) -> Persons:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise V2VError("keypoints-damaged", f"{file} has more than {_MAX_BYTES} bytes.", HINT)
        data = file.read_bytes()
    except OSError as error:
        raise V2VError("file-unreadable", f"{file} cannot be read: {error.strerror}.", HINT) from None
    return people_from_json(data, str(file), layout=layout)


def files_digest(folder: str) -> str:
    """SHA-256 over names and contents of all JSON files in a folder and its subfolders, in the order of the frames.

    Hidden files and folders are ignored.

    Raises:
        V2VError: no such folder, or a file cannot be read.
    """
    digest = hashlib.sha256()
    found = {file.relative_to(folder): file for file in Path(folder).rglob("*") if _is_json(file.name)}
    shown = [path for path in found if not any(part.startswith(".") for part in path.parts)]
    if not shown:
        raise V2VError("keypoints-missing", f"There are no JSON files in {folder}.", HINT)
    for path in sorted(shown, key=lambda path: [*map(natural_key, path.parts)]):
        digest.update(f"{path.as_posix()}\n".encode())
        try:
            digest.update(hashlib.sha256(found[path].read_bytes()).digest())
        except OSError as error:
            raise V2VError("file-unreadable", f"{found[path]} cannot be read: {error.strerror}.", HINT) from None
    return digest.hexdigest()
