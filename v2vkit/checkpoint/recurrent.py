"""A generator's step for one frame as a network of plain tensors, whose state goes in and comes out.

Exporters of torch trace networks from tensors to tensors. `RecurrentStep` is the whole step (`v2v export`);
`GeneratorStep` is the generator alone, for the back ends of rendering, which keep the state themselves.
Shapes: N = 1 image, C source channels of one frame, L past frames, H x W the size of the source maps, h x w that of the
generator's output (`ModelInfo.downsamplings`), both fixed when the network is traced.
"""

import copy
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from v2vkit.models.any_generator import AnyGenerator, is_independent
from v2vkit.models.blocks import InstanceNorm, downsample, upsample_to
from v2vkit.models.generator import Output, Scale, VideoGenerator, advance

OF_SCALE = ("x_fake", "h", "flow", "mask", "memory")
"""Fields of `Output` that can be outputs of a traced network: what rendering uses."""


class GeneratorStep(nn.Module):
    """The generator with tensors in and out: (stack, *history) -> the fields of every scale's `Output`.

    Attributes:
        first: a frame without a past.
        names: `<scale>.<field>` of the outputs in their order; known after the first call.
    """

    def __init__(self, generator: AnyGenerator, *, first: bool):
        super().__init__()
        self.generator, self.first = generator, first
        self.names: tuple[str, ...] = ()

    def forward(self, stack: Tensor, *history: Tensor) -> tuple[Tensor, ...]:
        """As `VideoGenerator.forward`."""
        outputs = self.generator(stack, list(history) or None, first_frame=self.first)
        self.names, tensors = flatten(outputs)
        return tensors


def flatten(outputs: Iterable[Output]) -> tuple[tuple[str, ...], tuple[Tensor, ...]]:
    """Names `<scale>.<field>` and tensors of what the scales' outputs hold."""
    found: dict[str, Tensor] = {}
    for scale, output in enumerate(outputs):
        for field in OF_SCALE:
            value = getattr(output, field)
            if value is not None:
                # Two outputs of a graph must not be the same tensor.
                found[f"{scale}.{field}"] = value.clone() if field == "h" and value is output.x_fake else value
    return tuple(found), tuple(found.values())


def unflatten(names: Iterable[str], tensors: Iterable[Tensor]) -> list[Output]:
    """The inverse of `flatten`, without `warped`."""
    scales: dict[int, dict[str, Tensor | None]] = {}
    for name, tensor in zip(names, tensors, strict=True):
        scale, field = name.split(".")
        scales.setdefault(int(scale), dict.fromkeys((*OF_SCALE, "warped")))[field] = tensor
    return [Output(**scales[scale]) for scale in sorted(scales)]  # type: ignore[arg-type]


class RecurrentStep(nn.Module):
    """One frame of a video: (s, *state) -> (frame, h, flow, mask, *next state); absent outputs are left out.

    `s` is the frame's source map float32 [1, C, H, W] in [0, 1]. The state is `sources` [1, L C, h, w], the source maps
    of the last L frames, and `history_<scale>`, what `advance` gives for each scale. At a first frame there is no state
    in. `frame` is [1, 3, H, W]; `h`, `flow` and `mask` are those of the finest scale, of size h x w.

    Attributes:
        first: a frame without a past.
        downsamplings: `ModelInfo.downsamplings`.
        outputs: names of the outputs in their order; known after the first call.
    """

    def __init__(self, generator: AnyGenerator, *, first: bool, downsamplings: int = 0):
        super().__init__()
        self.generator, self.first, self.downsamplings = generator, first, downsamplings
        self.outputs: tuple[str, ...] = ()

    def forward(self, s: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        length = self.generator.config.history
        current = downsample(s, self.downsamplings)
        past, history = list(state), None
        if not self.first:
            sources = [past.pop(0)] if length else []
            history = past
        else:
            sources = [current] * length
        stack = torch.cat([*sources, current], 1)
        outputs = self.generator(stack, history, first_frame=self.first)
        last = outputs[-1]
        frame = (
            upsample_to(last.x_fake, (s.shape[2], s.shape[3]), self.downsamplings)
            if self.downsamplings
            else last.x_fake
        )
        made = {"frame": frame, "h": last.h, "flow": last.flow, "mask": last.mask}
        found = {name: value for name, value in made.items() if value is not None}
        # Two outputs of a graph must not be the same tensor.
        found = {name: value.clone() if name == "h" and value is frame else value for name, value in found.items()}
        if not is_independent(self.generator.config):
            if length:
                found["sources"] = stack[:, self.generator.config.source_channels :]
            for scale, tensor in enumerate(advance(history, outputs, length=length)):
                found[f"history_{scale}"] = tensor
        self.outputs = tuple(found)
        return tuple(found.values())


def state_names(outputs: Iterable[str]) -> tuple[str, ...]:
    """Those of a step's outputs that are its state: inputs of the next step."""
    return tuple(name for name in outputs if name == "sources" or name.startswith("history_"))


class _Constant(nn.Module):
    """Gives the same tensor for any input."""

    value: Tensor

    def __init__(self, value: Tensor):
        super().__init__()
        self.register_buffer("value", value)

    def forward(self, _: Tensor) -> Tensor:
        return self.value


class _TracedNorm(nn.Module):
    """`InstanceNorm` as torch's `instance_norm`, which ONNX has as one operator.

    As group norm it becomes five, and OpenVINO takes 1.4 times as long for a frame (onnxruntime 1.04 times).
    """

    def __init__(self, norm: InstanceNorm):
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] * x.shape[3] == 1:
            return cast(Tensor, self.norm(x))
        return F.instance_norm(x, None, None, self.norm.weight, self.norm.bias, True, 0.0, self.norm.eps)


def _with_traced_norms(network: nn.Module) -> None:
    """Replace every `InstanceNorm` inside a network."""
    for name, child in list(network.named_children()):
        if isinstance(child, InstanceNorm):
            setattr(network, name, _TracedNorm(child))
        else:
            _with_traced_norms(child)


def with_stored_history(generator: AnyGenerator, stack: Tensor) -> AnyGenerator:
    """The generator for first frames as another program can compute them; the weights are shared.

    With `zero_history` the encoder of the history sees constant maps, which its norms divide by the root of epsilon,
    layer after layer: another order of summation gives other features (differences of 4 were measured). These features
    depend on nothing but the size, so the copy holds those that torch computes. Others are returned as they are.

    Args:
        stack: source maps of the size that is generated, as in `VideoGenerator.forward`.
    """
    if not isinstance(generator, VideoGenerator) or not generator.config.zero_history:
        return generator
    encoded: list[Tensor] = []
    encoders = [scale.history_encoder for scale in generator.scales if isinstance(scale, Scale)]
    hooks = [encoder.register_forward_hook(lambda *call: encoded.append(call[-1])) for encoder in encoders]
    try:
        with torch.no_grad():
            generator(stack, None, first_frame=True)
    finally:
        for hook in hooks:
            hook.remove()
    made = copy.deepcopy(generator, {id(weights): weights for weights in generator.parameters()})
    for scale, value in zip(made.scales, encoded, strict=True):
        scale.history_encoder = _Constant(value.contiguous())
    return made


def traceable(generator: AnyGenerator, stack: Tensor, *, first: bool) -> AnyGenerator:
    """A contiguous copy of a generator for tracing; the generator itself stays as it is.

    Args:
        stack: as in `with_stored_history`.
        first: a frame without a past.
    """
    made = copy.deepcopy(with_stored_history(generator, stack) if first else generator)
    _with_traced_norms(made)
    return made.to(memory_format=torch.contiguous_format)
