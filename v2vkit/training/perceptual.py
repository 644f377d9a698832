"""Chooses the network of the perceptual loss before training starts, without loading it."""

from dataclasses import dataclass

from v2vkit import weights
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, PARTIAL, Manifest
from v2vkit.training.config import TrainConfig
from v2vkit.training.methods.registry import METHODS


@dataclass(frozen=True)
class PerceptualRow:
    """A network of the perceptual loss.

    Attributes:
        title: its name in the plan.
        entry: its weights in the registry (`v2v weights list`).
        maps: the feature maps that are compared.
        min_side: smallest number of pixels of a frame's shorter side.
    """

    title: str
    entry: str
    maps: str
    min_side: int


NETWORKS = {
    "vgg19": PerceptualRow("VGG-19", "vgg19", "relu1_1 to relu5_1, as in the paper", 16),
    "lite0": PerceptualRow("EfficientNet-lite0", "lite0", "five maps, strides 2 to 32, relative L1", 32),
    "hed": PerceptualRow("VGG-16 of HED", "hed", "the last map of each of five stages, relative L1", 16),
}


def resolve_perceptual(config: TrainConfig, folder: Folder) -> TrainConfig:
    """The settings with `auto` resolved and the weights file filled in.

    `auto` is the network of the training that exists in `folder`, so that weights fetched later do not change it; else
    see `renew_perceptual`. If no loss uses the network, it is `off`.

    Args:
        folder: the folder of the checkpoint to train.

    Raises:
        V2VError: the chosen network has no weights here (`weights-missing`).
    """
    losses = config.losses
    choice = losses.perceptual if losses.perceptual != "auto" else _automatic(config, folder)
    if choice == "off" or not (losses.lambda_perceptual or losses.lambda_style):
        return config.model_copy(update={"perceptual": "off", "perceptual_weights": None})
    return config.model_copy(update={"perceptual": choice, "perceptual_weights": _weights_of(choice, config)})


def renew_perceptual(config: TrainConfig) -> TrainConfig:
    """The settings with `auto` resolved as for a new training, whatever exists; for `--overwrite`.

    `auto` is the first of the method's networks whose weights are found (VGG-19), else `off`.
    """
    if config.losses.perceptual != "auto":
        return config
    return config.model_copy(update={"perceptual": _first_found(config)})


def _first_found(config: TrainConfig) -> str:
    if config.losses.perceptual_weights is not None:
        return "vgg19"
    return next((name for name in METHODS[config.method].perceptual if weights.find(NETWORKS[name].entry)), "off")


def require_perceptual(config: TrainConfig) -> None:
    """Refuse a network that was chosen by name without weights, before a recipe's first stage runs.

    Raises:
        V2VError: the chosen network has no weights here (`weights-missing`).
    """
    losses = config.losses
    if losses.perceptual in NETWORKS and (losses.lambda_perceptual or losses.lambda_style):
        _weights_of(losses.perceptual, config)


def _weights_of(network: str, config: TrainConfig) -> str:
    return config.losses.perceptual_weights or str(weights.require(NETWORKS[network].entry))


def _automatic(config: TrainConfig, folder: Folder) -> str:
    if config.losses.perceptual_weights is not None:
        return _first_found(config)
    for name in (PARTIAL, MANIFEST):
        if folder.exists(name):
            try:
                found = str(Manifest.model_validate_json(folder.read(name)).config["perceptual"])
            except (ValueError, KeyError):  # damaged, or older: the stage reports the first, the second is stale
                break
            if found in NETWORKS or found == "off":
                return found
            break
    return _first_found(config)


def source_text(config: TrainConfig) -> str:
    """The network, its feature maps and its weights, for the plan."""
    row = NETWORKS[config.losses.perceptual]
    found = weights.find(row.entry)
    given = config.losses.perceptual_weights
    if found is not None and given == str(found):
        return f"{row.title}, {row.maps}; weights {row.entry}"
    return f"{row.title}, {row.maps}; weights {given}"
