"""Matching of published layers with ours, branch by branch in running order.

The network is first built on the device `meta`, so that no memory is allocated beyond what the file holds.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from v2vkit.errors import V2VError
from v2vkit.models.blocks import BatchNorm, InstanceNorm
from v2vkit.models.state_dict import State

N = TypeVar("N", bound=nn.Module)
N_co = TypeVar("N_co", bound=nn.Module, covariant=True)

HINT = "Give the published state dict of that network (`latest_net_G0.pth` and so on)."
_DEFAULTS = {"weight": 1.0, "bias": 0.0, "num_batches_tracked": 0.0}
"""Values of fields that norms without affine part, and batch norms saved by torch 0.4, do not store."""
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Imported(Generic[N_co]):
    """A network with published weights, and how each key was used (`G1:key` if there are several files)."""

    network: N_co
    used: tuple[str, ...]
    statistics: tuple[str, ...]
    """Running statistics that the published networks store but never use."""
    unknown: tuple[str, ...]
    """Keys that belong to no layer of ours."""
    notes: tuple[str, ...] = ()
    """Notes on unwrapping (`read_wrapped_state`)."""


Branch = tuple[int, tuple[str, ...], tuple[str, ...]]
"""Index of the state dict, our submodules in running order, the published prefixes in running order."""


def build(make: Callable[[], N], states: Sequence[State], branches: Sequence[Branch]) -> Imported[N]:
    """The network of `make` with every parameter taken from `states`.

    Raises:
        V2VError: a missing layer, an extra layer, another shape, or values that are not finite.
    """
    with torch.device("meta"):
        network = make()
    loaded: State = {}
    used: list[str] = []
    for number, ours, theirs in branches:
        layers = published_layers(states[number], theirs)
        if not any(not is_conv(layer) for _, layer in layers):
            layers = _with_plain_norms(network, ours, layers)
        wanted = _our_layers(network, ours)
        if [is_conv(layer) for _, layer in layers] != [_is_conv_module(module) for _, module in wanted]:
            raise V2VError(
                "weights-mismatch", f"The layers of `{theirs[-1]}` are not those of the published network.", HINT
            )
        for (name, module), (key, layer) in zip(wanted, layers, strict=True):
            for field, tensor in module.state_dict().items():
                value = layer.get(field)
                if value is not None:
                    used.append(_label(states, number, f"{key}.{field}"))
                elif not is_conv(layer) and field in _DEFAULTS:
                    value = torch.full(tensor.shape, _DEFAULTS[field])
                if value is None or value.shape != tensor.shape:
                    raise V2VError(
                        "weights-mismatch",
                        f"`{key}.{field}` is missing or does not have the shape {tuple(tensor.shape)}.",
                        HINT,
                    )
                if not (value.is_floating_point() or field in _STATISTICS) or not value.isfinite().all():
                    raise V2VError(
                        "weights-damaged", f"`{key}.{field}` holds values that are not finite numbers.", HINT
                    )
                loaded[f"{name}.{field}"] = value.to(tensor.dtype).clone()
    network.load_state_dict(loaded, assign=True)
    keys, known = (_label(states, number, key) for number, state in enumerate(states) for key in state), set(used)
    rest = [key for key in keys if key not in known]
    statistics = tuple(key for key in rest if key.endswith(_STATISTICS))
    return Imported(network, tuple(used), statistics, tuple(key for key in rest if not key.endswith(_STATISTICS)))


def published_layers(state: State, prefixes: Sequence[str]) -> list[tuple[str, dict[str, Tensor]]]:
    """The layers below each prefix in running order: (name, {weight, bias, running_mean ...})."""
    found: list[tuple[str, dict[str, Tensor]]] = []
    for prefix in prefixes:
        groups: dict[str, dict[str, Tensor]] = {}
        for key, tensor in state.items():
            name, _, field = key.rpartition(".")
            if name.startswith(prefix + "."):
                groups.setdefault(name, {})[field] = tensor
        found += sorted(groups.items(), key=lambda item: [int(n) for n in re.findall(r"\d+", item[0][len(prefix) :])])
    return found


def _our_layers(network: nn.Module, names: Sequence[str]) -> list[tuple[str, nn.Module]]:
    """Our convolutions and norms below each name, in running order, with their full names."""
    kinds = (nn.Conv2d, nn.ConvTranspose2d, InstanceNorm, BatchNorm)
    return [
        (f"{name}.{inner}" if inner else name, module)
        for name in names
        for inner, module in network.get_submodule(name).named_modules()
        if isinstance(module, kinds)
    ]


def _with_plain_norms(
    network: nn.Module, names: Sequence[str], layers: list[tuple[str, dict[str, Tensor]]]
) -> list[tuple[str, dict[str, Tensor]]]:
    """`layers` with empty entries for our norms, because the published norms store nothing."""
    convs = iter(layers)
    filled = [
        next(convs, ("", {})) if _is_conv_module(module) else ("norm", {}) for _, module in _our_layers(network, names)
    ]
    return filled + list(convs)


def is_conv(layer: dict[str, Tensor]) -> bool:
    """Whether these are the tensors of a convolution (else of a norm)."""
    return "weight" in layer and layer["weight"].ndim == 4


def _is_conv_module(module: nn.Module) -> bool:
    return isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))


def count_layers(state: State, prefix: str) -> tuple[int, int]:
    """How many convolutions outside residual blocks, and how many residual blocks, are below `prefix`."""
    convs = [name for name, layer in published_layers(state, (prefix,)) if is_conv(layer)]
    blocks = {name.partition(".conv_block")[0] for name in convs if ".conv_block" in name}
    return sum(".conv_block" not in name for name in convs), len(blocks)


def _label(states: Sequence[State], number: int, key: str) -> str:
    return f"G{number}:{key}" if len(states) > 1 else key
