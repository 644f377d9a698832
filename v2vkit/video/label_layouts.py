"""Label maps as annotation programs write them out: where their files lie, and which classes they have.

CVAT's "Segmentation mask": a folder or .zip with `labelmap.txt` (name:r,g,b::), SegmentationClass/ and
SegmentationObject/.
COCO panoptic: a JSON beside a folder of PNGs whose colours are segment ids, red + 256 green + 65536 blue
(https://cocodataset.org/#format-data).
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from v2vkit.classes.table import ClassTable, LabelClass
from v2vkit.config import IGNORE
from v2vkit.errors import V2VError
from v2vkit.video.images import read_image
from v2vkit.video.label_archive import is_zip, unpacked

LABEL_MAP = "labelmap.txt"
_FOLDERS = {"labels": "SegmentationClass", "instances": "SegmentationObject"}
_BACKGROUND = "background"
_MAX_TEXT = 1_000_000
_MAX_JSON = 2**31


def is_panoptic(path: str | None) -> bool:
    """Whether a path given for label maps means COCO's panoptic format."""
    return path is not None and Path(path).suffix.lower() == ".json"


def is_cvat(path: str | None) -> bool:
    """Whether a path given for label maps is a folder or .zip as CVAT writes it; False also where it cannot be read.

    Raises:
        V2VError: a .zip that cannot be unpacked.
    """
    try:
        return path is not None and (is_zip(path) or (Path(path) / LABEL_MAP).is_file())
    except OSError:  # opening the maps names the reason
        return False


def maps_folder(path: str, what: str) -> str:
    """The folder with the maps of a path that the user gave for `labels` or `instances`.

    Raises:
        V2VError: an archive that is not CVAT's .zip, or the folder that belongs to it is missing.
    """
    if is_zip(path):
        path = unpacked(path)
    if Path(path).suffix.lower() in (".tgz", ".tar", ".gz"):
        raise V2VError(
            "archive-packed", f"{path} is an archive, not a folder of {what}.", "Unpack it and give its folder."
        )
    if is_panoptic(path):
        folder = Path(path).with_suffix("")
        return str(folder if folder.is_dir() else Path(path).parent)
    if is_cvat(path):
        folder = Path(path) / _FOLDERS[what]
        if not folder.is_dir():
            raise V2VError(
                "folder-missing",
                f"{path} holds {LABEL_MAP}, but no folder {_FOLDERS[what]} with the {what}.",
                "Export the task from CVAT as `Segmentation mask`, and give the .zip or all of its content.",
            )
        return str(folder)
    return path


def own_table(path: str | None) -> ClassTable | None:
    """The class table that comes with label maps; None where none does.

    Raises:
        V2VError: it is damaged.
    """
    if path is None:
        return None
    if is_panoptic(path):
        return read_panoptic(path).table
    if is_zip(path):
        path = unpacked(path)
    return _read_label_map(Path(path) / LABEL_MAP) if is_cvat(path) else None


