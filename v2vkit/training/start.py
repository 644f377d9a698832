"""Beginning a stage from the weights of another: the coarser scale below a new one, or a model to go on with."""

from torch import Tensor

from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import halved_size, load_encoder, load_model, model_weights, read_info
from v2vkit.checkpoint.snapshot import read_networks
from v2vkit.checkpoint.train_state import TrainState
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.config import SPATIAL_STAGES, as_plain
from v2vkit.errors import V2VError
from v2vkit.models.any_generator import AnyGeneratorConfig
from v2vkit.models.discriminator import Discriminator
from v2vkit.models.encoder import EncoderConfig
from v2vkit.models.generator import GeneratorConfig, VideoGenerator
from v2vkit.models.image_generator import FrameGenerator

_FREE = ("num_scales", "covst", "zero_history")
"""What a model to start from may have otherwise: its weights fit all the same."""


def check_start(
    folder: Folder,
    generator: AnyGeneratorConfig,
    source: Conditioning,
    size: tuple[int, int],
    encoder: EncoderConfig | None = None,
) -> None:
    """Whether `generator` can be built on the model to start from.

    Args:
        generator: what is going to be trained.
        source: what conditions it.
        size: width and height that this stage trains at, in pixels.
        encoder: the feature encoder that trains along.

    Raises:
        V2VError: no model there; other layers or source maps; a model of one scale less that was not trained at half
            this size. With as many scales it may be of any size: the networks are convolutional.
    """
    info = read_info(folder)
    if type(info.generator) is not type(generator):
        if isinstance(generator, GeneratorConfig):
            raise V2VError(
                "model-mismatch",
                f"{folder.url} makes single images and cannot begin a video model.",
                "Start from spatial-1.",
            )
        raise V2VError(
            "model-mismatch",
            f"{folder.url} makes videos and cannot begin an image model.",
            "Start from pix2pixhd's, or none.",
        )
    before, now = as_plain(info.generator), as_plain(generator)
    new_scales = generator.num_scales - info.generator.num_scales
    different = [name for name in now if name not in _FREE and before.get(name) != now[name]]
    if different or new_scales not in (0, 1):
        names = ", ".join(f"{name} {before.get(name)} (here {now[name]})" for name in different or ["num_scales"])
        raise V2VError(
            "model-mismatch",
            f"The model in {folder.url} has other layers: {names}.",
            "Train with the settings of that model, or train the stage before again with these.",
        )
    if not info.conditioning.same_channels(source):  # whose channels may be as many, and mean something else
        raise V2VError(
            "condition-mismatch",
            f"The model in {folder.url} is conditioned on other source maps ({info.conditioning}; here {source}).",
            "Train with the settings of that model, or train the stage before again with these.",
        )
    if info.encoder != encoder:
        raise V2VError(
            "model-mismatch",
            f"The model in {folder.url} has {_features(info.encoder)}; this stage has {_features(encoder)}.",
            "Train with the --feature-dims and the --preset of that model, or train the stage before again with these.",
        )
    expected = halved_size(*size, new_scales)
    if new_scales and info.output_size != expected:
        # Whether the frames it saw, halved as often as needed, would have had that size.
        same_frames = expected in (halved_size(info.width, info.height, times) for times in range(len(SPATIAL_STAGES)))
        raise V2VError(
            "size-mismatch",
            f"The model in {folder.url} was trained at {_by(info.output_size)}; here {_by(expected)} is needed.",
            f"Train {info.stage} again with --overwrite and --num-scales of the finest stage, and give it here too."
            if same_frames
            else f"A finer scale needs a model of half its size: start from one trained at {_by(expected)}, or ingest "
            f"frames for a stage at {_by(tuple(2 * side for side in info.output_size))}.",
        )


def _features(encoder: EncoderConfig | None) -> str:
    return "no features" if encoder is None else f"features of {encoder.out_channels} numbers (width {encoder.width})"


def _by(size: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in size)


def inherit(state: TrainState, folder: Folder, size: tuple[int, int]) -> list[str]:
    """Copy the weights of the stage before into freshly built networks.

    The generator, and E, start from the averaged weights that rendering uses. Discriminators start from those of the
    stage before where its snapshot is still there, scale by scale (the coarsest first, as they are stored), if they
    fit.

    Args:
        size: width and height that is trained at now, in pixels.

    Returns:
        What began from where, for the plan.
    """
    model, info = load_model(folder)
    encoder = None if info.encoder is None else load_encoder(folder)[0]
    generator, own_encoder = state.modules["generator"], state.modules.get("encoder")
    generator.load_state_dict(model.state_dict(), strict=False)
    if encoder is not None and own_encoder is not None:
        own_encoder.load_state_dict(encoder.state_dict())
    for name, tensor in model_weights(model, encoder).items():
        state.ema[name].copy_(tensor)
    part = ""
    if isinstance(generator, VideoGenerator) and isinstance(model, VideoGenerator):
        part = f"{len(model.scales)} of {len(generator.scales)} scales "
    texts = [f"generator: {part}from {folder.url}"]
    if isinstance(generator, VideoGenerator | FrameGenerator):
        same_scales = info.generator.num_scales == generator.config.num_scales
        if same_scales and info.output_size != size:
            texts.append(f"trained at {_by(info.output_size)}, goes on at {_by(size)}")
    texts += [] if encoder is None else [f"encoder: from {folder.url}"]
    states = read_networks(folder)
    for name, network in state.modules.items():
        if isinstance(network, Discriminator):
            copied = _copy_fitting(network, states.get(name, {}))
            texts.append(f"{name}: {copied} of {len(network.scales)} scales" if copied else f"{name}: from scratch")
    return texts


def _copy_fitting(network: Discriminator, state: dict[str, Tensor]) -> int:
    """Copy those whole scales of a discriminator whose tensors all have the right shape; how many there were."""
    copied = 0
    own = network.state_dict()
    for index in range(len(network.scales)):
        prefix = f"scales.{index}."
        names = [name for name in own if name.startswith(prefix)]
        if all(name in state and state[name].shape == own[name].shape for name in names):
            network.load_state_dict({name: state[name] for name in names}, strict=False)
            copied += 1
    return copied
