"""Initialises a training from the weights of a checkpoint: a model of the same layers, or the coarser stage.

`check_same_network` and `inherit_same` are for networks of any kind; `check_start` and `inherit` for generators of
frames, which may have a scale more than the checkpoint.
"""

from collections.abc import Mapping

from torch import Tensor

from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import load_encoder, load_model, load_network, model_weights, read_info
from v2vkit.checkpoint.model_info import ModelInfo, downsampled_size
from v2vkit.checkpoint.snapshot import read_networks
from v2vkit.checkpoint.train_state import TrainState
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.config import SPATIAL_STAGES, StageConfig, as_plain
from v2vkit.errors import V2VError
from v2vkit.models.any_generator import AnyGeneratorConfig
from v2vkit.models.discriminator import Discriminator
from v2vkit.models.encoder import EncoderConfig
from v2vkit.models.generator import GeneratorConfig, VideoGenerator
from v2vkit.models.image_generator import FrameGenerator

_OTHER_MODEL = "Train with the settings of that model, or leave out --start-from."
_OTHER_STAGE = "Train with the settings of that model, or train the coarser stage again with these."
_FREE = ("num_scales", "covst", "zero_history")
"""Layer settings that may differ from the model to start from, because its weights fit nevertheless."""


def check_same_network(folder: Folder, network: StageConfig, source: Conditioning) -> None:
    """Check that training of `network` can start from the model in `folder`.

    Raises:
        V2VError: there is no model, or it is of another kind, with other layers or other conditions.
    """
    info = read_info(folder)
    _refuse_other_conditions(folder, info, source, _OTHER_MODEL)
    different = _differences(info.network, network)
    if different:
        raise V2VError(
            "model-mismatch",
            f"The model in {folder.url} is of another kind or has other layers: {different}.",
            _OTHER_MODEL,
        )


def check_start(
    folder: Folder,
    generator: AnyGeneratorConfig,
    source: Conditioning,
    size: tuple[int, int],
    encoder: EncoderConfig | None = None,
) -> None:
    """Check that training of `generator` can start from the model in `folder`.

    Args:
        folder: the checkpoint to start from.
        generator: configuration of the generator to train.
        source: its conditions.
        size: width and height at which this stage trains, in pixels.
        encoder: configuration of the feature encoder to train, if any.

    Raises:
        V2VError: there is no model; it has other layers or conditions; or it has one scale less and was not trained at
            half this size. With the same number of scales any size fits: the networks are convolutional.
    """
    info = read_info(folder)
    if type(info.generator) is not type(generator):
        if isinstance(generator, GeneratorConfig):
            raise V2VError(
                "model-mismatch",
                f"{folder.url} is an image model; a video model cannot start from it.",
                "Start from the checkpoint of a vid2vid stage, such as spatial-1.",
            )
        raise V2VError(
            "model-mismatch",
            f"{folder.url} is a video model; an image model cannot start from it.",
            "Start from the checkpoint of pix2pixhd, or leave out --start-from.",
        )
    # First, because both explain other input channels.
    _refuse_other_conditions(folder, info, source, _OTHER_STAGE)
    if info.encoder != encoder:
        raise V2VError(
            "model-mismatch",
            f"The model in {folder.url} has {_features(info.encoder)}; this stage has {_features(encoder)}.",
            "Give the --feature-dims and --preset of that model, or train the coarser stage again with these.",
        )
    new_scales = generator.num_scales - info.generator.num_scales
    free = _FREE if as_plain(generator).get("foreground") else (*_FREE, "composition")
    different = _differences(info.generator, generator, free=free)
    if different or new_scales not in (0, 1):
        different = different or f"num_scales {info.generator.num_scales} (here {generator.num_scales})"
        raise V2VError("model-mismatch", f"The model in {folder.url} has other layers: {different}.", _OTHER_STAGE)
    expected = downsampled_size(*size, new_scales)
    if new_scales and info.output_size != expected:
        # Whether another --num-scales on the same frames would have had that size.
        same_frames = expected in (
            downsampled_size(info.width, info.height, times) for times in range(len(SPATIAL_STAGES))
        )
        raise V2VError(
            "size-mismatch",
            f"The model in {folder.url} was trained at {_by(info.output_size)}; here {_by(expected)} is needed.",
            f"Train {info.stage} again with --overwrite and the --num-scales of the finest stage, and give it here too."
            if same_frames
            else f"A finer scale needs a model of half its size: start from one trained at {_by(expected)}, or ingest "
            f"frames for a stage at {_by(tuple(2 * side for side in info.output_size))}.",
        )


