"""The model file: a network's EMA weights as safetensors, with a JSON description (`ModelInfo`) in the header.

Most networks are generators of frames (`load_model`); other kinds have a file of the same form (`load_network`). Models
with features also store the weights of the feature encoder E.

Rendering needs only this file. Nothing in it is executable. A file whose description does not match its tensors is
refused before memory is allocated for the network.
"""

import json
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, Self, cast, get_args

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import ClipInfo, read_verified
from v2vkit.conditions.alignment import Placement
from v2vkit.conditions.base import Condition
from v2vkit.conditions.conditioning import Conditioning, NewerConditionError, settings_problem
from v2vkit.conditions.proportions import Proportions
from v2vkit.conditions.settings import Origin, TrackerSettings
from v2vkit.config import DEFAULT_RATE, MAX_PIXELS, MAX_SIDE, parse_rate
from v2vkit.errors import V2VError
from v2vkit.models.any_generator import AnyGenerator, AnyGeneratorConfig
from v2vkit.models.any_network import AnyNetworkConfig, build_network
from v2vkit.models.encoder import EncoderConfig, FeatureEncoder

MODEL = "model.safetensors"
FORMAT = 2
_METADATA_KEY = "v2vkit"
_MAX_HEADER = 100_000_000
"""Bytes; the limit of safetensors itself."""
_DAMAGED = (ValidationError, AttributeError, KeyError, TypeError, ValueError, RecursionError)
"""What parsing a damaged or foreign header raises."""
ENCODER_PREFIX = "encoder."
"""Prefix of the names of E's weights."""


