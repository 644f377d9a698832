"""Reports on label maps: share of pixels per id, and ids that look wrong."""

from collections.abc import Collection, Iterator, Mapping

from v2vkit.classes.table import ClassTable, built_in
from v2vkit.conditions.label_ids import are_label_ids, are_train_ids
from v2vkit.config import IGNORE
from v2vkit.errors import counted

_MANY, _MOSTLY = 20, 0.9  # from so many ids and this share of 0 and 255 on, maps look like masks with soft edges
NO_LABEL = f"No frame has a label: every pixel is {IGNORE}, which is ignored."


def mask_problem(ids: Collection[int], num_labels: int | None = None) -> str | None:
    """The problem with masks in which 255 means the subject and not "ignore"; None = no problem.

    Args:
        ids: the ids that occur.
        num_labels: as the user gave it; 1 = only label 0 is meant.
    """
    known = set(ids) - {IGNORE}
    if ids and not known:
        return f"{NO_LABEL} If {IGNORE} is a label of these maps, ingest them with --ids {IGNORE}=1."
    if known == {0} and IGNORE in ids and num_labels != 1:
        return (
            f"The label maps hold only 0 and {IGNORE}, and {IGNORE} means ignore, so pixels of {IGNORE} have no label: "
            f"ingest them with --ids {IGNORE}=1 (if only label 0 is meant, give --num-labels 1)."
        )
    return None


def label_problems(labels: Mapping[int, int], num_labels: int | None, *, given: bool) -> list[str]:
    """Problems with the ids; those that `num_labels` explains are not reported.

    Args:
        labels: id -> number of pixels.
        given: the maps came with the footage and not from an estimator; see `mask_problem`.
    """
    if given and (problem := mask_problem(labels, num_labels)):
        return [problem]
    if set(labels) == {IGNORE}:
        return [NO_LABEL]
    if num_labels is not None:
        wrong = sorted(label for label in labels if num_labels <= label < IGNORE)
        text = f"Label ids {wrong} are not below {num_labels}; raise --num-labels or map them to 255."
        return [text] if wrong else []
    known = [label for label in labels if label != IGNORE]
    if given and 0 in labels and IGNORE in labels and len(known) >= _MANY:
        share = (labels[0] + labels[IGNORE]) / sum(labels.values())
        if share >= _MOSTLY:
            return [
                f"The label maps look like masks with soft edges: {100 * share:.0f} % of the pixels are 0 or {IGNORE}, "
                f"and {len(known) - 1} ids lie between. Save them with two values only, and ingest them with --ids "
                f"{IGNORE}=1; if these are ids, give --num-labels."
            ]
    if are_label_ids(known):
        return [
            "The label ids are Cityscapes' labelIds (7 road ... 33 bicycle), not its trainIds (0 road ... 18 bicycle): "
            "if that is meant, give --num-labels 35, as in the published models."
        ]
    if known and max(known) > 3 * len(known):
        return [
            f"The highest label id is {max(known)}, but only {counted(len(known), 'id')} occur"
            f"{'s' * (len(known) == 1)}: are these ids of another convention? If not, give --num-labels."
        ]
    return []


def table_problem(ids: Collection[int], table: ClassTable) -> str | None:
    """What tells that label maps have ids of another table, although this one has them all; None = nothing.

    Args:
        ids: those that occur.
    """
    if table == built_in("cityscapes") and are_train_ids(ids):
        return (
            "The label ids look like Cityscapes' trainIds (0 road ... 18 bicycle), not its labelIds (7 road ... 33 "
            "bicycle), for which --classes cityscapes stands: give --classes cityscapes-train."
        )
    return None


def label_lines(labels: Mapping[int, int], num_labels: int | None, table: ClassTable | None = None) -> Iterator[str]:
    """Lines with the share of every label, and the ids below `num_labels` that occur nowhere.

    Args:
        labels: id -> number of pixels.
        table: has their names.
    """
    total, names = sum(labels.values()), {} if table is None else table.names
    for label, count in sorted(labels.items()):
        name = "ignore" if label == IGNORE else str(label)
        yield f"  label {name:>6}: {100 * count / total:6.2f} % of the pixels  {names.get(label, '')}".rstrip()
    absent = sorted(set(range(num_labels or 0)) - set(labels))
    if absent:
        yield f"  label ids that occur nowhere: {_runs(absent)}"


def _runs(numbers: list[int]) -> str:
    """Ascending numbers as `1, 4 to 7`."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ", ".join(" to ".join(map(str, part)) for part in parts)
