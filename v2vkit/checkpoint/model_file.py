"""The model file: a network's EMA weights as safetensors, with a JSON description (`ModelInfo`) in the header.

Most networks are generators of frames (`load_model`); other kinds have a file of the same form (`load_network`). Models
with features also store the weights of the feature encoder E.

Rendering needs only this file. Nothing in it is executable. A file whose description does not match its tensors is
refused before memory is allocated for the network.
"""

import json
from collections.abc import Iterable
from typing import cast

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import ClipInfo, read_verified
from v2vkit.checkpoint.model_info import ModelInfo
from v2vkit.conditions.conditioning import NewerConditionError
from v2vkit.errors import V2VError
from v2vkit.models.any_generator import AnyGenerator
from v2vkit.models.any_network import build_network
from v2vkit.models.encoder import FeatureEncoder

MODEL = "model.safetensors"
_METADATA_KEY = "v2vkit"
_MAX_HEADER = 100_000_000
"""Bytes; the limit of safetensors itself."""
_DAMAGED = (ValidationError, AttributeError, KeyError, TypeError, ValueError, RecursionError)
"""What parsing a damaged or foreign header raises."""
ENCODER_PREFIX = "encoder."
"""Prefix of the names of E's weights."""


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
