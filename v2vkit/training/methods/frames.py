"""The common method of vid2vid, pix2pixHD and COVST: a generator of successive frames, trained with discriminators.

One step generates a chunk, computes every loss on it and takes the gradients of all networks. The discriminators see
fakes that are detached from the generator's graph (`adversarial`), so that G's and D's gradients come from one forward
pass: real frames pass through D once, and weight gradients of D are never computed for the generator.

Shapes: B batch; a window has L context frames and then the generated ones.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v2vkit.checkpoint.model_file import ENCODER_PREFIX
from v2vkit.checkpoint.train_state import Network
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.engine.precision import autocast
from v2vkit.models.any_generator import AnyGenerator, AnyGeneratorConfig, build_generator
from v2vkit.models.discriminator import Discriminator
from v2vkit.models.encoder import EncoderConfig, FeatureEncoder
from v2vkit.models.generator import Output, VideoGenerator, history_from_images
from v2vkit.models.perceptual import open_perceptual
from v2vkit.models.presets import (
    DISCRIMINATORS,
    encoder_config,
    image_discriminator_config,
    video_discriminator_config,
)
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.features import feature_maps
from v2vkit.training.generated import GeneratedChunk
from v2vkit.training.methods.base import StepContext
from v2vkit.training.methods.gan import GANMethod
from v2vkit.training.parallel import ALONE, Parallel
from v2vkit.training.sample_grid import sample_grid
from v2vkit.training.schedule import Schedule
from v2vkit.training.terms import PERCEPTUAL, LossTerm, losses_on, needs_met
from v2vkit.training.window import HistoryNoise, WindowState, begin_window, chunks, generate_chunk


@dataclass
class Chunk:
    """Consecutive frames of a batch, by their numbers in the window; `step` fills `outputs`."""

    sequence: VideoBatch
    state: WindowState
    frames: list[int]
    outputs: list[Output] = field(default_factory=list)


class FrameMethod(GANMethod):
    """A generator of frames, its discriminators and, if used, feature encoder E and perceptual network."""

    headline: ClassVar[tuple[str, ...]] = ("G_GAN", "D_GAN_fake")
    generator: AnyGenerator

    def __init__(
        self,
        config: TrainConfig,
        source: Conditioning,
        device: torch.device,
        *,
        generator: AnyGeneratorConfig,
        terms: tuple[LossTerm, ...],
        schedule: Schedule,
        parallel: Parallel = ALONE,
        edges: slice | None = None,
    ):
        """Builds the networks with random weights, a pure function of the seed.

        Args:
            source: the conditions.
            generator: configuration of the generator.
            terms: the method's losses, on or off.
            edges: the channel of the source map that an edge network sees and discriminators do not.
        """
        self.config, self.source, self.parallel = config, source, parallel
        self.terms, self.schedule, self.edges = losses_on(terms, config), schedule, edges
        torch.manual_seed(config.data.seed)
        self.generator = build_generator(generator).to(device)
        shown = source.num_channels - (0 if edges is None else edges.stop - edges.start)
        self.discriminators = {
            term.network: Discriminator(_discriminator_config(config, term.network, shown)).to(device)
            for term in self.terms
            if term.network is not None
        }
        layers = build_encoder_config(config)
        self.encoder = None if layers is None else FeatureEncoder(layers).to(device)
        looks = needs_met(terms, PERCEPTUAL, config) and device.type != "meta"
        weights = config.losses.perceptual_weights if looks else None
        self.perceptual = None if weights is None else open_perceptual(config.losses.perceptual, weights).to(device)
        self.generator.checkpointing = config.hardware.gradient_checkpointing
        self.lay_out(device)

    def networks(self) -> dict[str, Network]:
        """G, each discriminator with its own optimiser, and E with G's."""
        found = super().networks()
        if self.encoder is not None:
            found["encoder"] = Network(self.encoder, "generator", prefix=ENCODER_PREFIX)
        return found

    def chunks(self, batch: VideoBatch, *, skip: int = 0) -> Iterator[Chunk]:
        """The generated frames of a batch of windows in chunks of `--chunk` frames."""
        state = begin_window(batch, self.generator, from_nothing=batch.from_nothing)
        if skip:
            state.x_fake = [x.clone() for x in batch.x[:, state.context : state.context + skip].unbind(1)]
            if state.history is not None:
                state.history = history_from_images(batch.x[:, skip : skip + state.context], len(state.history))
        for frames in chunks(batch.x.shape[1], state.context + skip, self.config.schedule.chunk):
            yield Chunk(batch, state, frames)

    def step(self, chunk: Chunk, at: StepContext) -> dict[str, Tensor]:
        """Generate the chunk, compute every loss on it, and store the gradients of all networks."""
        with autocast(self.config.hardware.precision, chunk.sequence.x.device):
            chunk.outputs = self.generate(chunk, at)
        generated = GeneratedChunk(
            chunk.sequence,
            chunk.state,
            chunk.frames,
            chunk.outputs,
            hallucinated=isinstance(self.generator, VideoGenerator),
            perceptual=self.perceptual,
            parallel=self.parallel,
            edges=self.edges,
            bodies=self._bodies(),
            densepose=self.source.has("shows_parts"),
        )
        outputs, fakes = generated.outputs, generated.detached
        heads = [*(o.x_fake for o in outputs), *(o.h for o in outputs[: len(fakes.h)])]
        return self.take_losses(generated, at, heads=heads, fakes=[*fakes.x_fake, *fakes.h])

    def _bodies(self) -> slice:
        """The channels in which faces are found: DensePose's where there is DensePose, as published."""
        if self.source.has("shows_parts"):
            return self.source.slice_of("shows_parts")
        return self.source.slice_of("has_bodies") if self.source.has("has_bodies") else slice(None)

    def generate(self, chunk: Chunk, at: StepContext) -> list[Output]:
        """The outputs for a chunk's frames, with their graphs; the chunk's state has moved on."""
        train_from = self.config.scale - 1 if at.epoch < self.schedule.fix_epochs else 0
        return generate_chunk(
            self.generator,
            chunk.sequence,
            chunk.state,
            chunk.frames,
            train_from=train_from,
            features=self.features(chunk, train_from=train_from),
            noise=self._history_noise(chunk, at),
        )

    def sample(self, chunk: Chunk) -> NDArray[np.uint8]:
        """The sample grid of the chunk's first sequence."""
        return sample_grid(self.source, chunk.sequence, chunk.frames, chunk.outputs)

    def features(self, chunk: Chunk, *, train_from: int = 0) -> dict[int, Tensor] | None:
        """Feature channels of every frame whose source map the chunk uses (`feature_maps`); None without E."""
        if self.encoder is None:
            return None
        return feature_maps(
            self.encoder,
            chunk.sequence,
            chunk.state,
            chunk.frames,
            finer_scales=self.generator.config.num_scales - 1,
            downsamplings=self.config.downsamplings,
            recompute=self.config.hardware.gradient_checkpointing,
            train_from=train_from,
        )

    def seed_of(self, chunk: Chunk, at: StepContext) -> int:
        """A seed for what a step draws at random: a function of the place in training, so that resume is exact."""
        place = [self.config.data.seed, at.epoch, round(at.progress * 2**32), chunk.frames[0], self.parallel.rank]
        return int(np.random.SeedSequence(place).generate_state(1)[0])

    def _history_noise(self, chunk: Chunk, at: StepContext) -> HistoryNoise | None:
        """The noise of `--history-noise`; None without."""
        sigma = self.config.data.history_noise
        if not sigma:
            return None
        return HistoryNoise(sigma, torch.Generator(chunk.sequence.x.device).manual_seed(self.seed_of(chunk, at)))


