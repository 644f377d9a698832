"""A generated chunk, the input of all losses. B batch, n frames of the chunk, L context frames."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from v2vkit.models.generator import Output
from v2vkit.models.perceptual import PerceptualNetwork
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.parallel import ALONE, Parallel
from v2vkit.training.window import WindowState


def join(tensors: list[Tensor]) -> Tensor:
    """Frames [B, ...] -> one batch [n B, ...]."""
    return torch.cat(tensors, 0)


@dataclass(frozen=True)
class DetachedFakes:
    """The generator's outputs detached from its graph, one [B, 3, H, W] per frame; leaves that collect gradients."""

    x_fake: list[Tensor]
    h: list[Tensor]
    """The hallucinated images; empty for image generators, whose hallucinated image is the frame itself."""

    @classmethod
    def of(cls, outputs: list[Output], *, hallucinated: bool) -> "DetachedFakes":
        """Detach a generator's outputs, with or without the hallucinated images."""
        h = [output.h.detach().requires_grad_() for output in outputs] if hallucinated else []
        return cls([output.x_fake.detach().requires_grad_() for output in outputs], h)


@dataclass
class GeneratedChunk:
    """A generated chunk and the tensors that several losses use, computed on first use.

    Attributes:
        sequence: its batch.
        state: the state after the chunk.
        frames: numbers of its frames in the sequence.
        outputs: the generator's outputs with their graphs, one per frame.
        hallucinated: whether losses apply to the hallucinated images too.
        perceptual: the network of the perceptual loss, if a loss needs it.
        parallel: the other processes of this run.
        bodies: the channels of `s` that show people: skeletons, or DensePose.
        densepose: whether they are DensePose's.
        edges: the channel of `s` that is an edge map, where an edge network sees it (S-Flow); discriminators do not.
    """

    sequence: VideoBatch
    state: WindowState
    frames: list[int]
    outputs: list[Output]
    hallucinated: bool = True
    perceptual: PerceptualNetwork | None = None
    parallel: Parallel = field(default=ALONE)
    bodies: slice = field(default_factory=lambda: slice(None))
    densepose: bool = False
    edges: slice | None = None

    @cached_property
    def detached(self) -> DetachedFakes:
        """The detached outputs, which discriminators see."""
        return DetachedFakes.of(self.outputs, hallucinated=self.hallucinated)

    @cached_property
    def x(self) -> Tensor:
        """Its real frames [n B, 3, H, W]."""
        return join([self.sequence.x[:, t] for t in self.frames])

    @cached_property
    def s(self) -> Tensor:
        """Its source maps [n B, C, H, W]."""
        return join([self.sequence.s[:, t] for t in self.frames])

    @cached_property
    def s_without_edges(self) -> Tensor:
        """What discriminators see of the source maps: all, but not `edges`."""
        return (
            self.s
            if self.edges is None
            else torch.cat([self.s[:, : self.edges.start], self.s[:, self.edges.stop :]], 1)
        )

    @cached_property
    def fakes(self) -> list[Tensor]:
        """The generated frames and, if `hallucinated`, the hallucinated images, each [n B, 3, H, W]."""
        h = [join([output.h for output in self.outputs])] if self.hallucinated else []
        return [join([output.x_fake for output in self.outputs]), *h]

    @cached_property
    def perceptual_maps(self) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Feature maps of the real frames (without a graph) and of each of `fakes`."""
        assert self.perceptual is not None
        with torch.no_grad():
            real = self.perceptual(self.x)
        return real, [self.perceptual(fake) for fake in self.fakes]

    @cached_property
    def with_predicted_flow(self) -> list[tuple[int, Output, Tensor, Tensor]]:
        """(number in the sequence, output, flow, mask) of every frame with a predicted flow."""
        pairs = [(t, o, o.flow, o.mask) for t, o in zip(self.frames, self.outputs, strict=True)]
        return [(t, o, flow, mask) for t, o, flow, mask in pairs if flow is not None and mask is not None]

    @cached_property
    def with_past(self) -> list[tuple[int, Output]]:
        """(number in the sequence, output) of every frame that the generator made from a past frame.

        They are those of `with_predicted_flow` where flow is predicted.
        """
        return [(t, o) for t, o in zip(self.frames, self.outputs, strict=True) if t > self.state.first]

    @cached_property
    def reference_flow(self) -> tuple[Tensor, Tensor]:
        """Reference flow and confidence of the frames in `with_past`: [m B, 2, H, W] and [m B, 1, H, W]."""
        times = [t for t, _ in self.with_past]
        flow, confidence = self.sequence.flow[1], self.sequence.confidence[1]
        return join([flow[:, t] for t in times]), join([confidence[:, t] for t in times])

    def seen_by_generator(self, frame: int) -> Tensor:
        """Frame `frame` of the sequence as it is in the generator's history: real in the context, then generated."""
        context = self.state.context
        return self.sequence.x[:, frame] if frame < context else self.state.x_fake[frame - context]
