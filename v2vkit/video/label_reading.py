"""Label and instance maps as ids: how they are read, and what is changed in them on the way."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from v2vkit.classes.remap import merge_ids, merged_ids
from v2vkit.classes.table import ClassTable, as_table
from v2vkit.config import IGNORE
from v2vkit.errors import V2VError
from v2vkit.video.id_files import read_ids
from v2vkit.video.label_encodings import classify, decode_instances, decode_labels
from v2vkit.video.label_layouts import panoptic_maps


@dataclass(frozen=True)
class LabelRules:
    """What maps must be like, how they are read, and what is changed in label maps.

    Attributes:
        num_labels: label ids are below it; None = any.
        allow_palette: the stored numbers of palette PNGs are taken as ids; else palettes are refused.
        ids: (id in the file, id that it becomes), all at once, before anything is checked.
        depth_scale: stored units per metre of depth maps; None = their unit is not known.
        depth_inverse: depth maps hold disparity.
        table: the classes of label maps, which may then be in its colours; None = they hold ids of any kind.
        remap: classes that those become; None = they stay.
        nearest_colour: colours that are no class's are taken for the nearest ones.
        panoptic: COCO's panoptic JSON of the maps.
        coloured_instances: instance maps have a colour for every object.
    """

    num_labels: int | None = None
    allow_palette: bool = False
    ids: tuple[tuple[int, int], ...] = ()
    depth_scale: float | None = None
    depth_inverse: bool = False
    table: ClassTable | None = None
    remap: ClassTable | None = None
    nearest_colour: bool = False
    panoptic: str | None = None
    coloured_instances: bool = False

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any], *, num_labels: int | None) -> Self:
        """The rules by the settings of `ingest`, or those of them that there are (manifests, model files).

        Raises:
            V2VError: `ids` or `remap` name a class that there is not.
        """
        table, remap = as_table(settings.get("classes")), as_table(settings.get("remap"))
        return cls(
            num_labels,
            bool(settings.get("allow_palette")),
            ids=parse_ids(settings.get("ids", ()), table),
            depth_scale=settings.get("depth_scale"),
            depth_inverse=bool(settings.get("depth_inverse")),
            table=table,
            remap=remap,
            nearest_colour=bool(settings.get("nearest_colour")),
        )

    @cached_property
    def merged(self) -> dict[int, int] | None:
        """Id -> id that it becomes by `remap`."""
        return None if self.remap is None else merged_ids(self.remap, self.table)

    @property
    def limit(self) -> int | None:
        """Label ids are below it in the end; None = any."""
        final = self.remap or self.table
        return self.num_labels or (None if final is None else final.num_labels)


def parse_ids(texts: Iterable[str], table: ClassTable | None = None) -> tuple[tuple[int, int], ...]:
    """Pairs of label ids from texts such as `255=1`, or names of the table's classes.

    Raises:
        ValueError: not FROM=TO, with FROM up to 65535 and TO up to 255, or one FROM twice.
    """
    found = []
    for text in texts:
        if table is not None and text.count("=") == 1:
            text = "=".join(str(table.id_of(name)) for name in text.split("="))
        match = re.fullmatch(r"([0-9]{1,5})=([0-9]{1,3})", text.strip())
        if match is None or int(match[1]) > 65535 or int(match[2]) > IGNORE:
            raise ValueError(f"{text!r} is not FROM=TO with two label ids, such as 255=1")
        found.append((int(match[1]), int(match[2])))
    if len(dict(found)) < len(found):
        raise ValueError("an id is mapped twice")
    return tuple(found)


def read_labels(path: str | Path, rules: LabelRules) -> NDArray[np.uint8]:
    """Label ids after `rules.ids`, uint8 [H, W]; 255 = ignore.

    Raises:
        V2VError: not a PNG, damaged, with colours or a palette instead of ids, or with an id out of range.
    """
    stored = _stored_labels(path, rules)
    ids = stored.copy() if rules.ids else stored
    for old, new in rules.ids:
        ids[stored == old] = new
    if rules.table is not None:
        ids = classify(ids, path, rules.table, rules.merged)
    elif rules.merged is not None:
        ids = merge_ids(ids, rules.merged)
    limit = 256 if rules.limit is None else rules.limit
    wrong = ids[(ids >= limit) & (ids != IGNORE)]
    if wrong.size:
        allowed = f"0 to {limit - 1}" if rules.limit is not None else "0 to 254"
        larger = "Ingest with a larger --num-labels, or map the ids to those with --ids FROM=TO."
        hint = larger if limit < 256 else "Instance ids go into --instances; map label ids to those."
        raise V2VError(
            "label-id-out-of-range",
            f"Label map {path} holds the id {int(wrong.max())}, but ids may be {allowed} (and 255 = ignore).",
            hint,
        )
    return ids.astype(np.uint8)


def _stored_labels(path: str | Path, rules: LabelRules) -> NDArray[np.int64]:
    """The ids that a label map holds in whatever way, int64 [H, W]."""
    if rules.panoptic is not None:
        return panoptic_maps(path, rules.panoptic)[0]
    table, palette_ids = rules.table, rules.allow_palette
    decoded = (
        None if table is None else decode_labels(path, table, nearest=rules.nearest_colour, palette_ids=palette_ids)
    )
    return read_ids(path, what="label", allow_palette=rules.allow_palette) if decoded is None else decoded


def read_instances(path: str | Path, rules: LabelRules) -> NDArray[np.uint16]:
    """Instance ids, uint16 [H, W].

    Raises:
        V2VError: not a PNG, damaged, or with colours or a palette instead of ids.
    """
    if rules.panoptic is not None:
        return panoptic_maps(path, rules.panoptic)[1].astype(np.uint16)
    in_red = rules.table is not None and rules.table.ids_in_red
    decoded = decode_instances(path, ids_in_red=in_red, coloured=rules.coloured_instances)
    return (read_ids(path, what="instance", allow_palette=False) if decoded is None else decoded).astype(np.uint16)
