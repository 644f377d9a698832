"""Key points that OpenPose wrote, one JSON file per frame of a source, as the key points of a clip's frames."""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np

from v2vkit.artifacts.manifest import ClipInfo
from v2vkit.conditions.people import Persons, move_people, people_from_json
from v2vkit.errors import V2VError
from v2vkit.video.sources import SourceFiles, natural_key

_HINT = "Name a folder with one OpenPose JSON file for every frame of the source, sorted as the frames are."
_MAX_BYTES = 16 * 1024 * 1024  # a crowd of `MAX_PEOPLE` takes 0.5


def check_places(folder: str, clips: Iterable[ClipInfo]) -> None:
    """Whether it is clear which files belong to which clip: of several sources each has a folder of its own.

    Raises:
        V2VError: two sources have the same name, one has no FOLDER/NAME although there are others, or as `pose_files`.
    """
    found = tuple(clips)
    names = {clip.source.get("file"): _source_name(clip) for clip in found}
    if len(set(names.values())) < len(names):
        raise V2VError(
            "Two sources have the same name, so that their key points are not clear.",
            "Rename one of them and ingest again.",
        )
    absent = next((name for name in names.values() if not (Path(folder) / name).is_dir()), None)
    if len(names) > 1 and absent is not None:
        raise V2VError(
            f"There is no folder {Path(folder) / absent}, and each of the {len(names)} sources needs one of its own.",
            _HINT,
        )
    _sorted_files.cache_clear()  # what an earlier run in this process found may have changed
    for clip in found:
        pose_files(folder, clip)


def _source_name(clip: ClipInfo) -> str:
    """The name of the clip's source, less its ending.

    Raises:
        V2VError: the clip does not tell where it comes from.
    """
    if not {"file", "start", "stop", "crop"} <= set(clip.source):
        raise V2VError(f"Nothing tells from which frames of which file the clip {clip.name} comes.", "Ingest it again.")
    return SourceFiles(clip.source["file"], tuple(clip.source.get("images", ()))).stem


def pose_files(folder: str, clip: ClipInfo) -> list[Path]:
    """The files of a clip's frames, in order.

    They lie in FOLDER/NAME, where NAME is the source's file without its ending (or its folder of images), or in FOLDER
    itself when there is no such folder (and `check_places` allows it). Sorted by name as images are (frame2 before
    frame10), file n belongs to frame n of the source. A folder is listed once for all clips of its source; files that
    were added since are found from the next `check_places` on.

    Raises:
        V2VError: no such folder, or fewer files than the source has frames up to the clip's end.
    """
    own = Path(folder) / _source_name(clip)
    place = own if own.is_dir() else Path(folder)
    if not place.is_dir():
        raise V2VError(f"There is no folder {place}.", _HINT)
    files = _sorted_files(place)
    if len(files) < clip.source["stop"]:
        raise V2VError(
            f"{place} holds {len(files)} JSON files; the clip {clip.name} needs those of the frames up to "
            f"{clip.source['stop'] - 1} of {Path(clip.source['file']).name}.",
            _HINT,
        )
    numbers = clip.source.get("frames", range(clip.source["start"], clip.source["stop"]))  # of a thinned video
    return [files[number] for number in numbers]


@lru_cache(maxsize=1)  # the clips of a source come one after the other
def _sorted_files(place: Path) -> tuple[Path, ...]:
    return tuple(sorted(place.glob("*.json"), key=lambda file: natural_key(file.name)))


def read_people(file: Path, clip: ClipInfo) -> Persons:
    """The people in one file, moved to where they are in the clip's frame (cropped and resized as by `ingest`).

    Raises:
        V2VError: the file cannot be read, or is no OpenPose JSON.
    """
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise V2VError(f"{file} has more than {_MAX_BYTES} bytes.", _HINT)
        data = file.read_bytes()
    except OSError as error:
        raise V2VError(f"{file} cannot be read: {error.strerror}.", _HINT) from None
    left, top, width, height = clip.source["crop"]
    across, down = clip.width / width, clip.height / height
    move = np.array([[across, 0, -left * across], [0, down, -top * down]])
    return move_people(people_from_json(data, str(file)), move)


def files_digest(folder: str) -> str:
    """SHA-256 over the names and contents of all JSON files in a folder and its folders, in the order of the frames.

    Raises:
        V2VError: no such folder, or a file cannot be read.
    """
    digest = hashlib.sha256()
    files = sorted(Path(folder).rglob("*.json"), key=lambda file: [*map(natural_key, file.relative_to(folder).parts)])
    if not files:
        raise V2VError(f"There are no JSON files in {folder}.", _HINT)
    for file in files:
        digest.update(f"{file.relative_to(folder).as_posix()}\n".encode())
        try:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        except OSError as error:
            raise V2VError(f"{file} cannot be read: {error.strerror}.", _HINT) from None
    return digest.hexdigest()