def downsampled_size(width: int, height: int, times: int) -> tuple[int, int]:
    """Width and height after `times` downsamplings by two, odd sides rounded up."""
    return -(-width // 2**times), -(-height // 2**times)


class ModelInfo(BaseModel):
    """Description of a model: everything that rendering has to know besides the weights.

    Attributes:
        format: version of this description.
        network: configuration of the network's layers.
        conditioning: the conditions, in the order of their channels.
        origins: for each condition, the stage, settings and estimator that made its annotations.
        tracks: how `v2v track` made the object ids of the label maps; None = they are those of the label maps.
        encoder: configuration of E, whose vectors are appended to the source maps; None = no features.
        width, height: size of the frames and source maps of its workspace, in pixels.
        downsamplings: times that source maps are downsampled by two before the generator; above 0 for the coarse
            scales of a model with several.
        first_frame: how a video begins (`self`, `real` or `image`).
        frames: settings of `ingest`; rendering crops and resizes in the same way.
        placement: typical position and size of the face or body in the training footage, in pixels of its frames;
            None = unknown.
        proportions: of that face or body, for `render --retarget`; None = unknown.
        epochs, steps: how long it was trained.
        method: the training method.
        stage: name of the checkpoint.
        fingerprint: of the training run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(default=FORMAT, ge=FORMAT, le=FORMAT)
    method: str = "vid2vid"
    stage: str
    fingerprint: str
    network: AnyNetworkConfig
    encoder: EncoderConfig | None = None
    conditioning: Conditioning
    origins: tuple[Origin, ...]
    tracks: Origin | None = None
    width: int = Field(ge=1, le=MAX_SIDE)
    height: int = Field(ge=1, le=MAX_SIDE)
    downsamplings: int = Field(default=0, ge=0, le=8)
    first_frame: str = "self"
    frames: dict[str, Any]
    placement: Placement | None = None
    proportions: Proportions | None = None
    epochs: int = 0
    steps: int = 0

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.width * self.height > MAX_PIXELS:
            raise ValueError(f"{self.width}x{self.height} is more than the allowed {MAX_PIXELS} pixels")
        parse_rate(str(self.frames.get("fps") or DEFAULT_RATE))
        if (problem := settings_problem(self.conditioning, self.origins)) is not None:
            raise ValueError(problem)
        if self.tracks is not None:
            TrackerSettings.model_validate(self.tracks.settings)
        return self

    @property
    def tracker(self) -> TrackerSettings | None:
        """The settings by which objects were tracked; None = they were not."""
        return None if self.tracks is None else TrackerSettings.model_validate(self.tracks.settings)

    @property
    def generator(self) -> AnyGeneratorConfig:
        """The configuration of the generator.

        Raises:
            V2VError: the network is not a generator of frames.
        """
        if not isinstance(self.network, get_args(AnyGeneratorConfig)):
            raise V2VError(
                "model-mismatch",
                f"The checkpoint {self.stage} is of --method {self.method}, which does not generate frames.",
                "Name a checkpoint that does, such as spatial-1.",
            )
        return self.network

    @property
    def rate(self) -> Fraction:
        """Frames per second of the training footage."""
        return parse_rate(str(self.frames.get("fps") or DEFAULT_RATE))

    @property
    def conditions(self) -> tuple[tuple[Condition[Any], Origin], ...]:
        """Every condition with its origin."""
        return tuple(zip(self.conditioning.conditions, self.origins, strict=True))

    @property
    def identity(self) -> str:
        """Identifies this model independently of its path: training fingerprint and number of steps."""
        return f"{self.fingerprint}/{self.steps}"

    @property
    def encoder_downsamplings(self) -> int:
        """Downsamplings by two of the frames before E, to the size of the coarsest scale in every stage."""
        return self.downsamplings + self.generator.num_scales - 1

    @property
    def output_size(self) -> tuple[int, int]:
        """Width and height of the generator's output, which rendering upsamples to the size of the frames."""
        return downsampled_size(self.width, self.height, self.downsamplings)


def model_weights(generator: AnyGenerator, encoder: FeatureEncoder | None) -> dict[str, Tensor]:
    """The weights of a model by their names in the model file: the generator's unchanged, E's prefixed `encoder.`."""
    found = {} if encoder is None else encoder.state_dict()
    return {**generator.state_dict(), **{ENCODER_PREFIX + name: value for name, value in found.items()}}


def save_model(folder: Folder, weights: dict[str, Tensor], info: ModelInfo) -> None:
    """Write a model's weights (`model_weights`) with their description."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    # Absent parts are left out, so that models without them have the same bytes as before these fields existed.
    absent = {name for name in ("encoder", "placement", "proportions") if getattr(info, name) is None}
    text = info.model_dump_json(exclude=absent)
    folder.write(MODEL, save(tensors, metadata={_METADATA_KEY: text}))


def load_model(folder: Folder, name: str = MODEL) -> tuple[AnyGenerator, ModelInfo]:
    """The generator in evaluation mode, on the CPU, and its description.

    Args:
        name: file name, where it is not the usual one.

    Raises:
        V2VError: as `load_network`, or the network is not a generator of frames.
    """
    network, _, info = _load(folder, name)
    layers, generator = info.generator, cast(AnyGenerator, network)
    # For one image at a time this layout is fastest on a CPU too (transposed convolutions need no copies). It costs
    # batch norm accuracy, and networks with batch norm are imported ones, which must reproduce the published images.
    return (generator.to(memory_format=torch.channels_last) if layers.norm == "instance" else generator), info


def load_network(folder: Folder, name: str = MODEL) -> tuple[nn.Module, ModelInfo]:
    """The network, of any kind, in evaluation mode, on the CPU, and its description.

    Args:
        name: file name, where it is not the usual one.

    Raises:
        V2VError: the file is missing, damaged (or its checksum is not that of its manifest), not a model, or of an
            older or newer version.
    """
    network, _, info = _load(folder, name)
    return network, info


def load_encoder(folder: Folder) -> tuple[FeatureEncoder, ModelInfo]:
    """The model's feature encoder E in evaluation mode, on the CPU, and the model's description.

    Raises:
        V2VError: as `load_model`, or the model has no feature encoder.
    """
    _, encoder, info = _load(folder)
    refuse_without_features(info, folder)
    assert encoder is not None
    return encoder, info


def refuse_without_features(info: ModelInfo, folder: Folder) -> None:
    """Check that a model has a feature encoder.

    Args:
        folder: of the model, for the message.

    Raises:
        V2VError: it has none.
    """
    if info.encoder is None:
        raise V2VError(
            "encoder-missing",
            f"The model in {folder.url} was trained without features.",
            "Train one with `v2v train --feature-dims 3`.",
        )


def _load(folder: Folder, name: str = MODEL) -> tuple[nn.Module, FeatureEncoder | None, ModelInfo]:
    try:
        data = read_verified(folder, name)
    except FileNotFoundError:
        raise _absent(folder, name) from None
    try:
        tensors = load(data)
        info = _parse(data[8 : 8 + _header_length(data)])
        # Built without memory first, so that a false description cannot make us allocate it.
        with torch.device("meta"):
            network = build_network(info.network)
            encoder = None if info.encoder is None else FeatureEncoder(info.encoder)
        if encoder is not None:
            found = {name: tensors.pop(name) for name in list(tensors) if name.startswith(ENCODER_PREFIX)}
            of_encoder = {name.removeprefix(ENCODER_PREFIX): tensor for name, tensor in found.items()}
            encoder.load_state_dict(of_encoder, strict=True, assign=True)
            encoder.eval().requires_grad_(False)
        network.load_state_dict(tensors, strict=True, assign=True)
    except (SafetensorError, RuntimeError, *_DAMAGED) as error:
        raise _no_model(f"{folder.url}/{name}", error) from None
    return network.eval().requires_grad_(False), encoder, info


def read_info(folder: Folder) -> ModelInfo:
    """The description of the model in `folder`, without reading the weights.

    Raises:
        V2VError: the file is missing, damaged, not a model, or of an older or newer version.
    """
    try:
        return _parse(folder.read(MODEL, 8, 8 + _header_length(folder.read(MODEL, 0, 8))))
    except FileNotFoundError:
        raise _absent(folder) from None
    except _DAMAGED as error:
        raise _no_model(f"{folder.url}/{MODEL}", error) from None


def _absent(folder: Folder, name: str = MODEL) -> V2VError:
    return V2VError(
        "model-missing",
        f"There is no model {folder.url}/{name}.",
        "Train one with `v2v train`, or name another --work.",
    )


def _header_length(data: bytes) -> int:
    """Length of a safetensors header in bytes, from the first 8 bytes of the file."""
    length = int.from_bytes(data[:8], "little")
    if length > _MAX_HEADER:
        raise ValueError(f"a header of {length} bytes")
    return length


def _parse(header: bytes) -> ModelInfo:
    """The description from the metadata of a safetensors header (JSON)."""
    metadata = dict(json.loads(header).get("__metadata__", {}))
    return ModelInfo.model_validate_json(metadata[_METADATA_KEY])


def _is_newer(error: ValidationError) -> bool:
    """Whether validation failed because of a higher format or fields that this version does not know."""
    found = {(item["type"], item["loc"]) for item in error.errors()}
    if any(isinstance(item.get("ctx", {}).get("error"), NewerConditionError) for item in error.errors()):
        return True
    # A field or a kind of network that this version does not know.
    return ("less_than_equal", ("format",)) in found or any(
        kind in ("extra_forbidden", "union_tag_invalid") for kind, _ in found
    )


def _no_model(file: str, error: Exception) -> V2VError:
    if isinstance(error, ValidationError):
        if any((item["type"], item["loc"]) == ("greater_than_equal", ("format",)) for item in error.errors()):
            return V2VError(
                "version-too-old",
                f"{file} was made by an older v2vkit, in a format that is no longer read.",
                "Train or import it again with --overwrite.",
            )
        if _is_newer(error):
            return V2VError(
                "version-too-new", f"{file} was made by a newer v2vkit than this one.", "Update: pip install -U v2vkit"
            )
        first = error.errors()[0]
        text = ": ".join([*(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, ")])
    else:
        text = (str(error).splitlines() or ["damaged"])[0]
    return V2VError("model-damaged", f"{file} is not a v2vkit model ({text}).", "Copy it again, or train it again.")


def refuse_other_sizes(info: ModelInfo, clips: Iterable[ClipInfo], where: str) -> None:
    """Check that all clips have the size of the model's frames and maps.

    Args:
        where: the workspace of the clips, for the message.

    Raises:
        V2VError: one does not; the message names it.
    """
    for clip in clips:
        if (clip.width, clip.height) != (info.width, info.height):
            raise V2VError(
                "size-mismatch",
                f"Clip {clip.name} in {where} is {clip.width}x{clip.height}; the model was trained on "
                f"{info.width}x{info.height}.",
                f"Ingest with --size {info.width}x{info.height}.",
            )
