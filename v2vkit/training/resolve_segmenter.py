"""What a segmenter's settings leave open: the artifact to train on, the network, and the weights of the classes."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from v2vkit import weights
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import decode_gray
from v2vkit.artifacts.manifest import MANIFEST, Manifest
from v2vkit.artifacts.shard import load_shard
from v2vkit.classes.remap import final_table
from v2vkit.classes.table import ClassTable, ids_of
from v2vkit.conditions.labels import SPARSE_LABELS, LabelsCondition
from v2vkit.config import IGNORE
from v2vkit.errors import V2VError
from v2vkit.pipeline.stage import load_input
from v2vkit.training.config import TrainConfig

_LABELS = LabelsCondition.artifact
_BALANCED = "balanced"


def resolve_segmenter(config: TrainConfig, work: Folder) -> TrainConfig:
    """Settings with the artifact, the network with its weights, and the ids and weights of the classes filled in.

    Raises:
        V2VError: other conditions than labels, no label maps, weights are missing that were asked for, or a class is
            unknown.
    """
    of = config.segmenter
    if config.conditions not in ((), (_LABELS,)):
        raise V2VError(
            "condition-unsupported",
            f"A segmenter learns labels, not {'+'.join(config.conditions)}.",
            "Leave out --domain and --condition.",
        )
    kind = of.train_on or (SPARSE_LABELS if (work / SPARSE_LABELS).exists(MANIFEST) else _LABELS)
    changes: dict[str, object] = {"train_on": kind}
    if not config.conditions:
        changes["condition"] = (_LABELS,)
    found = weights.find("lite0")
    network = of.network if of.network != "auto" else ("lite0-fpn" if found else "deeplabv3-resnet50")
    changes["network"] = network
    if network != "lite0-fpn":
        if not of.pretrained:
            raise V2VError(
                "setting-unused",
                f"--no-pretrained is for lite0-fpn; {network} starts from random weights unless --network-weights "
                "names some.",
                "Leave it out.",
            )
    elif of.pretrained and of.network_weights is None:
        changes["network_weights"] = str(weights.require("lite0"))
    elif of.network_weights is not None and not of.pretrained:
        raise V2VError("setting-conflict", "--no-pretrained excludes --network-weights.", "Leave out either.")
    if of.class_weight:
        changes["class_weight"] = _class_weight(of.class_weight, work, kind, load_input(work, kind))
    return config.model_copy(update=changes)


def _class_weight(texts: tuple[str, ...], work: Folder, kind: str, manifest: Manifest) -> tuple[str, ...]:
    """The weights as ID=WEIGHT."""
    if texts == (_BALANCED,):
        balanced = balanced_weights(_shares(work, kind, manifest))
        return tuple(f"{label}={weight:g}" for label, weight in sorted(balanced.items()))
    table = final_table(manifest.config)
    return tuple(_one_weight(text, table) for text in texts)


def _one_weight(text: str, table: ClassTable | None) -> str:
    name, _, number = text.rpartition("=")
    try:
        weight = float(number)
    except ValueError:
        weight = -1.0
    if not name or not 0 < weight < 1e6:
        raise V2VError(
            "setting-invalid",
            f"--class-weight {text} is neither CLASS=WEIGHT with a weight above 0 nor {_BALANCED} alone.",
            f"Write car=3, or {_BALANCED}.",
        )
    wanted: int | str = int(name) if name.isdecimal() else name
    return f"{ids_of((wanted,), table, '--class-weight')[0]}={weight:g}"


def _shares(work: Folder, kind: str, manifest: Manifest) -> dict[int, float]:
    """Label id -> its share of the pixels that have a label."""
    counts: Counter[int] = Counter()
    for entry in manifest.shards:
        shard = load_shard(work / kind, entry)
        for name, data in shard.files(LabelsCondition.required[0]):
            of = np.bincount(decode_gray(data, f"{shard.where}, {name}").ravel())
            counts.update({label: int(of[label]) for label in np.flatnonzero(of).tolist() if label != IGNORE})
    if not counts:
        raise V2VError("labels-missing", f"The artifact {kind} in {work.url} has no label.", "Ingest label maps.")
    return {label: count / counts.total() for label, count in counts.items()}


def balanced_weights(shares: Mapping[int, float]) -> dict[int, float]:
    """Class weights by the inverse square root of their shares of the pixels, 1 for the most frequent class.

    The inverse itself would give the rarest classes hundreds of times the weight of the road.
    """
    most = max(shares.values())
    return {label: round(float((most / share) ** 0.5), 3) for label, share in shares.items() if share > 0}


def class_weights(config: TrainConfig, num_labels: int) -> list[float] | None:
    """The weight of every class, from `--class-weight` with ids; None = all weigh the same.

    Raises:
        V2VError: an id is not below the number of labels.
    """
    if not config.segmenter.class_weight:
        return None
    found = [1.0] * num_labels
    for text in config.segmenter.class_weight:
        label, _, weight = text.partition("=")
        if int(label) >= num_labels:
            raise V2VError(
                "label-id-out-of-range",
                f"--class-weight {text}: there are {num_labels} labels (0 to {num_labels - 1}).",
                "Give an id or name of the class table.",
            )
        found[int(label)] = float(weight)
    return found
