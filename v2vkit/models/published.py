"""Import of published networks; the architecture is inferred from the names and shapes of the tensors."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from v2vkit.config import StageConfig, as_plain, make_config
from v2vkit.errors import V2VError
from v2vkit.models.blocks import Norm, ReflectConv
from v2vkit.models.discriminator import Discriminator, DiscriminatorConfig
from v2vkit.models.generator import GeneratorConfig, Scale, VideoGenerator
from v2vkit.models.image_generator import ImageGenerator, ImageGeneratorConfig
from v2vkit.models.published_layers import HINT, Branch, Imported, build, count_layers, is_conv, published_layers
from v2vkit.models.state_dict import State, read_wrapped_state

C = TypeVar("C", bound=StageConfig)

_ORDER = "Give one file per scale, the coarsest first: latest_net_G0.pth latest_net_G1.pth and so on."
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
"""Branch of one scale of `VideoGenerator` -> the published prefixes of its layers, in order."""


def read_published_file(path: str | Path) -> tuple[State, tuple[str, ...]]:
    """The tensors of one published `.pth` file, and notes on unwrapping (`read_wrapped_state`).

    Raises:
        V2VError: missing, unreadable or not a state dict; names that no torch module has.
    """
    state, notes = read_wrapped_state(path, hint=HINT)
    for key in state:
        if not re.fullmatch(r"[\w.-]{1,200}", key, re.ASCII):  # they are printed, and split at their dots
            raise V2VError("weights-mismatch", f"{path} has a tensor named {key[:80]!a}; no network has.", HINT)
    return state, notes


def _refuse_other_network(state: State, *, image: bool) -> None:
    """Refuse weights of another published network than the wanted one, naming it.

    Raises:
        V2VError: such weights. Weights of unknown networks fail later, when layers are missing.
    """
    if any(key.startswith("scale0_layer0.") for key in state):
        raise V2VError(
            "weights-mismatch", "These are the weights of a discriminator.", "Give them with --discriminator."
        )
    if not image and "model.1.weight" in state and "model_down_seg.1.weight" not in state:
        raise V2VError(
            "weights-mismatch",
            "These look like the weights of an image generator (pix2pixHD).",
            "Add --image if they are.",
        )
    if image and "model_down_seg.1.weight" in state:
        raise V2VError("weights-mismatch", "These are the weights of a video generator.", "Leave out --image.")
    if image and "model.1.weight" not in state and any(key.startswith("model_") for key in state):
        raise V2VError(
            "weights-unsupported",
            "These weights are not those of a `global` image generator, with or without local enhancers. The published "
            "first-frame generator of faces (`global_with_features`) is not supported.",
            "Begin with real images instead: v2v render --first-frames.",
        )


def infer_generator(states: Sequence[State]) -> tuple[GeneratorConfig, bool]:
    """The architecture of the video generator, from the state dicts of its scales, G0 (the coarsest) first.

    Returns:
        The configuration (without `foreground`, which tensors do not show), and whether there is a foreground branch.

    Raises:
        V2VError: the tensors are not those of the published video generator, or the scales are not in order.
    """
    first = states[0]
    _refuse_other_network(first, image=False)
    plain, encoder_blocks = count_layers(first, "model_down_seg")
    blocks = encoder_blocks + count_layers(first, "model_res_img")[1]
    history = _shape(first, "model_down_img.1.weight")[1] // 3
    width, channels = _shape(first, "model_down_seg.1.weight")[:2]
    if count_layers(first, "model_up_img")[1]:
        raise V2VError("weights-mismatch", "The first of these weights belong to a finer scale, not to G0.", _ORDER)
    for scale, state in enumerate(states):
        found = _shape(state, "model_down_seg.1.weight")[0]
        if found != width >> scale:
            raise V2VError(
                "weights-mismatch",
                f"The weights given for G{scale} have the width {found}; {width >> scale} is expected.",
                _ORDER,
            )
    values = {
        "source_channels": channels // (history + 1),
        "num_scales": len(states),
        "width": width,
        "num_down": plain - 1,
        "num_blocks": blocks,
        "num_blocks_fine": count_layers(states[1], "model_up_img")[1] if len(states) > 1 else 3,
        "history": history,
        "composition": "published",
        "flow": "model_final_flow.1.weight" in first,
        "norm": _norm(first, "model_down_seg", affine="batch"),
        "upsample": "transposed",
        "flow_multiplier": 20.0,
    }
    return _inferred(GeneratorConfig, values), "indv_final.1.weight" in first


def import_generator(states: Sequence[State], *, foreground: tuple[int, ...] = ()) -> Imported[VideoGenerator]:
    """The video generator from the state dicts of its scales, G0 (the coarsest) first.

    Args:
        states: one state dict per scale.
        foreground: source channels of the foreground; required if the weights have a foreground branch, and only then
            allowed.

    Raises:
        V2VError: the tensors are not those of the published video generator, or `foreground` does not fit them.
    """
    inferred, has_foreground = infer_generator(states)
    if has_foreground and not foreground:
        raise V2VError(
            "foreground-mismatch",
            "These weights have a foreground branch.",
            "Name the source channels that are foreground.",
        )
    if foreground and not has_foreground:
        raise V2VError(
            "foreground-mismatch",
            "These weights have no foreground branch.",
            "Leave out the foreground.",
        )
    config = make_config(GeneratorConfig, as_plain(inferred) | {"foreground": foreground}, "the imported generator")
    branches = [
        (scale, (f"scales.{scale}.{ours}",), theirs)
        for scale in range(len(states))
        for ours, theirs in _BRANCHES.items()
        if (config.flow or not ours.startswith(("flow", "mask"))) and (has_foreground or not ours.startswith("fore"))
    ]
    return build(lambda: VideoGenerator(config), states, branches)


@torch.no_grad()
def take_unit_sources(network: VideoGenerator) -> None:
    """Convert a network for source maps in [-1, 1] to the same maps in [0, 1], in place.

    2 s - 1 is folded into the first convolutions. This is exact up to rounding: their padding reflects, so they see
    source maps only, and the averaging for coarse scales commutes with it.
    """
    for scale in network.scales:
        assert isinstance(scale, Scale)
        for encoder in (scale.source_encoder, *([scale.foreground_encoder] if scale.has_foreground else [])):
            first = encoder[0]
            assert isinstance(first, ReflectConv)
            assert first.bias is not None
            first.bias -= first.weight.sum((1, 2, 3))
            first.weight *= 2


def import_discriminator(state: State, *, running_statistics: bool = False) -> Imported[Discriminator]:
    """A multi-scale discriminator (D_I or one D_V).

    Args:
        state: its state dict.
        running_statistics: in evaluation, normalise with the stored statistics and not with those of the batch.

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
    config = _inferred(DiscriminatorConfig, values)
    branches = [
        (0, (f"scales.{scale}.layers.{layer}",), (f"scale{scale}_layer{layer}",))
        for scale in range(num_scales)
        for layer in range(depth)
    ]
    return build(lambda: Discriminator(config), [state], branches)


