"""Finds the checkpoint that a command uses, and describes it."""

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import PARTIAL, read_manifest
from v2vkit.checkpoint.model_file import MODEL, ModelInfo
from v2vkit.config import SPATIAL_STAGES
from v2vkit.errors import V2VError

FINEST_FIRST = (*reversed(SPATIAL_STAGES), "s-flow", "pix2pixhd", "pix2pix", "covst")
"""Checkpoints of models that make frames of source maps, in the order in which `find_model` prefers them."""


def find_model(work: Folder, name: str | None) -> Folder:
    """The folder of the named checkpoint, or of the finest one that has a model.

    Args:
        name: `spatial-1`, `checkpoints/spatial-1` or the path with the workspace; None = the finest.

    Raises:
        V2VError: there is none; the message lists the checkpoints that exist.
    """
    checkpoints = work / "checkpoints"
    inside = None if name is None else name.removeprefix(f"{work.url}/").removeprefix("checkpoints/").rstrip("/")
    for stage in FINEST_FIRST if inside is None else (inside,):
        folder = checkpoints / stage
        if folder.exists(MODEL):
            return folder
    present = [other for other in checkpoints.names() if (checkpoints / other).exists(MODEL)]
    wanted = "no trained model" if name is None else f"no checkpoint {name}"
    raise V2VError(
        "model-missing",
        f"There is {wanted} in {work.url}.",
        f"There are: {', '.join(present)}." if present else "Run `v2v train` first, or name another --work.",
    )


def describe_checkpoint(work: Folder, folder: Folder, info: ModelInfo) -> str:
    """One line on a checkpoint: path, steps, whether its training is unfinished or its coarser scale was retrained."""
    text = f"model: {folder.url}" + (f", {info.steps:,} steps" if info.steps else "")
    partial = read_manifest(folder, PARTIAL)
    if partial is not None:
        text += "; its training is not finished"
    manifest = partial or read_manifest(folder)
    for parent, seen in manifest.inputs.items() if manifest is not None else ():
        coarser = read_manifest(work / parent) if parent.startswith("checkpoints/") else None
        if coarser is not None and coarser.fingerprint != seen:
            text += f"; {parent} has been trained again since"
    return text
