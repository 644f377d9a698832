"""Label maps of another class table than that of training: a simulator's, for a model of real footage."""

from dataclasses import replace

from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.classes.remap import remapped_table
from v2vkit.classes.table import ClassTable
from v2vkit.conditions.labels import LabelsCondition
from v2vkit.errors import V2VError
from v2vkit.video.label_reading import LabelRules

_MOST_NAMED = 40


def rules_of_training(info: ModelInfo) -> LabelRules:
    """How label maps of the training footage were read.

    Raises:
        V2VError: the model file holds a damaged class table.
    """
    return LabelRules.of_settings(info.frames, num_labels=info.conditioning.num_labels)


def rules_of_other_classes(
    info: ModelInfo, classes: ClassTable, remap: ClassTable | None = None
) -> tuple[LabelRules, str | None]:
    """How label maps of the table `classes` are read as labels of the model.

    Args:
        remap: classes of the model, each of which lists the classes that it merges; None = classes keep their names.

    Returns:
        The rules, and a sentence on classes that the model does not have; None = it has them all.

    Raises:
        V2VError: the model has no labels or does not know their names; no class has a label of the model, or `remap`
            has a class that the model does not have.
    """
    found = next((of for of in info.conditioning.conditions if isinstance(of, LabelsCondition)), None)
    if found is None:
        text = f"--classes is for label maps; this model is conditioned on {info.conditioning.names}."
        raise V2VError("setting-unused", text, "Leave it out.")
    if found.classes is None:
        raise V2VError(
            "class-table-required",
            "This model does not know the names of its labels, by which --classes finds the same class.",
            "Ingest the training footage with --classes, or give label maps with its ids, without --classes.",
        )
    note = None
    if remap is None:
        remap = _same_names(found.classes, classes)
        lacking = sorted(_names(classes) - _names(remap))
        if not _names(remap):
            raise V2VError(
                "class-unknown",
                f"No class of the table {classes.name} has the name of a class of the model: "
                f"{', '.join(sorted(_names(found.classes))[:_MOST_NAMED])}.",
                "Give --remap FILE, a table of the model's classes that lists what each of them merges.",
            )
        if lacking:
            listed = ", ".join(lacking[:_MOST_NAMED]) + " ..." * (len(lacking) > _MOST_NAMED)
            note = f"Classes of {classes.name} that the model does not have become 255 (--remap merges them): {listed}."
    else:
        _refuse_other(remapped_table(remap, classes), found.classes)
    rules = rules_of_training(info)
    return replace(rules, table=classes, remap=remap, ids=(), nearest_colour=False, allow_palette=False), note


def _names(table: ClassTable) -> set[str]:
    return {of.name.casefold() for of in table.classes if not of.ignore}


def _same_names(model: ClassTable, classes: ClassTable) -> ClassTable:
    """The model's classes, each of which merges that of the same name."""
    known = {of.name.casefold(): of.name for of in classes.classes if not of.ignore}
    merged = tuple(
        of.model_copy(update={"merges": (known[of.name.casefold()],)})
        for of in model.classes
        if of.name.casefold() in known and not of.ignore
    )
    return model.model_copy(update={"classes": merged})


def _refuse_other(remap: ClassTable, model: ClassTable) -> None:
    """Refuse a remap with a class that the model does not have under the same id."""
    known = {of.id: of.name.casefold() for of in model.classes if not of.ignore}
    for of in remap.classes:
        if not of.ignore and known.get(of.id) != of.name.casefold():
            raise V2VError(
                "class-unknown",
                f"The model does not have the class {of.name!r} with the id {of.id} of the remap {remap.name}.",
                f"Its classes: {', '.join(f'{number} {name}' for number, name in sorted(known.items()))}.",
            )
