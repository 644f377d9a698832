"""Opens a trained model for rendering: generator, first-frame model, style and back end, tried on one frame."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from v2vkit.arrays import Image
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import MODEL, ModelInfo, load_model
from v2vkit.checkpoint.size import resized
from v2vkit.config import Precision, Size
from v2vkit.engine.devices import pick_device
from v2vkit.inference.backend_names import Backend
from v2vkit.inference.backends import Chosen, choose_backend
from v2vkit.inference.first_frames import find_first_frame_model
from v2vkit.inference.session import Session, warm_up
from v2vkit.inference.settling import refuse_idle_settling
from v2vkit.inference.styles import find_style
from v2vkit.models.any_generator import AnyGenerator
from v2vkit.models.generator import Output


@dataclass(frozen=True)
class OpenedModel:
    """A trained model on its device.

    Attributes:
        generator: in evaluation mode.
        trained: its description from the model file.
        info: the same at the size that is rendered.
        device: where it runs.
    """

    generator: AnyGenerator
    trained: ModelInfo
    info: ModelInfo
    device: torch.device


def open_model(
    folder: Folder, name: str = MODEL, *, device: str, settle: int = 0, size: Size | None = None
) -> OpenedModel:
    """Load a model onto its device.

    Args:
        folder, name: of the model file.
        device, settle, size: as of `v2v render`.

    Raises:
        V2VError: the model is missing or damaged, it does not settle, it cannot have that size, or there is no such
            device.
    """
    generator, trained = load_model(folder, name)
    refuse_idle_settling(settle, trained)
    info = resized(trained, size)
    where = pick_device(device)
    return OpenedModel(generator.to(where), trained, info, where)


def open_session(
    model: OpenedModel,
    work: Folder,
    *,
    style: int | str,
    styles: str | None = None,
    first_frames: Image | None = None,
    first_frame_model: str | None = None,
    precision: Precision,
    settle: int = 0,
) -> Session:
    """A session of the model, with its style and its first-frame model; `start_session` comes next.

    Args:
        work: workspace in which styles and the first-frame model are searched.
        style, styles: as in `find_style`.
        first_frames: real frames that every shot begins from, RGB uint8 [L, H, W, 3]; then no first-frame model is
            searched.
        first_frame_model: its folder; None = that of the workspace.
        precision, settle: as in `Session`.

    Raises:
        V2VError: a style or the first-frame model is missing or does not fit.
    """
    found = None if first_frames is not None else find_first_frame_model(work, first_frame_model, model.trained)
    return Session(
        model.generator,
        downsamplings=model.info.downsamplings,
        first_frames=first_frames,
        first_frame_model=None if found is None else found.to(model.device),
        style=find_style(work, styles, style, model.info),
        precision=precision,
        settle=settle,
    )


def start_session(session: Session, info: ModelInfo, backend: Backend) -> Chosen:
    """Try the networks of a session on one frame, and give it the back end that runs its generator.

    Args:
        info: the model's description at the size that is rendered.

    Raises:
        V2VError: as for `start_backend`.
    """
    chosen = start_backend(backend, session.generator, info, session.precision, session.forward)
    session.forward = chosen.forward or session.forward
    if session.first_frame_model is not None:
        warm_up(session.first_frame_model, info.width, info.height, precision=session.precision)
    return chosen


def start_backend(
    name: Backend,
    generator: AnyGenerator,
    info: ModelInfo,
    precision: Precision,
    forward: Callable[..., list[Output]] | None = None,
) -> Chosen:
    """Generate one frame that is thrown away, then open the back end.

    Args:
        name, generator, info, precision: as in `choose_backend`.
        forward: runs the generator for that frame, as in `Rollout`.

    Raises:
        V2VError: the generator does not fit into the device's memory, or the back end cannot be used.
    """
    warm_up(generator, info.width, info.height, info.downsamplings, precision, forward)
    return choose_backend(name, generator, info, precision)
