"""What the metrics of `v2v evaluate` need besides frames: annotations, estimators, a segmentation network."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from v2vkit.artifacts.manifest import ClipInfo, Manifest
from v2vkit.checkpoint.model_file import MODEL, ModelInfo
from v2vkit.conditions.clips import ClipReader
from v2vkit.errors import V2VError
from v2vkit.estimators.registry import chosen, open_estimator, rows_of
from v2vkit.evaluation.choose import Choice
from v2vkit.evaluation.metrics.registry import Need
from v2vkit.evaluation.metrics.setup import Segmenter, Setup
from v2vkit.inference.estimated_maps import open_face

Beside = dict[str, Callable[[str, int], Any]]
"""Name in `Batch.beside` -> (clip, t) -> what is known of that frame."""
_OTHERS = "Use a model that is, or other metrics."


def known(
    info: ModelInfo,
    reader: ClipReader,
    manifests: dict[str, Manifest],
    shots: list[list[ClipInfo]],
    *,
    unpaired: bool,
    segmenter: str | None,
) -> tuple[dict[Need, tuple[str, str]], Beside]:
    """What metrics need and is not there, with the reason; and what reads the rest."""
    missing: dict[Need, tuple[str, str]] = {}
    beside: Beside = {}
    if unpaired:
        missing["counterpart"] = (
            "with --unpaired there is no real frame beside each",
            "Leave --unpaired out, or choose other metrics.",
        )
    clip = max((clip for shot in shots for clip in shot), key=lambda clip: clip.num_frames)
    if "flow" in manifests and reader.has("flow", clip.name, min(1, clip.num_frames - 1), "flow1.png"):
        beside["flow"] = partial(_flow, reader)
    else:
        missing["flow"] = ("there is no flow of stride 1 of the real frames", "Make it: `v2v extract-flow`.")
    face = info.conditioning.of_task("face")
    if face is None:
        missing["landmarks"] = missing["irises"] = ("the model is not conditioned on a face", _OTHERS)
    else:
        beside["landmarks"] = partial(_landmarks, reader)
        if not _finds_irises(info.origins[face].settings):
            missing["irises"] = ("its face estimator finds no irises", "Choose other metrics.")
    pose = info.conditioning.of_task("pose")
    if pose is None:
        missing["people"] = ("the model is not conditioned on poses", _OTHERS)
    elif info.origins[pose].settings.get("openpose") is not None:
        missing["people"] = ("the key points come from files, and what found them is not here", "Use other metrics.")
    else:
        beside["people"] = partial(_people, reader, info.conditioning.conditions[pose])
    labels = next((of for of in info.conditioning.conditions if of.artifact == "labels"), None)
    if labels is None:
        missing["labels"] = ("the model is not conditioned on labels", _OTHERS)
    elif segmenter is None:
        missing["labels"] = ("there is no segmentation network", "Name its weights: --segmenter FILE.")
    else:
        beside["labels"] = partial(_labels, reader, labels)
    return missing, beside


def _flow(reader: ClipReader, clip: str, t: int) -> Any:
    return reader.flow(clip, t, 1)


def _landmarks(reader: ClipReader, clip: str, t: int) -> Any:
    """The landmarks that the output should show; None where no face was found in the source."""
    from v2vkit.conditions.landmarks import landmarks_from_json

    file = landmarks_from_json(reader.read("sketches", clip, t, "json"))
    return file.landmarks if file.found else None


def _finds_irises(settings: dict[str, Any]) -> bool:
    """Whether the face estimator of these settings of `make-sketches` can give irises."""
    row = rows_of("face").get(chosen("face", settings)[0])
    return row is not None and "gaze" in row.takes


def _people(reader: ClipReader, condition: Any, clip: str, t: int) -> Any:
    """The people that the output should show; None where nobody was found in the source."""
    people = reader.annotation(condition, clip, t, "align")
    return people.persons if people.found else None


def _labels(reader: ClipReader, condition: Any, clip: str, t: int) -> Any:
    return reader.annotation(condition, clip, t, "channels").labels


def open_setup(
    info: ModelInfo, choice: Choice, *, size: tuple[int, int], device: str, segmenter: str | None, keep: tuple[int, ...]
) -> Setup:
    """What the chosen metrics are opened with; estimators only for those that need them.

    Args:
        size: (width, height) of the frames.
        device: where networks run.
        segmenter, keep: `--segmenter` and `--segmenter-keep`.

    Raises:
        V2VError: an estimator's package or weights are missing, or the segmentation network does not fit the model.
    """
    needs = {need for row in choice.rows for need in row.needs}
    face = info.conditioning.of_task("face") if needs & {"landmarks", "irises"} else None
    pose = info.conditioning.of_task("pose") if "people" in needs else None
    return Setup(
        height=size[1],
        width=size[0],
        weights=dict(choice.weights),
        device=device,
        face=None if face is None else open_face(info.origins[face].settings | {"gaze": "irises" in needs}),
        pose=None if pose is None else _open_pose(info.origins[pose].settings),
        segmenter=_segmenter(segmenter, keep, info, device) if "labels" in needs else None,
    )


def _open_pose(settings: dict[str, Any]) -> Any:
    name, own = chosen("pose", settings)
    return open_estimator("pose", name, **own)


def _segmenter(weights: str | None, keep: tuple[int, ...], info: ModelInfo, device: str) -> Segmenter:
    """The fixed network of label fidelity.

    Raises:
        V2VError: its weights are missing or wrong, or it knows another number of labels than the model.
    """
    from v2vkit.conditions.label_ids import keep_labels

    assert weights is not None, "without it the metric is not chosen"
    name, file = ("trained", Path(weights) / MODEL) if Path(weights).is_dir() else ("torchvision", Path(weights))
    network = open_estimator("segment", name, weights=file, device=device)
    if unknown := [label for label in keep if not 0 <= label < network.num_labels]:
        raise V2VError(
            "label-id-out-of-range",
            f"--segmenter-keep {unknown[0]} is no class of {weights} (0 to {network.num_labels - 1}).",
            "Give ids of its classes.",
        )
    number, wanted = len(keep) or network.num_labels, info.conditioning.num_labels
    if number != wanted:
        raise V2VError(
            "label-count-mismatch",
            f"The segmentation network {weights} has {number} labels, and the model {wanted}.",
            "Choose its classes in the order of the model's labels with --segmenter-keep, or give another network.",
        )
    classes = tuple(network.classes[label] for label in keep) if keep and network.classes else network.classes
    return Segmenter(
        name=f"{network.name} {network.version}",
        num_labels=number,
        classes=classes,
        label=lambda image: keep_labels(network(image).labels, None, keep)[0],
    )
