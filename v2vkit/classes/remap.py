"""Merging classes: many ids of one table become one class of another (coarse labels, the paper's remedy for artefacts).

A remap is a class table whose classes say what they merge. What no class merges becomes 255 (ignore).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.classes.table import ClassTable, as_table
from v2vkit.config import IGNORE
from v2vkit.errors import V2VError


def merged_ids(remap: ClassTable, source: ClassTable | None) -> dict[int, int]:
    """Id before -> id after; ids that are missing become 255.

    Args:
        remap: a table whose classes name in `merges` what becomes them.
        source: the table of the ids before; None = there is none, and `merges` holds ids.

    Raises:
        V2VError: nothing is merged, a class is unknown or merged twice, or a name is given without a table.
    """
    found: dict[int, int] = {}
    for target in remap.classes:
        for wanted in target.merges:
            if source is None and not str(wanted).isdecimal():
                raise V2VError(
                    "class-table-required",
                    f"The remap {remap.name} merges the class {wanted!r}, but there is no class table that has it.",
                    "Give the table of the label maps with --classes, or write ids in merges.",
                )
            if source is None and len(str(wanted)) > 5:
                raise V2VError(
                    "label-id-out-of-range",
                    f"The remap {remap.name} merges the id {wanted}, which no label map can hold.",
                    "Give ids of up to 65535.",
                )
            old = int(wanted) if source is None else source.id_of(wanted)
            if source is not None and old not in source.names:
                raise V2VError(
                    "class-unknown",
                    f"The remap {remap.name} merges the id {old}, which the class table {source.name} has not.",
                    "Correct merges.",
                )
            if old in found:
                name = f"id {old}" if source is None else f"class {source.names[old]!r}"
                raise V2VError(
                    "class-duplicate", f"The remap {remap.name} merges the {name} twice.", "Name it in one class only."
                )
            found[old] = IGNORE if target.ignore else target.id
    if not found:
        raise V2VError(
            "remap-empty",
            f"No class of the remap {remap.name} says what it merges.",
            'Write merges = ["wall", "fence"] beside the class that these become.',
        )
    return found


def merge_ids(labels: NDArray[Any], merged: Mapping[int, int]) -> NDArray[np.int64]:
    """Label ids after merging, int64 [H, W]; what nothing merges becomes 255.

    Args:
        labels: whole numbers from 0 [H, W].
        merged: as `merged_ids` gives it.
    """
    become = np.full(max(int(labels.max()), *merged, IGNORE) + 1, IGNORE, np.int64)
    become[list(merged)] = list(merged.values())
    return become[labels]


def remapped_table(remap: ClassTable, source: ClassTable | None) -> ClassTable:
    """The table of the ids after merging; a class without a colour has that of the first class that it merges."""
    classes = []
    for target in remap.classes:
        colour = target.colour
        if colour is None and source is not None and target.merges:
            first = source.id_of(target.merges[0])
            colour = next((of.colour for of in source.classes if of.id == first), None)
        classes.append(target.model_copy(update={"colour": colour, "merges": ()}))
    return ClassTable(name=remap.name, version=remap.version, classes=tuple(classes))


def final_table(settings: Mapping[str, Any]) -> ClassTable | None:
    """The table of the labels that a stage writes, by its settings `classes` and `remap`; None = it knows none."""
    table, remap = as_table(settings.get("classes")), as_table(settings.get("remap"))
    return table if remap is None else remapped_table(remap, table)
