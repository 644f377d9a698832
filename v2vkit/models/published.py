"""Reading the published networks: their state-dict layout, and our networks built from it.

The architecture follows from the tensors' names and shapes. Layers are matched branch by branch in the order in which
they run; networks are built without memory first, so that nothing is allocated that the file does not hold.
"""

import pickle
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from v2vkit.config import make_config
from v2vkit.errors import V2VError
from v2vkit.models.blocks import BatchNorm, InstanceNorm, Norm
from v2vkit.models.discriminator import Discriminator, DiscriminatorConfig
from v2vkit.models.encoder import EncoderConfig, FeatureEncoder
from v2vkit.models.generator import GeneratorConfig, VideoGenerator
from v2vkit.models.image_generator import ImageGenerator, ImageGeneratorConfig

State = dict[str, Tensor]
N = TypeVar("N", bound=nn.Module)

_HINT = "Give the published state dict of that network (`latest_net_G0.pth` and so on)."
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")

_BRANCHES: dict[str, tuple[str, ...]] = {
    "source_encoder": ("model_down_seg",),
    "history_encoder": ("model_down_img",),
    "image_branch": ("model_res_img", "model_up_img"),
    "image_head": ("model_final_img",),
    "flow_branch": ("model_res_flow", "model_up_flow"),
    "flow_head": ("model_final_flow",),
    "mask_head": ("model_final_w",),
    "foreground_encoder": ("indv_down",),
    "foreground_branch": ("indv_res", "indv_up"),
    "foreground_head": ("indv_final",),
}
"""Our branch of one scale of the video generator -> the published prefixes that it is made of, in order."""


@dataclass(frozen=True)
class Imported(Generic[N]):
    """A network with published weights, and what became of each key (with `G1:` before it where there are several files)."""

    network: N
    used: tuple[str, ...]
    statistics: tuple[str, ...]
    """Running statistics that the published networks carry but never use."""
    unknown: tuple[str, ...]
    """Keys that belong to no layer of ours."""


def read_state(path: str | Path) -> State:
    """The tensors of a `.pth` state dict, loaded without running anything that the file may contain.

    Raises:
        V2VError: missing, unreadable, not a state dict, or tensors larger than the file.
    """
    path = Path(path)
    if not path.is_file():
        raise V2VError(f"The weights {path} do not exist.", _HINT)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise V2VError(f"The weights {path} cannot be read: {str(error).splitlines()[0]}.", _HINT) from None
    if not isinstance(state, dict) or not state:
        raise V2VError(f"{path} is not a state dict.", _HINT)
    for key, tensor in state.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            raise V2VError(f"{path} is not a state dict: `{key}` is not a tensor.", _HINT)
        if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise V2VError(f"{path} is damaged: `{key}` is larger than what is stored.", _HINT)
    return dict(state)


def import_generator(states: Sequence[State], *, foreground: tuple[int, ...] = ()) -> Imported[VideoGenerator]:
    """The video generator from the state dicts of its scales, G0 (the coarsest) first.

    Args:
        states: one state dict per scale.
        foreground: source channels of the foreground; the weights do not tell, so needed where they have that branch.

    Raises:
        V2VError: the tensors are not those of the published video generator.
    """
    first = states[0]
    plain, encoder_blocks = _count(first, "model_down_seg")
    blocks = encoder_blocks + _count(first, "model_res_img")[1]
    history = _shape(first, "model_down_img.1.weight")[1] // 3
    width, channels = _shape(first, "model_down_seg.1.weight")[:2]
    has_foreground = "indv_final.1.weight" in first
    if has_foreground and not foreground:
        raise V2VError("These weights have a foreground branch.", "Name the source channels that are foreground.")
    values = {
        "source_channels": channels // (history + 1),
        "num_scales": len(states),
        "width": width,
        "num_down": plain - 1,
        "num_blocks": blocks,
        "num_blocks_fine": _count(states[1], "model_up_img")[1] if len(states) > 1 else 3,
        "history": history,
        "foreground": foreground if has_foreground else (),
        "composition": "published",
        "flow": "model_final_flow.1.weight" in first,
        "norm": _norm(first, "model_down_seg", affine="batch"),
    }
    config = make_config(GeneratorConfig, values, "the architecture inferred from the weights")
    branches = [
        (scale, (f"scales.{scale}.{ours}",), theirs)
        for scale in range(len(states))
        for ours, theirs in _BRANCHES.items()
        if (config.flow or not ours.startswith(("flow", "mask"))) and (has_foreground or not ours.startswith("fore"))
    ]
    return _build(lambda: VideoGenerator(config), states, branches)


