"""Reading weights that somebody else wrote."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from v2vkit.errors import V2VError
from v2vkit.weights import check_stored
from v2vkit.weights.files import refuse_pointer

State = dict[str, Tensor]


def read_state(path: str | Path, *, hint: str) -> State:
    """The tensors of a `.pth` or `.safetensors` state dict on the CPU; nothing that the file may contain is run.

    Args:
        path: the file.
        hint: what to do when it is not usable, for the message.

    Raises:
        V2VError: missing, unreadable, not a state dict of dense tensors, or tensors larger than what is stored.
    """
    path = Path(path)
    if not path.is_file():
        raise V2VError(f"The weights {path} do not exist.", hint)
    refuse_pointer(path)
    try:
        state = load_file(path) if path.suffix == ".safetensors" else _load_pth(path)
    except MemoryError:
        raise
    except Exception as error:  # a damaged or hostile file makes the readers raise nearly anything
        raise V2VError(f"The weights {path} cannot be read safely ({type(error).__name__}).", hint) from None
    if not isinstance(state, dict) or not state:
        raise V2VError(f"{path} is not a state dict.", hint)
    for key, tensor in state.items():
        check_stored(path, key, tensor, hint=hint)
    return dict(state)


def _load_pth(path: Path) -> object:
    return torch.load(path, map_location="cpu", weights_only=True)
