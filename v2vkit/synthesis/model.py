"""The model file: the generator's (averaged) weights as safetensors, its header carrying a JSON description.

Where the model takes features, the weights of the encoder E that found them in training lie beside the generator's.

One file is all that rendering needs; nothing in it is executable, and a file that lies about sizes is refused before
memory is allocated for it.
"""

import json
from collections.abc import Iterable
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import PARTIAL, ClipInfo, read_manifest
from v2vkit.config import MAX_PIXELS, MAX_SIDE, parse_rate
from v2vkit.errors import V2VError
from v2vkit.maps.placement import Placement
from v2vkit.maps.source import SourceConfig
from v2vkit.models.any_generator import AnyGenerator, AnyGeneratorConfig, build_generator
from v2vkit.models.encoder import EncoderConfig, FeatureEncoder

MODEL = "model.safetensors"
_METADATA_KEY = "v2vkit"
_DAMAGED = (ValidationError, AttributeError, KeyError, TypeError, ValueError)
"""What a header raises that is not one of ours."""
_ENCODER = "encoder."
_FINEST_FIRST = ("spatial-3", "spatial-2", "spatial-1", "image", "covst")


def halved_size(width: int, height: int, times: int) -> tuple[int, int]:
    """What is left of a picture that was halved `times` times, odd sides rounded up."""
    return -(-width // 2**times), -(-height // 2**times)


class ModelInfo(BaseModel):
    """What a model needs to be used as it was trained.

    Attributes:
        generator, source: the layers, and what conditions them.
        encoder: layers of E, whose vectors are appended to the source maps; None = the model takes no features.
        width, height: size of the frames and source maps of its workspace, in pixels.
        halvings: how often source maps are halved for it: a coarse scale trained below frames of the finest size.
        first_frame: how a video begins (`self`, `real` or `image`).
        frames: settings of `ingest`, so that rendering crops and resizes alike.
        maps: settings of the stage that made the source maps; `maps_stage` is its name.
        estimator: name and version of the estimator behind them.
        placement: where its footage mostly had its face or body, in pixels of its frames; None = not known.
        epochs, steps: how long it was trained.
        stage, fingerprint: of the training run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    stage: str
    fingerprint: str
    generator: AnyGeneratorConfig
    encoder: EncoderConfig | None = None
    source: SourceConfig
    width: int = Field(ge=1, le=MAX_SIDE)
    height: int = Field(ge=1, le=MAX_SIDE)
    halvings: int = Field(default=0, ge=0, le=8)
    first_frame: str
    frames: dict[str, Any]
    maps: dict[str, Any]
    maps_stage: str
    estimator: dict[str, str] = {}
    placement: Placement | None = None
    epochs: int = 0
    steps: int = 0

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.width * self.height > MAX_PIXELS:
            raise ValueError(f"{self.width}x{self.height} is more than the allowed {MAX_PIXELS} pixels")
        parse_rate(str(self.frames.get("fps") or "25"))
        return self

    @property
    def identity(self) -> str:
        """What tells this model from another one, wherever its file lies."""
        return f"{self.fingerprint}/{self.steps}"

    @property
    def encoder_halvings(self) -> int:
        """How often frames are halved before E sees them: to the size of the coarsest scale, in every stage."""
        return self.halvings + self.generator.num_scales - 1

    @property
    def output_size(self) -> tuple[int, int]:
        """Width and height of what the generator makes; rendering enlarges it to the size of the frames."""
        return halved_size(self.width, self.height, self.halvings)


def model_weights(generator: AnyGenerator, encoder: FeatureEncoder | None) -> dict[str, Tensor]:
    """The weights of a model by the names that its file uses: the generator's as they are, E's below `encoder.`."""
    found = {} if encoder is None else encoder.state_dict()
    return {**generator.state_dict(), **{_ENCODER + name: value for name, value in found.items()}}


def save_model(folder: Folder, weights: dict[str, Tensor], info: ModelInfo) -> None:
    """Write a model's weights (`model_weights`) with their description."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    # What a model has not got is left out, as before there was any of it.
    text = info.model_dump_json(exclude={name for name in ("encoder", "placement") if getattr(info, name) is None})
    folder.write(MODEL, save(tensors, metadata={_METADATA_KEY: text}))


def load_model(folder: Folder) -> tuple[AnyGenerator, ModelInfo]:
    """The generator in evaluation mode, on the CPU, and its description.

    Raises:
        V2VError: no such file, damaged, or written by something else.
    """
    generator, _, info = _load(folder)
    # For one image at a time this layout is the fastest on a CPU too (transposed convolutions need no copies). Batch
    # norm loses digits in it, and the networks that have it are imported ones, which must give the published images.
    return (generator.to(memory_format=torch.channels_last) if info.generator.norm == "instance" else generator), info


def load_encoder(folder: Folder) -> tuple[FeatureEncoder, ModelInfo]:
    """The model's feature encoder E in evaluation mode, on the CPU, and the model's description.

    Raises:
        V2VError: as `load_model`, or the model takes no features.
    """
    _, encoder, info = _load(folder)
    if encoder is None:
        raise V2VError(
            f"The model in {folder.url} was trained without features.", "Train one with `v2v train --feature-dims 3`."
        )
    return encoder, info


def _load(folder: Folder) -> tuple[AnyGenerator, FeatureEncoder | None, ModelInfo]:
    data = _read(folder)
    try:
        tensors = load(data)
        info = _parse(data)
        # Layers are built without memory first: a file that lies about its size must not allocate it.
        with torch.device("meta"):
            generator = build_generator(info.generator)
            encoder = None if info.encoder is None else FeatureEncoder(info.encoder)
        if encoder is not None:
            found = {name: tensors.pop(name) for name in list(tensors) if name.startswith(_ENCODER)}
            of_encoder = {name.removeprefix(_ENCODER): tensor for name, tensor in found.items()}
            encoder.load_state_dict(of_encoder, strict=True, assign=True)
            encoder.eval().requires_grad_(False)
        generator.load_state_dict(tensors, strict=True, assign=True)
    except (SafetensorError, RuntimeError, *_DAMAGED) as error:
        raise _no_model(folder, error) from None
    return generator.eval().requires_grad_(False), encoder, info


def read_info(folder: Folder) -> ModelInfo:
    """Only the description of the model in `folder`.

    Raises:
        V2VError: as `load_model`.
    """
    data = _read(folder)
    try:
        return _parse(data)
    except _DAMAGED as error:
        raise _no_model(folder, error) from None


def _read(folder: Folder) -> bytes:
    try:
        return folder.read(MODEL)
    except FileNotFoundError:
        raise V2VError(
            f"There is no model {folder.url}/{MODEL}.", "Train one with `v2v train`, or name another --work."
        ) from None


def _parse(data: bytes) -> ModelInfo:
    """The description, from the free metadata in a safetensors header (8 bytes of length, then JSON)."""
    length = int.from_bytes(data[:8], "little")
    metadata = dict(json.loads(data[8 : 8 + length]).get("__metadata__", {}))
    return ModelInfo.model_validate_json(metadata[_METADATA_KEY])


def _no_model(folder: Folder, error: Exception) -> V2VError:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        text = ": ".join([*(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, ")])
    else:
        text = (str(error).splitlines() or ["damaged"])[0]
    return V2VError(f"{folder.url}/{MODEL} is not a v2vkit model ({text}).", "Copy or train it again.")


def find_model(work: Folder, name: str | None) -> Folder:
    """The folder of the named checkpoint, or of the finest one that has a model.

    Raises:
        V2VError: there is none.
    """
    for stage in _FINEST_FIRST if name is None else (name,):
        folder = work / f"checkpoints/{stage}"
        if folder.exists(MODEL):
            return folder
    wanted = f"no checkpoint {name}" if name else "no trained model"
    raise V2VError(f"There is {wanted} in {work.url}.", "Run `v2v train` first, or name another --work.")


def describe_checkpoint(work: Folder, folder: Folder, info: ModelInfo) -> str:
    """One line: which checkpoint it is, how long it trained, and what its user should know before judging it."""
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


def refuse_other_sizes(info: ModelInfo, clips: Iterable[ClipInfo], where: str) -> None:
    """Whether these clips have the size of the model's frames and maps.

    Raises:
        V2VError: one has not; `where` names what they are of.
    """
    for clip in clips:
        if (clip.width, clip.height) != (info.width, info.height):
            raise V2VError(
                f"Clip {clip.name} in {where} is {clip.width}x{clip.height}; the model was trained on "
                f"{info.width}x{info.height}.",
                f"Ingest with --size {info.width}x{info.height}.",
            )


def pick_device(name: str) -> torch.device:
    """The device that was asked for; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        V2VError: not available here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise V2VError(f"There is no device {name!r}.", "Give cpu, cuda, mps or auto.") from None
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(device.type, True):
        raise V2VError(f"torch finds no {device.type} device here.", "`v2v doctor` lists the devices.")
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        text = str(error).splitlines()[0].split(". ")[0]
        raise V2VError(f"The device {name!r} cannot be used: {text}.", "`v2v doctor` lists the devices.") from None
    return device