def import_discriminator(state: State, *, running_statistics: bool = False) -> Imported[Discriminator]:
    """A multi-scale discriminator (D_I or one D_V).

    Args:
        state: its state dict.
        running_statistics: normalise with the stored statistics in evaluation, instead of those of the batch.

    Raises:
        V2VError: the tensors are not those of the published discriminator with feature matching.
    """
    places = [(int(found[1]), int(found[2])) for key in state if (found := re.match(r"scale(\d+)_layer(\d+)\.", key))]
    num_scales = 1 + max((scale for scale, _ in places), default=-1)
    depth = 1 + max((layer for _, layer in places), default=-1)
    norm = _norm(state, "scale0_layer1", affine="running" if running_statistics else "batch")
    width, channels = _shape(state, f"scale{num_scales - 1}_layer0.0.weight")[:2]
    values = {
        "in_channels": channels,
        "num_scales": num_scales,
        "width": width,
        "num_layers": depth - 2,
        "norm": norm,
    }
    config = make_config(DiscriminatorConfig, values, "the architecture inferred from the weights")
    branches = [
        (0, (f"scales.{scale}.layers.{layer}",), (f"scale{scale}_layer{layer}",))
        for scale in range(num_scales)
        for layer in range(depth)
    ]
    return _build(lambda: Discriminator(config), [state], branches)


def import_image_generator(state: State) -> Imported[ImageGenerator]:
    """The image generator of pix2pixHD: global, or global with local enhancers.

    Raises:
        V2VError: the tensors are not those of that network.
    """
    enhancers = 0
    while f"model{enhancers + 1}_1.1.weight" in state:
        enhancers += 1
    plain, blocks = _count(state, "model")
    width, channels = _shape(state, "model.1.weight")[:2]
    values = {
        "in_channels": channels,
        "width": width >> enhancers,
        "num_down": (plain - (1 if enhancers else 2)) // 2,
        "num_blocks": blocks,
        "num_enhancers": enhancers,
        "num_blocks_enhancer": _count(state, "model1_2")[1] if enhancers else 3,
        "norm": _norm(state, "model", affine="batch"),
    }
    config = make_config(ImageGeneratorConfig, values, "the architecture inferred from the weights")
    branches: list[_Branch] = [(0, ("coarse",) if enhancers else ("coarse", "head"), ("model",))]
    for i in range(enhancers):
        last = ("head",) if i + 1 == enhancers else ()
        branches.append((0, (f"enhancers.{i}.encoder",), (f"model{i + 1}_1",)))
        branches.append((0, (f"enhancers.{i}.branch", *last), (f"model{i + 1}_2",)))
    return _build(lambda: ImageGenerator(config), [state], branches)


def import_encoder(state: State) -> Imported[FeatureEncoder]:
    """The feature encoder of pix2pixHD.

    Raises:
        V2VError: the tensors are not those of that network.
    """
    plain, _ = _count(state, "model")
    shapes = [layer["weight"].shape for _, layer in _layers(state, ("model",)) if _is_conv(layer)]
    if len(shapes) < 4:
        raise V2VError("These weights are not a published feature encoder.", _HINT)
    values = {
        "out_channels": shapes[-1][0],
        "width": shapes[0][0],
        "num_down": (plain - 2) // 2,
        "norm": _norm(state, "model", affine="batch"),
    }
    config = make_config(EncoderConfig, values, "the architecture inferred from the weights")
    return _build(lambda: FeatureEncoder(config), [state], [(0, ("layers",), ("model",))])


