"""Checks that the annotations of a workspace hold something to learn from: faces, people or labels."""

from collections.abc import Iterable, Mapping

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import Manifest
from v2vkit.conditions.clips import label_ids
from v2vkit.conditions.label_report import NO_LABEL
from v2vkit.conditions.registry import condition_classes
from v2vkit.config import IGNORE
from v2vkit.errors import V2VError


def nothing_found(kind: str, manifest: Manifest) -> str | None:
    """A sentence if nothing was found in any frame of an artifact, by the counts of its stage; else None."""
    for condition in condition_classes():
        if condition.artifact == kind and 0 < manifest.num_frames <= manifest.missing.get(condition.nothing, 0):
            return f"In every frame of {kind} there is {condition.nothing}."
    return None


def check_presence(
    work: Folder, manifests: Mapping[str, Manifest], *, foreground: Iterable[int] = ()
) -> dict[str, str]:
    """Refuse annotations without anything to learn from.

    Label maps are read only until a label and every foreground id are found.

    Args:
        manifests: kind -> manifest, of the artifacts that are trained on.
        foreground: label ids of the foreground branch.

    Returns:
        problems of the run by name: foreground ids that occur nowhere.

    Raises:
        V2VError: no frame has a face, a person or a label, or none of the foreground ids occurs.
    """
    for kind, manifest in manifests.items():
        if text := nothing_found(kind, manifest):
            raise V2VError(
                "annotations-empty",
                f"{text} There is nothing to train on.",
                f"Look at the frames with `v2v show frames`; make {kind} from other footage, or with other settings of "
                f"`v2v {manifest.stage}`.",
            )
    labels = manifests.get("labels")
    if labels is None:
        return {}
    wanted = frozenset(foreground)
    found: set[int] = set()
    for ids in label_ids(work, labels):
        found |= ids
        if wanted <= found and found - {IGNORE}:
            return {}
    fix = "Ingest the label maps with --ids FROM=TO (--ids 255=1 for masks of 0 and 255); `v2v check` lists their ids."
    if not found - {IGNORE}:
        raise V2VError("annotations-empty", NO_LABEL, fix)
    absent = ", ".join(map(str, sorted(wanted - found)))
    if not wanted & found:
        raise V2VError("foreground-missing", f"The label maps hold no pixel of --foreground {absent}.", fix)
    return {"--foreground": f"no pixel of the label maps has the id {absent}"}
