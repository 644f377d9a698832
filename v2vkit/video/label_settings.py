"""The settings of label maps beside frames, which `ingest` and `check` share."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationInfo, field_validator, model_validator

from v2vkit.classes.remap import final_table
from v2vkit.classes.table import ClassTable, ClassTableSetting, table_names
from v2vkit.config import SettingsGroup, setting

if TYPE_CHECKING:
    from v2vkit.video.label_files import MapKind
    from v2vkit.video.label_reading import LabelRules


class LabelMapSettings(SettingsGroup):
    """Label maps."""

    labels: str | None = setting(
        None,
        "Folder with one label map (PNG of ids, 255 = ignore; with --classes also of colours) per frame; with several "
        "sources, one sub-folder of that name for each (with one source, too, where there is one). Also a "
        "`Segmentation mask` export of CVAT (.zip or unpacked), or the JSON of COCO's panoptic format; both bring "
        "their classes.",
        metavar="FOLDER|ZIP|JSON",
        affects_output=False,
    )
    instances: str | None = setting(
        None,
        "Folder with instance maps (16-bit PNG), arranged like --labels.",
        metavar="FOLDER|ZIP|JSON",
        affects_output=False,
    )
    classes: ClassTableSetting | None = setting(
        None,
        f"Class table of --labels: {', '.join(table_names())}, or a TOML file. Ids and colours that it lacks are "
        "refused; flags then take class names, and previews have its colours.",
        metavar="TABLE",
        since="0.1",
    )
    remap: ClassTableSetting | None = setting(
        None,
        "TOML file with new classes, each of which lists the classes of --labels that it merges; classes listed "
        "nowhere become 255 (ignore).",
        metavar="FILE",
        since="0.1",
    )
    nearest_colour: bool = setting(
        False,
        "Map colours that the class table lacks to the nearest colour of a class (for maps that were resized or "
        "compressed).",
        since="0.1",
    )
    sparse_labels: bool = setting(
        False,
        "--labels holds maps for some of the frames only. They become the artifact sparse-labels instead of labels, on "
        "which `v2v train --method segmenter` trains the network that labels every frame. Maps of a video belong to "
        "the frame whose number, from 0, ends their names.",
        since="0.1",
    )
    num_labels: int | None = setting(None, "Number of labels; larger ids are refused.", ge=1, le=255)
    allow_palette: bool = setting(False, "Use the palette indices of palette PNGs as label ids.")
    ids: tuple[str, ...] = setting(
        (),
        "Replace a label id (or a class name, with --classes) by another one; 255=1 for masks of 0 and 255, whose 255 "
        "would be ignored.",
        metavar="FROM=TO",
        since="0.1",
    )

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None: ...

    @field_validator("classes")
    @classmethod
    def _own_classes(cls, classes: ClassTable | None, info: ValidationInfo) -> ClassTable | None:
        """The classes that label maps bring with them count as if they were given."""
        labels = info.data.get("labels")
        if labels is None:
            return classes
        from v2vkit.video.label_layouts import own_table

        own = own_table(labels)
        if own is not None and classes not in (None, own):
            raise ValueError(f"{labels} brings its own classes; leave out --classes, or merge them with --remap FILE")
        return own or classes

    @field_validator("ids")
    @classmethod
    def _pairs(cls, ids: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not ids:
            return ids
        from v2vkit.video.label_reading import parse_ids

        return tuple(f"{old}={new}" for old, new in parse_ids(ids, info.data.get("classes")))

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.labels is None:
            if self.instances is not None:
                raise ValueError("--instances needs --labels")
            if self.ids:
                raise ValueError("--ids changes the ids of --labels, and there are none")
            if self.classes or self.remap or self.nearest_colour or self.sparse_labels:
                raise ValueError(
                    "--classes, --remap, --nearest-colour and --sparse-labels are about --labels, which is not given"
                )
        if self.nearest_colour and self.classes is None:
            raise ValueError("--nearest-colour needs the colours of --classes")
        table = self.table
        if table is not None and self.num_labels is not None and self.num_labels < table.num_labels:
            raise ValueError(
                f"num_labels {self.num_labels} is less than the {table.num_labels} of the class table {table.name}"
            )
        return self

    @property
    def table(self) -> ClassTable | None:
        """The classes of the labels that are written; None = they are not known."""
        if self.remap is not None:
            assert self.rules.merged  # raises V2VError where it does not fit
        return final_table(dict(self))

    @property
    def folders(self) -> "dict[MapKind, str]":
        """`labels` and `instances` -> the folder of the maps, where they are given."""
        from v2vkit.video.label_layouts import maps_folder

        given: dict[MapKind, str | None] = {"labels": self.labels, "instances": self.instances}
        return {what: maps_folder(path, what) for what, path in given.items() if path is not None}

    @property
    def rules(self) -> "LabelRules":
        """What maps must be like, and how they are read."""
        from v2vkit.video.label_layouts import is_cvat, is_panoptic
        from v2vkit.video.label_reading import LabelRules

        return replace(
            LabelRules.of_settings(dict(self), num_labels=self.num_labels),
            panoptic=self.labels if is_panoptic(self.labels) else None,
            coloured_instances=is_cvat(self.instances),
        )

    def may_lack(self, what: "MapKind") -> bool:
        """Whether frames may have no map of this kind."""
        return self.sparse_labels and what in ("labels", "instances")