_Branch = tuple[int, tuple[str, ...], tuple[str, ...]]
"""Which state dict, our submodules in running order, the published prefixes in running order."""


def _build(make: Callable[[], N], states: Sequence[State], branches: Sequence[_Branch]) -> Imported[N]:
    """The network of `make` with every parameter taken from `states`."""
    with torch.device("meta"):
        network = make()
    loaded: State = {}
    used: list[str] = []
    for number, ours, theirs in branches:
        layers = _layers(states[number], theirs)
        if not any(not _is_conv(layer) for _, layer in layers):
            layers = _with_plain_norms(network, ours, layers)
        wanted = _our_layers(network, ours)
        if [_is_conv(layer) for _, layer in layers] != [_is_conv_module(module) for _, module in wanted]:
            raise V2VError(f"The layers of `{theirs[-1]}` are not those of the published network.", _HINT)
        for (name, module), (key, layer) in zip(wanted, layers, strict=True):
            for field, tensor in module.state_dict().items():
                value = layer.get(field)
                if value is None and not _is_conv(layer) and field in ("weight", "bias"):
                    value = torch.full(tensor.shape, 1.0 if field == "weight" else 0.0)  # theirs has no affine part
                elif value is not None:
                    used.append(_label(states, number, f"{key}.{field}"))
                if value is None or value.shape != tensor.shape:
                    raise V2VError(
                        f"`{key}.{field}` is missing or does not have the shape {tuple(tensor.shape)}.", _HINT
                    )
                loaded[f"{name}.{field}"] = value.to(tensor.dtype).clone()
    network.load_state_dict(loaded, assign=True)
    rest = [_label(states, number, key) for number, state in enumerate(states) for key in state]
    rest = [key for key in rest if key not in set(used)]
    statistics = tuple(key for key in rest if key.endswith(_STATISTICS))
    return Imported(network, tuple(used), statistics, tuple(key for key in rest if not key.endswith(_STATISTICS)))


def _layers(state: State, prefixes: Sequence[str]) -> list[tuple[str, dict[str, Tensor]]]:
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
    """`layers` with empty entries where our norms stand, for published norms that have nothing to store."""
    convs = iter(layers)
    filled = [
        next(convs, ("", {})) if _is_conv_module(module) else ("norm", {}) for _, module in _our_layers(network, names)
    ]
    return filled + list(convs)


def _is_conv(layer: dict[str, Tensor]) -> bool:
    return "weight" in layer and layer["weight"].ndim == 4


def _is_conv_module(module: nn.Module) -> bool:
    return isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))


def _count(state: State, prefix: str) -> tuple[int, int]:
    """How many convolutions outside residual blocks, and how many residual blocks, are below `prefix`."""
    convs = [name for name, layer in _layers(state, (prefix,)) if _is_conv(layer)]
    blocks = {name.partition(".conv_block")[0] for name in convs if ".conv_block" in name}
    return sum(".conv_block" not in name for name in convs), len(blocks)


def _norm(state: State, prefix: str, *, affine: Norm) -> Norm:
    """`affine` where the published norms have weights (batch norm), else `instance`."""
    norms = [layer for _, layer in _layers(state, (prefix,)) if not _is_conv(layer)]
    return affine if any("weight" in layer for layer in norms) else "instance"


def _shape(state: State, key: str) -> Any:
    if key not in state or state[key].ndim != 4:
        raise V2VError(f"These weights are not the published network: they have no `{key}`.", _HINT)
    return state[key].shape


def _label(states: Sequence[State], number: int, key: str) -> str:
    return f"G{number}:{key}" if len(states) > 1 else key
