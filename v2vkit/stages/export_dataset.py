"""`v2v export-dataset`: rendered frames with the labels that they were rendered from, as a data set for training."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from v2vkit.artifacts.folder import explain_os_errors
from v2vkit.classes.table import ClassName, ClassTable, ClassTableSetting, ids_of, table_names
from v2vkit.config import SPLIT_PATTERN, StageConfig, setting
from v2vkit.engine.devices import DEVICES
from v2vkit.errors import V2VError, counted
from v2vkit.pipeline.stage import Command, RunOptions
from v2vkit.progress import progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from v2vkit.stages.export_dataset_frames import ClipToExport
    from v2vkit.video.label_files import MapKind
    from v2vkit.video.label_reading import LabelRules

    Fidelity = Callable[[NDArray[np.uint8], NDArray[np.uint8]], float]

SCORES = "fidelity.json"
"""The label fidelity of every frame, also of the rejected ones; written with --reject-below."""
_MARK = ".v2vkit-dataset"
"""Empty file that marks folders written by this command; only these are replaced."""


class ExportConfig(StageConfig):
    """Write rendered frames and the labels that they were rendered from as a data set.

    RENDERED is a folder of pictures that `v2v render LABELS RENDERED/ --keep-names` wrote, or a folder of such folders.
    Names are kept, and label and instance maps are passed through byte by byte if they are PNGs of ids. cityscapes:
    leftImg8bit and gtFine folders. coco: images and JSON with boxes and masks. yolo: images and text files with boxes;
    both also get the maps. Objects are the instances of --things; without --instances, their connected areas.
    """

    rendered: str = setting(..., "Folder of rendered frames, or of such folders.", argument=True)
    out: str = setting(..., "Folder to make.", argument=True)
    format: Literal["cityscapes", "coco", "yolo"] = setting(..., "Format of the data set.")
    labels: str = setting(..., "Folder with the label maps, arranged like RENDERED.", metavar="FOLDER")
    instances: str | None = setting(None, "Folder with the instance maps, arranged like RENDERED.", metavar="FOLDER")
    classes: ClassTableSetting | None = setting(
        None,
        f"Class table of the labels: {', '.join(table_names())}, or a TOML file; gives names and things.",
        metavar="TABLE",
    )
    remap: ClassTableSetting | None = setting(
        None,
        "With --reject-below: TOML file with the segmenter's classes, each of which lists the classes of --labels that "
        "it merges. The data set keeps its labels.",
        metavar="FILE",
    )
    things: tuple[ClassName, ...] = setting(
        (), "Class that has objects, by id or name; default: the things of --classes.", metavar="ID|NAME"
    )
    min_pixels: int = setting(1, "Leave out objects of fewer pixels (boxes and masks only).", ge=1)
    split: str = setting("train", "Name of the split: train, val or test.", pattern=SPLIT_PATTERN)
    reject_below: float | None = setting(
        None,
        "Leave out frames whose label fidelity is lower: the share of their pixels for which --segmenter finds the "
        "label that they were rendered from.",
        gt=0,
        le=1,
    )
    segmenter: str | None = setting(
        None, "Folder of a segmenter's checkpoint, trained on real frames, for --reject-below.", metavar="FOLDER"
    )
    device: str = setting("auto", f"{DEVICES}.")


def label_fidelity(segment: "Callable[[Any], Any]", image: "NDArray[np.uint8]", labels: "NDArray[Any]") -> float:
    """Share of the labelled pixels [H, W] of a frame, RGB uint8 [H, W, 3], for which the network finds the label.

    NaN where no pixel has a label. The value per frame of the metric label fidelity of `v2v evaluate`.
    """
    from v2vkit.config import IGNORE

    known = labels != IGNORE
    return float((segment(image).labels == labels)[known].mean()) if known.any() else float("nan")


def _open_segmenter(config: ExportConfig, rules: "LabelRules") -> "Fidelity | None":
    """What gives the label fidelity of a frame; None without --segmenter.

    Args:
        rules: with the remap to the segmenter's classes.
    """
    from v2vkit.checkpoint.model_file import MODEL
    from v2vkit.classes.remap import merge_ids
    from v2vkit.estimators.registry import open_estimator

    if (config.reject_below is None) != (config.segmenter is None):
        raise V2VError(
            "setting-required",
            "--reject-below and --segmenter belong together: the one is the limit, the other measures.",
            "Give both, or neither.",
        )
    if config.segmenter is None:
        if config.remap is not None:
            raise V2VError(
                "setting-unused", "--remap gives the segmenter's classes, and there is no --segmenter.", "Leave it out."
            )
        return None
    network = open_estimator("segment", "trained", weights=Path(config.segmenter) / MODEL, device=config.device)
    if rules.limit is not None and network.num_labels != rules.limit:
        raise V2VError(
            "label-count-mismatch",
            f"The segmenter {config.segmenter} has {network.num_labels} labels, and the class table {rules.limit}.",
            "Train a segmenter on labels of this table, or say with --remap which classes each of its classes merges.",
        )
    merged = rules.merged

    def fidelity(image: "NDArray[np.uint8]", labels: "NDArray[np.uint8]") -> float:
        return label_fidelity(network, image, labels if merged is None else merge_ids(labels, merged))

    return fidelity


def _things(config: ExportConfig, table: ClassTable | None) -> dict[int, str]:
    """Id -> name of the classes that have objects."""
    given = config.things or tuple(of.id for of in (table.classes if table else ()) if of.thing and not of.ignore)
    if not given and config.format != "cityscapes":
        raise V2VError(
            "setting-required",
            "It is not known which classes have objects.",
            "Name them with --things, or give a class table with --classes.",
        )
    names = {} if table is None else table.names
    return {label: names.get(label, f"class {label}") for label in sorted(set(ids_of(given, table, "--things")))}


def _export(config: ExportConfig, options: RunOptions) -> list[str]:
    """Check everything, write under a temporary name, and rename it to OUT when it is complete."""
    from v2vkit.stages.export_dataset_frames import find_clips
    from v2vkit.video.label_reading import LabelRules
    from v2vkit.video.targets import remove_abandoned, replace_folder, temporary_name

    rules = LabelRules(table=config.classes)
    of_segmenter = replace(rules, remap=config.remap)
    _check_target(config.out, options.overwrite)
    things = _things(config, config.classes)
    fidelity = _open_segmenter(config, of_segmenter)
    roots: dict[MapKind, str] = {"labels": config.labels}
    roots |= {} if config.instances is None else {"instances": config.instances}
    clips = find_clips(config.rendered, roots, rules)
    out = Path(config.out).resolve()
    building = temporary_name(out)
    with explain_os_errors(config.out):
        remove_abandoned(out)
        building.mkdir(parents=True)
        try:
            notes, problems = _write(config, clips, rules, things, fidelity, building)
            (building / _MARK).touch()
            replace_folder(out, by=building)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
    print("\n".join(notes))
    return problems


def _write(
    config: ExportConfig,
    clips: "list[ClipToExport]",
    rules: "LabelRules",
    things: dict[int, str],
    fidelity: "Fidelity | None",
    folder: Path,
) -> tuple[list[str], list[str]]:
    """Write the data set; returns what to tell the user, and the problems with it."""
    from v2vkit.stages.export_dataset_frames import labelled_frames
    from v2vkit.video.dataset_formats import open_dataset

    writer = open_dataset(config.format, folder, split=config.split, classes=things)
    scores: dict[str, float] = {}
    kept = objects = num_resized = num_foreign = 0
    with progress(sum(len(clip.frames.images) for clip in clips), desc="export-dataset") as shown:
        for clip in clips:
            for read in labelled_frames(clip, rules, tuple(things), config.min_pixels):
                shown.update()
                if fidelity is not None and config.reject_below is not None:
                    key = f"{clip.name}/{read.frame.name}" if clip.name else read.frame.name
                    scores[key] = fidelity(read.image, read.labels)
                    if not scores[key] >= config.reject_below:  # NaN: nothing says that it is good
                        continue
                writer.write(read.frame)
                kept += 1
                objects += len(read.frame.objects)
                num_resized += read.resized
                num_foreign += config.format == "cityscapes" and not _is_cityscapes(read.labels, read.instances)
    if not kept:
        best = max((score for score in scores.values() if score == score), default=0.0)
        raise V2VError(
            "frames-missing",
            f"No frame has a label fidelity of {config.reject_below}; the best has {best:.3f}.",
            "Lower --reject-below, or train the model or the segmenter longer.",
        )
    writer.finish()
    if scores:
        rounded = {name: None if score != score else round(score, 4) for name, score in scores.items()}
        text = json.dumps({"reject_below": config.reject_below, "frames": rounded}, indent=1)
        (folder / SCORES).write_text(text + "\n", encoding="utf-8")
    notes = [f"{config.out}: {counted(kept, 'frame')}, {counted(objects, 'object')} ({config.format})."]
    if scores:
        known = {name: score for name, score in scores.items() if score == score}  # NaN: no labelled pixel
        worst = min(known, key=lambda name: known[name])
        notes.append(f"rejected: {counted(len(scores) - kept, 'frame')}; lowest fidelity {scores[worst]:.3f} ({worst})")
    if num_resized:
        notes.append(
            f"{counted(num_resized, 'map')} resized to the size of the frames, so not byte-equal to the source"
        )
    if num_foreign:
        notes.append(
            f"{counted(num_foreign, 'instance map')} passed through with ids that are not label * 1000 + number, "
            "as Cityscapes' own scripts expect"
        )
    none = f"{config.out}: no frame has an object of {', '.join(things.values())} (--things)"
    return notes, [none] if config.format != "cityscapes" and not objects else []


def _is_cityscapes(labels: "NDArray[np.uint8]", instances: "NDArray[np.uint16] | None") -> bool:
    """Whether instance ids are label * 1000 + number, or the label itself."""
    if instances is None:
        return True
    own = instances >= 1000
    return bool((instances[own] // 1000 == labels[own]).all() and (instances[~own] == labels[~own]).all())


def _check_target(target: str, overwrite: bool) -> None:
    """Refuse a target that holds anything but an earlier data set of this command."""
    from v2vkit.video.targets import check_parent, refuse_unreplaceable, refuse_url

    refuse_url(target)
    refuse_unreplaceable(target)
    out = Path(target).resolve()
    if out.exists() and not out.is_dir():
        raise V2VError("folder-required", f"{target} is a file.", "Name a folder that does not exist yet.")
    check_parent(out, later=True)
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / _MARK).is_file():
        raise V2VError(
            "folder-not-empty",
            f"{target} is not empty and was not made by `v2v export-dataset`.",
            "Name another folder.",
        )
    if not overwrite:
        raise V2VError(
            "folder-not-empty", f"{target} holds a data set already.", "Add --overwrite to replace it, or name another."
        )


COMMAND = Command(
    name="export-dataset",
    config=ExportConfig,
    call=_export,
    options=("overwrite",),
)
