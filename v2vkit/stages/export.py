"""`v2v export`: a model's recurrent step as ONNX graphs or torch.export programs."""

import shutil
from pathlib import Path

from v2vkit.artifacts.folder import Folder, explain_os_errors
from v2vkit.checkpoint.export_formats import ExportFormat, check_folder
from v2vkit.config import SizeSetting, StageConfig, setting
from v2vkit.pipeline.stage import Command, RunOptions


class ExportConfig(StageConfig):
    """Export a model, so that a program without v2vkit renders with it.

    TARGET is a new folder. It gets the network for a frame without a past (first.onnx) and for every other frame
    (step.onnx), each with the state as inputs and outputs, and model.json: names and shapes, what the channels of the
    source map are and how they were made, and how the output becomes a picture. The weights of both are stored once
    (weights.bin; with torch-export each .pt2 file has its own). docs/export.md has a program of 40 lines that renders
    with onnxruntime and numpy.
    """

    target: str = setting(..., "Folder to write.", argument=True)
    checkpoint: str | None = setting(None, "Checkpoint, such as spatial-1; default: the finest.")
    format: ExportFormat = setting("onnx", "ONNX (extra `export`), or the programs of torch.export.")
    size: SizeSetting | None = setting(None, "Size of the source maps; default: that of the training footage.")


def export(config: ExportConfig, options: RunOptions) -> list[str]:
    """Write the folder under a temporary name and rename it when it is complete; returns what the model lacks.

    Raises:
        V2VError: no such model, the folder is not empty, or a package is missing.
    """
    from v2vkit import __version__
    from v2vkit.checkpoint.export import export_model
    from v2vkit.checkpoint.find_model import describe_checkpoint, find_model
    from v2vkit.checkpoint.model_file import load_model
    from v2vkit.checkpoint.size import resized
    from v2vkit.video.targets import remove_abandoned, replace_folder, temporary_name

    work = Folder(options.work)
    checkpoint = find_model(work, config.checkpoint)
    generator, info = load_model(checkpoint)
    info = resized(info, config.size)
    folder = Path(config.target).resolve()
    building = temporary_name(folder)
    print(describe_checkpoint(work, checkpoint, info), flush=True)
    with explain_os_errors(config.target):
        remove_abandoned(folder)
        building.mkdir(parents=True)
        try:
            files = export_model(generator, info, building, config.format, __version__)
            replace_folder(folder, by=building)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
    print(f"{config.target}: {', '.join(files)}, for source maps of {info.width}x{info.height}.")
    if info.first_frame == "self" or not info.generator.history:
        return []
    other = "real frames" if info.first_frame == "real" else "a model of pictures, which is exported separately"
    return [f"the model begins with {other}; the graph `first` begins without them"]


COMMAND = Command(name="export", config=ExportConfig, call=export, check=lambda config: check_folder(config.target))
