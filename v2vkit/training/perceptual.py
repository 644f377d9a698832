"""Chooses the network of the perceptual loss before training starts, without loading it."""

from v2vkit import weights
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, PARTIAL
from v2vkit.models.perceptual_table import NETWORKS
from v2vkit.pipeline.staleness import read_or_refuse
from v2vkit.training.config import TrainConfig
from v2vkit.training.methods.registry import METHODS


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
    return next((name for name in METHODS[config.method].perceptual if weights.find(name)), "off")


def require_perceptual(config: TrainConfig) -> None:
    """Refuse a network that was chosen by name without weights, before a recipe's first stage runs.

    Raises:
        V2VError: the chosen network has no weights here (`weights-missing`).
    """
    losses = config.losses
    if losses.perceptual in NETWORKS and (losses.lambda_perceptual or losses.lambda_style):
        _weights_of(losses.perceptual, config)


def _weights_of(network: str, config: TrainConfig) -> str:
    return config.losses.perceptual_weights or str(weights.require(network))


def _automatic(config: TrainConfig, folder: Folder) -> str:
    if config.losses.perceptual_weights is not None:
        return _first_found(config)
    manifests = (read_or_refuse(folder, name, overwrite=True) for name in (PARTIAL, MANIFEST))
    begun = next((manifest for manifest in manifests if manifest is not None), None)
    found = None if begun is None else begun.config.get("perceptual")
    return str(found) if found in NETWORKS or found == "off" else _first_found(config)


def source_text(config: TrainConfig) -> str:
    """The network, its feature maps and its weights, for the plan."""
    name, given = config.losses.perceptual, config.losses.perceptual_weights
    row, found = NETWORKS[name], weights.find(name)
    return f"{row.title}, {row.maps}; weights {name if found is not None and given == str(found) else given}"
