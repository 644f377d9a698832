"""Rendered frames with the maps that they were rendered from, read for `v2v export-dataset`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from v2vkit.errors import V2VError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from v2vkit.video.dataset_formats import LabelledFrame
    from v2vkit.video.label_files import MapKind, Maps
    from v2vkit.video.label_reading import LabelRules
    from v2vkit.video.sources import SourceFiles


@dataclass(frozen=True)
class ClipToExport:
    """The frames of one folder with their maps."""

    name: str
    frames: "SourceFiles"
    labels: "Maps"
    instances: "Maps | None"


@dataclass(frozen=True, eq=False)
class FrameToExport:
    """A frame as it is written, with its pixels and ids; `resized`: its maps had another size."""

    frame: "LabelledFrame"
    image: "NDArray[np.uint8]"
    labels: "NDArray[np.uint8]"
    instances: "NDArray[np.uint16] | None"
    resized: bool


def find_clips(rendered: str, roots: "dict[MapKind, str]", rules: "LabelRules") -> list[ClipToExport]:
    """The folders of frames, each frame with its maps; every map is checked.

    Args:
        rendered: a folder of pictures, or a folder of such folders.
        roots: kind of map -> the user's folder, arranged likewise.
        rules: requirements on the maps.

    Raises:
        V2VError: a map is missing, damaged or wrong, or frames are in videos.
    """
    from v2vkit.video.collect import maps_of
    from v2vkit.video.label_files import check_maps, match_maps, read_map
    from v2vkit.video.sources import find_sources

    sources = find_sources([rendered])
    if any(not source.images for source in sources):
        raise V2VError(
            "format-unsupported",
            f"{rendered} holds videos, whose compression changes the frames.",
            "Render to a folder: `v2v render LABELS RENDERED/ --keep-names`.",
        )
    several = len(sources) > 1
    clips = []
    for source in sources:
        found = {}
        for maps in maps_of(source, roots, several=several):
            found[maps.what] = matched = match_maps(source, len(source.images), maps)
            height, width = read_map(maps.what, Path(maps.folder) / matched.names[0], rules).shape[:2]
            check_maps(source, (width, height), matched, rules, lambda count: None)
        clips.append(ClipToExport(source.stem if several else "", source, found["labels"], found.get("instances")))
    return clips


def labelled_frames(
    clip: ClipToExport, rules: "LabelRules", things: tuple[int, ...], min_pixels: int
) -> Iterator[FrameToExport]:
    """The frames of a clip with their maps, which are resized like the frames if these have another size."""
    from v2vkit.artifacts.images import encode_png
    from v2vkit.video.dataset_formats import LabelledFrame
    from v2vkit.video.dataset_objects import find_objects
    from v2vkit.video.framing import Window, reframe_ids
    from v2vkit.video.images import read_image
    from v2vkit.video.label_files import read_map

    for number, name in enumerate(clip.frames.images):
        path = Path(clip.frames.image_path(number))
        image = read_image(path)
        height, width = image.shape[:2]
        ids: dict[str, Any] = {}
        files: dict[str, bytes] = {}
        resized = False
        for maps in (clip.labels, clip.instances):
            if maps is None:
                continue
            place = Path(maps.folder) / maps.names[number]
            found = read_map(maps.what, place, rules)
            high, wide = found.shape
            if (wide, high) == (width, height):
                files[maps.what] = _unchanged(place, found) or encode_png(found)
            elif abs(wide * height - width * high) <= 0.02 * width * high:
                found = reframe_ids(found, Window(0, 0, wide, high), (width, height))
                files[maps.what], resized = encode_png(found), True
            else:
                raise V2VError(
                    "aspect-mismatch",
                    f"{path} is {width}x{height}, but {place} is {wide}x{high}, which is another aspect ratio.",
                    "Render without cropping, or crop the maps likewise.",
                )
            ids[maps.what] = found
        yield FrameToExport(
            LabelledFrame(
                clip=clip.name,
                name=Path(name).stem,
                image=path.read_bytes() if path.suffix.lower() == ".png" else encode_png(image),
                labels=files["labels"],
                instances=files.get("instances"),
                size=(width, height),
                objects=find_objects(ids["labels"], ids.get("instances"), things, min_pixels=min_pixels),
            ),
            image,
            ids["labels"],
            ids.get("instances"),
            resized=resized,
        )


def _unchanged(path: Path, ids: "NDArray[Any]") -> bytes | None:
    """The bytes of a file that stores exactly these ids in one channel; else None."""
    import numpy as np

    from v2vkit.video.images import read_numbers

    stored = read_numbers(path)
    return path.read_bytes() if stored.ndim == 2 and np.array_equal(stored, ids) else None
