"""Writes labelled frames as a data set: the folders of Cityscapes, COCO's JSON, or YOLO's text files.

A writer takes one frame after another and writes what concerns all of them at the end. Frames are bytes of PNG files;
label and instance maps are passed through as bytes.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from v2vkit.errors import V2VError
from v2vkit.video.dataset_objects import LabelledObject, run_lengths

Format = Literal["cityscapes", "coco", "yolo"]
_CITY_NAME = re.compile(r"[A-Za-z0-9-]+_[A-Za-z0-9]+_[A-Za-z0-9]+")


@dataclass(frozen=True)
class LabelledFrame:
    """One frame of a data set.

    Attributes:
        clip: folder that it came from; empty = there is but one.
        name: of its file, without ending.
        image: a PNG file.
        labels, instances: PNG files of ids; instances None where there are none.
        size: (width, height).
        objects: of the classes that have some.
    """

    clip: str
    name: str
    image: bytes
    labels: bytes
    instances: bytes | None
    size: tuple[int, int]
    objects: tuple[LabelledObject, ...]


class DatasetWriter(Protocol):
    """Writes a data set below a folder."""

    def write(self, frame: LabelledFrame) -> None:
        """Writes the files of one frame."""
        ...

    def finish(self) -> None:
        """Writes the files that concern all frames."""
        ...


def open_dataset(kind: Format, folder: Path, *, split: str, classes: Mapping[int, str]) -> DatasetWriter:
    """The writer of a format.

    Args:
        kind: the format.
        folder: of the data set; it exists and is empty.
        split: `train`, `val` and so on.
        classes: id -> name of the classes that have objects.
    """
    if kind == "cityscapes":
        return CityscapesWriter(folder, split)
    return (CocoWriter if kind == "coco" else YoloWriter)(folder, split, dict(classes))


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        raise V2VError("name-conflict", f"Two frames would be {path.name}.", "Rename one of them.")
    path.write_bytes(data)


@dataclass
class CityscapesWriter:
    """`leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png` and `gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png`, `_instanceIds`.

    A name CITY_SEQUENCE_FRAME stays as it is; of other names, CITY is the clip (or the split), SEQUENCE is 000000, and
    FRAME the name without what Cityscapes' tools would split at.
    """

    folder: Path
    split: str

    def write(self, frame: LabelledFrame) -> None:
        name = frame.name
        if not _CITY_NAME.fullmatch(name):
            city, number = (re.sub(r"[^A-Za-z0-9-]", "-", text) for text in (frame.clip or self.split, name))
            name = f"{city}_000000_{number}"
        city = name.split("_")[0]
        _put(self.folder / "leftImg8bit" / self.split / city / f"{name}_leftImg8bit.png", frame.image)
        maps = self.folder / "gtFine" / self.split / city
        _put(maps / f"{name}_gtFine_labelIds.png", frame.labels)
        if frame.instances is not None:
            _put(maps / f"{name}_gtFine_instanceIds.png", frame.instances)

    def finish(self) -> None:
        """Cityscapes has no file that concerns all frames."""


def _write_maps(folder: Path, frame: LabelledFrame) -> None:
    """The label and instance maps, beside formats that have no place for them."""
    _put(folder / "maps" / "labels" / frame.clip / f"{frame.name}.png", frame.labels)
    if frame.instances is not None:
        _put(folder / "maps" / "instances" / frame.clip / f"{frame.name}.png", frame.instances)


@dataclass
class CocoWriter:
    """`images/NAME.png` and `annotations/instances_SPLIT.json`: boxes, areas and masks as run lengths.

    Category ids are the label ids. The ids of the instance map stand in `instance_id` of each annotation.
    """

    folder: Path
    split: str
    classes: dict[int, str]
    _images: list[dict[str, Any]] = field(default_factory=list)
    _annotations: list[dict[str, Any]] = field(default_factory=list)

    def write(self, frame: LabelledFrame) -> None:
        name = f"{frame.clip}/{frame.name}.png" if frame.clip else f"{frame.name}.png"
        _put(self.folder / "images" / name, frame.image)
        _write_maps(self.folder, frame)
        width, height = frame.size
        number = len(self._images) + 1
        self._images.append({"id": number, "file_name": name, "width": width, "height": height})
        for of in frame.objects:
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": number,
                    "category_id": of.label,
                    "instance_id": of.instance,
                    "bbox": list(of.box),
                    "area": of.area,
                    "segmentation": {"size": [height, width], "counts": run_lengths(of.mask)},
                    "iscrowd": 0,
                }
            )

    def finish(self) -> None:
        found = {
            "images": self._images,
            "annotations": self._annotations,
            "categories": [{"id": label, "name": name} for label, name in sorted(self.classes.items())],
        }
        _put(self.folder / "annotations" / f"instances_{self.split}.json", json.dumps(found).encode())


@dataclass
class YoloWriter:
    """`images/SPLIT/NAME.png`, `labels/SPLIT/NAME.txt` with `CLASS X Y WIDTH HEIGHT` per object, and `data.yaml`.

    X and Y are the centre of the box; all four are shares of the frame's size. Classes are counted from 0 in the order
    of their label ids.
    """

    folder: Path
    split: str
    classes: dict[int, str]

    def write(self, frame: LabelledFrame) -> None:
        place = Path(self.split) / frame.clip / frame.name
        _put(self.folder / "images" / place.with_name(f"{place.name}.png"), frame.image)
        _write_maps(self.folder, frame)
        width, height = frame.size
        number_of = {label: number for number, label in enumerate(sorted(self.classes))}
        lines = []
        for of in frame.objects:
            left, top, wide, high = of.box
            shares = (left + wide / 2) / width, (top + high / 2) / height, wide / width, high / height
            lines.append(" ".join([str(number_of[of.label]), *(f"{share:.6f}" for share in shares)]) + "\n")
        _put(self.folder / "labels" / place.with_name(f"{place.name}.txt"), "".join(lines).encode())

    def finish(self) -> None:
        names = "".join(f"  {number}: {json.dumps(self.classes[k])}\n" for number, k in enumerate(sorted(self.classes)))
        text = f"train: images/{self.split}\nval: images/{self.split}\nnames:\n{names}"
        (self.folder / "data.yaml").write_text(text, encoding="utf-8")
