"""How the labels of two workspaces differ: a model that was trained on one is driven by the other.

Statistics of label maps: the share of each class, the mean size of its segments (connected areas, 4 neighbours, as a
share of the frame), and the length of the boundaries between classes per frame (relative to the frame's diagonal, so
that sizes do not matter).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.classes.table import ClassTable
from v2vkit.config import IGNORE

SHARE_RATIO = 2.0
"""From this ratio of shares or sizes on, a difference is named."""
_RARE = 0.001  # share of the pixels below which a ratio means nothing


@dataclass
class LabelStatistics:
    """Sums over label maps.

    Attributes:
        frames: that were counted.
        shares: label id -> sum over the frames of its share of the pixels, 255 included.
        segments: label id -> number of its segments.
        boundary: sum of the lengths of all boundaries, in diagonals of the frame.
    """

    frames: int = 0
    shares: dict[int, float] = field(default_factory=dict)
    segments: dict[int, int] = field(default_factory=dict)
    boundary: float = 0.0

    def add(self, labels: NDArray[np.uint8]) -> None:
        """Count one map [H, W]."""
        self.frames += 1
        counts = np.bincount(labels.ravel())
        for label in np.flatnonzero(counts).tolist():
            self.shares[label] = self.shares.get(label, 0.0) + float(counts[label]) / labels.size
            if label != IGNORE:
                number, _ = cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=4)
                self.segments[label] = self.segments.get(label, 0) + number - 1
        known = labels != IGNORE
        across = (labels[:, 1:] != labels[:, :-1]) & known[:, 1:] & known[:, :-1]
        down = (labels[1:] != labels[:-1]) & known[1:] & known[:-1]
        self.boundary += float(across.sum() + down.sum()) / float(np.hypot(labels.shape[0], labels.shape[1]))

    def share(self, label: int) -> float:
        """Mean share of the pixels, 0 to 1."""
        return self.shares.get(label, 0.0) / max(1, self.frames)

    def segment_size(self, label: int) -> float:
        """Mean size of a segment as a share of its frame; 0 where there is none."""
        number = self.segments.get(label, 0)
        return self.shares.get(label, 0.0) / number if number else 0.0

    @property
    def boundary_length(self) -> float:
        """Mean length of all boundaries in a frame, in diagonals of the frame."""
        return self.boundary / max(1, self.frames)


def statistics(maps: Iterable[NDArray[np.uint8]]) -> LabelStatistics:
    """Of label maps uint8 [H, W]."""
    found = LabelStatistics()
    for labels in maps:
        found.add(labels)
    return found


def comparison_lines(here: LabelStatistics, there: LabelStatistics, table: ClassTable | None) -> Iterator[str]:
    """A table: share and size of the segments of every class here and there, and the boundaries."""
    names = {} if table is None else table.names
    yield f"  {'class':<24} {'share here':>10} {'there':>7} {'segment here':>13} {'there':>7}"
    for label in sorted({*here.shares, *there.shares}):
        name = "ignore" if label == IGNORE else f"{label} {names.get(label, '')}".strip()
        sizes = ("", "") if label == IGNORE else tuple(f"{100 * of.segment_size(label):.2f} %" for of in (here, there))
        yield (
            f"  {name:<24} {100 * here.share(label):>8.2f} % {100 * there.share(label):>5.2f} % "
            f"{sizes[0]:>13} {sizes[1]:>7}"
        )
    yield f"  boundaries per frame     {here.boundary_length:.2f} here, {there.boundary_length:.2f} there (diagonals)"


def comparison_problems(
    here: LabelStatistics, there: LabelStatistics, tables: tuple[ClassTable | None, ClassTable | None], where: str
) -> list[str]:
    """What a model trained on one of them will not know of the other.

    Args:
        tables: the classes here and there.
        where: the other workspace, for the sentences.
    """
    problems = []
    names = [{} if table is None else table.names for table in tables]
    if all(names) and (renamed := sorted(i for i in names[0].keys() & names[1].keys() if names[0][i] != names[1][i])):
        first = renamed[0]
        problems.append(
            f"The class tables differ: id {first} is {names[0][first]!r} here and {names[1][first]!r} in {where}; "
            "ingest one of them with --remap FILE."
        )
    for only, other, place in ((here, there, f"not in {where}"), (there, here, f"only in {where}")):
        missing = sorted(only.shares.keys() - other.shares.keys() - {IGNORE})
        if missing:
            told = ", ".join(_named(label, names) for label in missing)
            problems.append(f"Classes that occur {'here and ' * (only is here)}{place}: {told}.")
    common = sorted(here.shares.keys() & there.shares.keys() - {IGNORE})
    for what, value in (("share", LabelStatistics.share), ("segments", LabelStatistics.segment_size)):
        far = []
        for label in common:
            mine, theirs = value(here, label), value(there, label)
            if min(here.share(label), there.share(label)) >= _RARE and _ratio(mine, theirs) >= SHARE_RATIO:
                far.append(f"{_named(label, names)} ({100 * mine:.2f} % here, {100 * theirs:.2f} % there)")
        if far:
            kind = "share of the pixels" if what == "share" else "mean size of the segments"
            problems.append(f"The {kind} differs {SHARE_RATIO:g} times and more: {', '.join(far)}.")
    if _ratio(here.boundary_length, there.boundary_length) >= SHARE_RATIO:
        problems.append(
            f"Boundaries are {here.boundary_length:.2f} diagonals long per frame here, {there.boundary_length:.2f} in "
            f"{where}: one of them is drawn in more detail."
        )
    return problems


def _ratio(first: float, second: float) -> float:
    small, large = sorted((first, second))
    return large / small if small > 0 else (1.0 if large == 0 else float("inf"))


def _named(label: int, names: list[dict[int, str]]) -> str:
    name = next((of[label] for of in names if label in of), "")
    return f"{label} {name}".strip()
