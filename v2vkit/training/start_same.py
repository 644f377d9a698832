"""Starts a training from a model of the same layers, for networks of any kind."""

from typing import Any

from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import load_network, read_info
from v2vkit.checkpoint.train_state import TrainState
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.config import StageConfig, as_plain
from v2vkit.errors import V2VError


def check_same_network(folder: Folder, network: StageConfig, source: Conditioning) -> None:
    """Check that training of `network` can start from the model in `folder`.

    Raises:
        V2VError: there is no model, or it is of another kind, with other layers or other conditions.
    """
    info = read_info(folder)
    before, now = as_plain(info.network), as_plain(network)
    different = [name for name in now if before.get(name) != now[name]]
    if different:
        names = ", ".join(f"{name} {before.get(name)} (here {now[name]})" for name in different)
        raise V2VError(
            "model-mismatch",
            f"The model in {folder.url} is of another kind or has other layers: {names}.",
            "Train with the settings of that model, or leave out --start-from.",
        )
    if not info.conditioning.same_channels(source):
        raise V2VError(
            "condition-mismatch",
            f"The model in {folder.url} was trained on other maps ({info.conditioning}; here {source}).",
            "Train with the settings of that model, or leave out --start-from.",
        )


def inherit_same(state: TrainState, folder: Folder, size: Any = None) -> list[str]:
    """Copy the EMA weights of a checkpoint into a freshly built network of the same layers.

    Discriminators start from scratch.

    Returns:
        Lines for the plan on the initial weights of each network.
    """
    network, _ = load_network(folder)
    weights = network.state_dict()
    state.modules["generator"].load_state_dict(weights)
    for name, tensor in weights.items():
        state.ema[name].copy_(tensor)
    others = [f"{name}: from scratch" for name in state.modules if name != "generator"]
    return [f"generator: from {folder.url}", *others]
