"""The commands, one file each: `v2v make-sketches` and `v2vkit.make_sketches` are `stages/make_sketches.py`."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from v2vkit.pipeline.stage import Command, Stage

COMMANDS: dict[str, str] = {
    "ingest": "Turn videos or folders of images into frames, cut into clips and packed into shards.",
    "segment": "Make label maps of the frames with a segmentation network.",
    "make-sketches": "Find face landmarks and draw them as sketches with background edges.",
    "make-edges": "Find the Laplacian edges of the frames.",
    "estimate-pose": "Find people's key points and draw them as coloured skeletons.",
    "extract-flow": "Compute backward optical flow with confidence between frames.",
    "track": "Give every object one number through its whole shot.",
    "train": "Train a model on the artifacts of a workspace.",
    "import-checkpoint": "Make a checkpoint from the published weights of vid2vid.",
    "encode-features": "Describe the look of every region of the frames by a model's encoder.",
    "sample-style": "Fit a Gaussian mixture to the features of every class, to draw styles from.",
    "render": "Turn a driving video into a rendered video with a trained model.",
    "evaluate": "Measure a trained model on held-out clips, beside simple baselines.",
    "study": "Ask people which of two methods looks better: make, serve and count a preference study.",
    "run": "Run the stages of a recipe in order; resumable.",
    "show": "Make a contact sheet or video of an artifact.",
    "check": "Check names, counts, ids and sizes before any long work.",
    "weights": "List, fetch, add and verify the weights files that can be used.",
    "doctor": "Print versions, devices and extras, and how to install what is missing.",
    "make-toy": "Make a procedural street: videos, label maps, instances, exact flow and depth.",
}
"""Command -> one-line summary, which stands here so that `v2v --help` and `import v2vkit` need not import the files."""

_NO_FUNCTIONS = ("run", "weights")
"""Recipes are the command line's; the name `v2vkit.weights` is that of the package with the same job."""
FUNCTIONS: dict[str, str] = {name.replace("-", "_"): name for name in COMMANDS if name not in _NO_FUNCTIONS}
"""Function of the library -> its command."""

RUN_HELP: dict[str, str] = {
    "work": "Workspace: a folder or fsspec URL.",
    "workers": "Processes; 0 = one per core.",
    "overwrite": "Make again what was made with other settings.",
    "continue_": "Resume the last snapshot with changed settings: epochs, learning rate, weights of losses, lengths of "
    "sequences.",
    "dry_run": "Check everything, say what would be done and what it costs, and do nothing.",
}
"""How to run, as opposed to what to make: field of `RunOptions` -> its help."""


def find_command(name: str) -> "Stage | Command":
    """The Stage or Command object behind a name in `COMMANDS`, except `run`."""
    module: Any = importlib.import_module(f"v2vkit.stages.{name.replace('-', '_')}")
    found: Stage | Command = getattr(module, "STAGE", None) or module.COMMAND
    return found
