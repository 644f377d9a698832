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
    "track": "Track objects: one instance id per object through its whole shot.",
    "train": "Train a model on the artifacts of a workspace.",
    "import-checkpoint": "Make a checkpoint from the published weights of vid2vid.",
    "encode-features": "Encode the appearance of every region of the frames with a model's encoder.",
    "sample-style": "Fit a Gaussian mixture to the features of every class, to draw styles from.",
    "predict": "Predict the next label maps of every shot with a trained predictor.",
    "render": "Render a video from a source video, pictures or maps with a trained model.",
    "live": "Render a camera or another stream as it comes, and drop late frames.",
    "export": "Export a model as ONNX graphs or torch.export programs.",
    "export-dataset": "Write rendered frames and their labels as a data set: Cityscapes, COCO or YOLO.",
    "evaluate": "Measure a trained model on held-out clips, next to simple baselines.",
    "table": "Put evaluations of several models into one table, with published numbers beside.",
    "study": "Ask people which of two methods looks better: make, serve and count a preference study.",
    "report": "Make one HTML page about a workspace: recipe, data, losses, samples, metrics, videos.",
    "run": "Run the stages of a recipe in order; resumable.",
    "estimate-cost": "Estimate what a recipe costs for hours of footage, from rates measured on a sample.",
    "show": "Make a contact sheet or video of an artifact.",
    "check": "Check sources or a workspace before long work: names, counts, ids, sizes.",
    "weights": "List, fetch, add and verify the weights files that can be used.",
    "doctor": "Print versions, devices and extras, and how to install what is missing.",
    "make-toy": "Make a procedural street: videos, label maps, instances, exact flow and depth.",
    "make-rain": "Add procedural rain or drops on the lens to a video, for training deraining.",
}
"""Command -> one-line summary; stated here so that `v2v --help` and `import v2vkit` need not import the commands."""

OF_RECIPES = ("run", "estimate-cost")
"""Commands that read a recipe and call the others."""
_NO_FUNCTIONS = (*OF_RECIPES, "weights")
"""Recipes belong to the command line, and `v2vkit.weights` is a package."""
FUNCTIONS: dict[str, str] = {name.replace("-", "_"): name for name in COMMANDS if name not in _NO_FUNCTIONS}
"""Function of the library -> its command."""

RUN_HELP: dict[str, str] = {
    "work": "Workspace: a folder or fsspec URL.",
    "workers": "Number of processes; 0 = one per core, or as many as fit into the Ray cluster.",
    "engine": "Where shards are made: local (processes of this machine) or ray (a Ray cluster).",
    "address": "Address of a running Ray cluster, such as 10.0.0.5:6379; default: RAY_ADDRESS, else a private "
    "cluster on this machine.",
    "worker_gpus": "GPUs of each Ray worker; 0.5 lets two workers share one.",
    "overwrite": "Replace what is there: what was made with other settings, a report, a data set.",
    "continue_": "Resume the last snapshot with changed settings: epochs, learning rate, weights of losses, lengths of "
    "sequences.",
    "dry_run": "Check everything and print the plan and its cost, without doing it.",
}
"""Field of `RunOptions` -> its help."""


def find_command(name: str) -> "Stage | Command":
    """The Stage or Command object behind a name in `COMMANDS`, except those `OF_RECIPES`."""
    module: Any = importlib.import_module(f"v2vkit.stages.{name.replace('-', '_')}")
    found: Stage | Command = getattr(module, "STAGE", None) or module.COMMAND
    return found