def _discriminator_config(config: TrainConfig, network: str, source_channels: int) -> Any:
    """The configuration of the discriminator of that name: `image`, `face`, or `videoN`."""
    of = config.adversaries
    # Each finer stage adds a discriminator scale; the coarser ones keep their input sizes.
    sizes = of.discriminator_scales or DISCRIMINATORS[config.model.preset]["num_scales"]
    layers: dict[str, Any] = {"num_scales": sizes + config.scale - 1, "finer_scales": config.scale - 1}
    layers |= {} if config.model.norm is None else {"norm": config.model.norm}
    layers |= {} if of.discriminator_width is None else {"width": of.discriminator_width}
    if network.startswith("video"):
        return video_discriminator_config(config.model.preset, num_frames=of.video_frames, **layers)
    if network == "face":  # on small crops: two scales fewer, but at least one
        number = max(1, layers["num_scales"] - 2)
        layers |= {"num_scales": number, "finer_scales": min(number - 1, layers["finer_scales"])}
    return image_discriminator_config(config.model.preset, source_channels=source_channels, **layers)


def build_encoder_config(config: TrainConfig) -> EncoderConfig | None:
    """The configuration of the feature encoder; None without features."""
    dims = config.model.feature_dims
    return encoder_config(config.model.preset, dims=dims) if dims else None


def sizes_of(config: TrainConfig) -> dict[str, Any]:
    """The settings of the generator that override the preset's."""
    names = ("width", "num_down", "num_blocks", "num_blocks_fine", "upsample", "norm")
    return {name: value for name in names if (value := config.value(name)) is not None}


def generator_channels(config: TrainConfig, source: Conditioning) -> int:
    """Input channels of a generator per frame: source map and features."""
    return source.num_channels + config.model.feature_dims


def video_schedule(config: TrainConfig) -> Schedule:
    """The schedule with growing sequences."""
    names = [of.name for of in dataclasses.fields(Schedule) if of.name not in ("full_epochs", "names")]
    return Schedule(**{name: config.value(name) for name in names})


def single_frame_schedule(config: TrainConfig) -> Schedule:
    """The schedule of sequences of one frame."""
    return Schedule(config.schedule.epochs, config.schedule.decay)