def _read_label_map(path: Path) -> ClassTable:
    """CVAT's table: its classes are numbered in the order of the file, without the background, which is ignored."""
    classes: list[LabelClass] = []
    try:
        text = path.read_bytes()[:_MAX_TEXT].decode("utf-8-sig")
        for line in text.splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            name, colour, *_ = line.split(":")
            red, green, blue = (int(number) for number in colour.split(","))
            ignore = name.strip().casefold() == _BACKGROUND
            number = IGNORE if ignore else sum(not of.ignore for of in classes)
            classes.append(LabelClass(id=number, name=name.strip(), colour=(red, green, blue), ignore=ignore))
        return ClassTable(name="CVAT", classes=tuple(classes))
    except OSError as error:
        raise V2VError(
            "file-unreadable", f"{path} cannot be read: {error.strerror}.", "Check its permissions."
        ) from None
    except (ValueError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise V2VError(
            "class-table-damaged",
            f"{path} is no label map of CVAT ({first}).",
            "Its lines are NAME:RED,GREEN,BLUE:: with numbers from 0 to 255.",
        ) from None


class _Category(BaseModel):
    id: int = Field(ge=0, le=2**31)
    name: str
    isthing: int = 0
    color: tuple[int, int, int] | None = None


class _Segment(BaseModel):
    id: int = Field(ge=1, le=2**24)
    category_id: int
    iscrowd: int = 0


class _Annotation(BaseModel):
    file_name: str
    segments_info: tuple[_Segment, ...]


class _PanopticFile(BaseModel):
    annotations: tuple[_Annotation, ...]
    categories: tuple[_Category, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Panoptic:
    """A panoptic JSON.

    Attributes:
        table: its categories; their own ids where all are below 255, else numbered from 0 in their order.
        segments: name of a PNG -> (segment id, label id, whether it is one object of a thing).
    """

    table: ClassTable
    segments: dict[str, tuple[tuple[int, int, bool], ...]]


@lru_cache(maxsize=2)
def read_panoptic(path: str) -> Panoptic:
    """A panoptic JSON; read once, although every map needs it.

    Raises:
        V2VError: missing, or not in that format.
    """
    hint = "Give the JSON of COCO's panoptic format: annotations with segments_info, and categories."
    try:
        if Path(path).stat().st_size > _MAX_JSON:
            raise ValueError("larger than 2 GiB")
        content = _PanopticFile.model_validate(json.loads(Path(path).read_bytes()))
        small = max(of.id for of in content.categories) < IGNORE
        numbers = {of.id: of.id if small else i for i, of in enumerate(content.categories)}
        things = {of.id for of in content.categories if of.isthing}
        classes = tuple(
            LabelClass(id=numbers[of.id], name=of.name, colour=of.color, thing=bool(of.isthing))
            for of in content.categories
        )
        segments = {
            one.file_name: tuple(
                (of.id, numbers[of.category_id], of.category_id in things and not of.iscrowd)
                for of in one.segments_info
            )
            for one in content.annotations
        }
        return Panoptic(ClassTable(name=Path(path).stem[:64], classes=classes), segments)
    except FileNotFoundError:
        raise V2VError("file-missing", f"{path} does not exist.", hint) from None
    except OSError as error:
        raise V2VError(
            "file-unreadable", f"{path} cannot be read: {error.strerror}.", "Check its permissions."
        ) from None
    except KeyError as error:
        raise V2VError("panoptic-damaged", f"{path}: no category has the id {error}.", hint) from None
    except (ValueError, RecursionError) as error:
        raise V2VError(
            "panoptic-damaged", f"{path} is not in COCO's panoptic format ({_first(error)}).", hint
        ) from None


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        item: Any = error.errors()[0]
        return f"{'.'.join(map(str, item['loc']))}: {item['msg']}"
    return (str(error).splitlines() or ["damaged"])[0]


def panoptic_maps(path: str | Path, description: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Label ids (255 = none) and instance ids (0 = none) of a panoptic PNG, int64 [H, W] each.

    Raises:
        V2VError: the PNG is damaged, or the JSON does not know it or one of its segments.
    """
    known = read_panoptic(description).segments
    name = Path(path).name
    if name not in known:
        raise V2VError(
            "map-unmatched", f"{description} has no annotation for {path}.", "Give the JSON that belongs to these PNGs."
        )
    image = read_image(path).astype(np.int64)
    codes = image[..., 0] + (image[..., 1] << 8) + (image[..., 2] << 16)
    found, places = np.unique(codes, return_inverse=True)
    labels, instances = np.full(len(found), IGNORE, np.int64), np.zeros(len(found), np.int64)
    segments = {segment: (label, i * thing) for i, (segment, label, thing) in enumerate(known[name], start=1)}
    for i, code in enumerate(found.tolist()):
        if code == 0:
            continue
        if code not in segments:
            raise V2VError(
                "panoptic-damaged",
                f"{path} holds the segment {code}, which {description} does not have for it.",
                "Give the JSON that belongs to these PNGs; JPEG or resizing changes segment ids.",
            )
        labels[i], instances[i] = segments[code]
    places = places.reshape(codes.shape)
    return labels[places], instances[places]