def _differences(before: StageConfig, now: StageConfig, *, free: tuple[str, ...] = ()) -> str:
    """The layer settings that differ, with both values; empty = none but those in `free`."""
    old, new = as_plain(before), as_plain(now)
    names = [name for name in new if name not in free and old.get(name) != new[name]]
    return ", ".join(f"{name} {old.get(name)} (here {new[name]})" for name in names)


def _refuse_other_conditions(folder: Folder, info: ModelInfo, source: Conditioning, hint: str) -> None:
    if not info.conditioning.same_channels(source):  # other conditions may have the same number of channels
        before, now = info.conditioning.num_labels, source.num_labels
        if before and now and before != now:
            hint += f" Its number of labels: --num-labels {before}."
        raise V2VError(
            "condition-mismatch",
            f"The model in {folder.url} is conditioned on other source maps ({info.conditioning}; here {source}).",
            hint,
        )


def _features(encoder: EncoderConfig | None) -> str:
    return "no features" if encoder is None else f"features of {encoder.out_channels} numbers (width {encoder.width})"


def _by(size: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in size)


def copy_model(state: TrainState, name: str, folder: Folder) -> ModelInfo:
    """Copy the EMA weights of a checkpoint into the network of that name, which has the same layers, and into its EMA.

    Returns:
        The description of the checkpoint's model.
    """
    network, info = load_network(folder)
    weights = network.state_dict()
    state.modules[name].load_state_dict(weights)
    _copy_into_ema(state, weights)
    return info


def _copy_into_ema(state: TrainState, weights: Mapping[str, Tensor]) -> None:
    for name, tensor in weights.items():
        state.ema[name].copy_(tensor)


def inherit_same(state: TrainState, folder: Folder, size: tuple[int, int]) -> list[str]:
    """Copy the EMA weights of a checkpoint into a freshly built network of the same layers.

    Discriminators start from scratch.

    Args:
        size: of this training; any, because the networks are convolutional.

    Returns:
        Lines for the plan on the initial weights of each network.
    """
    copy_model(state, "generator", folder)
    others = [f"{name}: from scratch" for name in state.modules if name != "generator"]
    return [f"generator: from {folder.url}", *others]


def inherit(state: TrainState, folder: Folder, size: tuple[int, int]) -> list[str]:
    """Copy the weights of a checkpoint into freshly built networks.

    Generator and E start from the EMA weights. Discriminators start from the checkpoint's snapshot, if it still exists,
    scale by scale (coarsest first, as stored) where the shapes fit.

    Args:
        size: width and height of this training, in pixels.

    Returns:
        Lines for the plan on the initial weights of each network.
    """
    model, info = load_model(folder)
    encoder = None if info.encoder is None else load_encoder(folder)[0]
    generator, own_encoder = state.modules["generator"], state.modules.get("encoder")
    generator.load_state_dict(model.state_dict(), strict=False)
    if encoder is not None and own_encoder is not None:
        own_encoder.load_state_dict(encoder.state_dict())
    _copy_into_ema(state, model_weights(model, encoder))
    part = ""
    if isinstance(generator, VideoGenerator) and isinstance(model, VideoGenerator):
        part = f"{len(model.scales)} of {len(generator.scales)} scales "
    texts = [f"generator: {part}from {folder.url}"]
    if isinstance(generator, VideoGenerator | FrameGenerator):
        same_scales = info.generator.num_scales == generator.config.num_scales
        if same_scales and info.output_size != size:
            texts.append(f"trained at {_by(info.output_size)}, continues at {_by(size)}")
    texts += [] if encoder is None else [f"encoder: from {folder.url}"]
    states = read_networks(folder)
    for name, network in state.modules.items():
        if isinstance(network, Discriminator):
            copied = _copy_fitting(network, states.get(name, {}))
            texts.append(f"{name}: {copied} of {len(network.scales)} scales" if copied else f"{name}: from scratch")
    return texts


def _copy_fitting(network: Discriminator, state: dict[str, Tensor]) -> int:
    """Copy the scales of a discriminator whose tensors all have the right shape; returns their number."""
    copied = 0
    own = network.state_dict()
    for index in range(len(network.scales)):
        prefix = f"scales.{index}."
        names = [name for name in own if name.startswith(prefix)]
        if all(name in state and state[name].shape == own[name].shape for name in names):
            network.load_state_dict({name: state[name] for name in names}, strict=False)
            copied += 1
    return copied
