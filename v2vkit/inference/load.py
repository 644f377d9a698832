"""`v2vkit.load`: a trained model from a file, a checkpoint folder or a workspace."""

import os
from typing import get_args

from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.find_model import find_model
from v2vkit.checkpoint.model_file import MODEL
from v2vkit.config import Precision
from v2vkit.errors import V2VError
from v2vkit.inference.backend_names import Backend
from v2vkit.inference.model import AnyPath, Model
from v2vkit.inference.open_session import open_model, start_backend

_SUFFIX = ".safetensors"


def load(
    path: AnyPath,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    styles: AnyPath | None = None,
    first_frame_model: AnyPath | None = None,
    backend: Backend = "torch",
    settle: int = 0,
) -> Model:
    """Open a trained model.

    The number of torch's threads stays as it is (`torch.set_num_threads`); the frames do not depend on it.

    Args:
        path: a checkpoint's folder (`work/checkpoints/spatial-2`), a workspace (its finest checkpoint) or a model file
            (`.safetensors`).
        device: cpu, cuda, cuda:1, mps or auto.
        precision: number format of the convolutions: auto, fp32, bf16 or fp16.
        styles: folder of styles (default: `styles` of the checkpoint's workspace).
        first_frame_model: checkpoint folder of the model that makes first frames (default: `checkpoints/pix2pixhd` of
            the workspace).
        backend: what runs the network: torch, compile, onnxruntime, openvino or auto, as of `v2v render`.
        settle: generate the first frame of every shot so many times more, each from the one before, as of `v2v render`.

    Raises:
        V2VError: the model is missing, damaged or of another version, it does not settle, or the device is missing or
            has too little memory (found by generating one frame).
    """
    if precision not in get_args(Precision):
        raise V2VError(
            "precision-unknown", f"There is no precision {precision!r}.", f"Known: {', '.join(get_args(Precision))}."
        )
    folder, name = _find(os.fspath(path))
    model = open_model(folder, name, device=device, settle=settle)
    chosen = start_backend(backend, model.generator, model.info, precision)
    return Model(
        model.generator,
        model.info,
        model.device,
        precision,
        _workspace(folder),
        None if styles is None else os.fspath(styles),
        None if first_frame_model is None else os.fspath(first_frame_model),
        backend=chosen.name,
        forward=chosen.forward,
        settle=settle,
    )


def _find(path: str) -> tuple[Folder, str]:
    """Folder and name of the model file at `path`."""
    folder = Folder(path)
    if folder.exists(MODEL):
        return folder, MODEL
    if folder.is_file:
        if not path.endswith(_SUFFIX):
            raise V2VError(
                "model-missing", f"{path} is not a model file.", f"Give a file that ends in {_SUFFIX}, or a folder."
            )
        parent, _, name = path.rpartition("/")
        return Folder(parent or "."), name
    if folder.exists("checkpoints"):
        return find_model(folder, None), MODEL
    raise V2VError(
        "model-missing",
        f"There is no model in {path}.",
        f"Give a checkpoint's folder (such as work/checkpoints/spatial-1), a workspace, or a {_SUFFIX} file.",
    )


def _workspace(folder: Folder) -> Folder:
    """The workspace of a checkpoint; its own folder if it is in none."""
    work, inside, _ = folder.url.rpartition("/checkpoints/")
    return Folder(work) if inside and work else folder