def import_image_generator(state: State) -> Imported[ImageGenerator]:
    """The image generator of pix2pixHD: global, or global with local enhancers.

    Raises:
        V2VError: the tensors are not those of that network.
    """
    _refuse_other_network(state, image=True)
    enhancers = 0
    while f"model{enhancers + 1}_1.1.weight" in state:
        enhancers += 1
    plain, blocks = count_layers(state, "model")
    width, channels = _shape(state, "model.1.weight")[:2]
    values = {
        "in_channels": channels,
        "width": width >> enhancers,
        "num_down": (plain - (1 if enhancers else 2)) // 2,
        "num_blocks": blocks,
        "num_enhancers": enhancers,
        "num_blocks_enhancer": count_layers(state, "model1_2")[1] if enhancers else 3,
        "norm": _norm(state, "model", affine="batch"),
    }
    config = _inferred(ImageGeneratorConfig, values)
    branches: list[Branch] = [(0, ("coarse",) if enhancers else ("coarse", "head"), ("model",))]
    for i in range(enhancers):
        last = ("head",) if i + 1 == enhancers else ()
        branches.append((0, (f"enhancers.{i}.encoder",), (f"model{i + 1}_1",)))
        branches.append((0, (f"enhancers.{i}.branch", *last), (f"model{i + 1}_2",)))
    return build(lambda: ImageGenerator(config), [state], branches)


def _inferred(config: type[C], values: dict[str, Any]) -> C:
    try:
        return make_config(config, values, "the architecture inferred from the weights")
    except V2VError as error:
        raise V2VError("weights-mismatch", error.message, HINT) from None


def _norm(state: State, prefix: str, *, affine: Norm) -> Norm:
    """`affine` if the published norms have weights (batch norm), else `instance`."""
    norms = [layer for _, layer in published_layers(state, (prefix,)) if not is_conv(layer)]
    return affine if any("weight" in layer for layer in norms) else "instance"


def _shape(state: State, key: str) -> Any:
    if key not in state or state[key].ndim != 4:
        raise V2VError("weights-mismatch", f"These weights are not the published network: they have no `{key}`.", HINT)
    return state[key].shape
