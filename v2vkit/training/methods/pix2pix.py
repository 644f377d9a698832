"""pix2pix (Isola et al. 2017) on single frames: a U-Net against a PatchGAN, with 100 times L1. A baseline."""

from typing import Any

import torch

from v2vkit.conditions.conditioning import Conditioning
from v2vkit.models.generator import Output
from v2vkit.models.presets import unet_config
from v2vkit.models.unet import UNetConfig
from v2vkit.training.config import TrainConfig
from v2vkit.training.methods.base import MethodSpec, StepContext
from v2vkit.training.methods.frames import Chunk, FrameMethod, single_frame_schedule, sizes_of
from v2vkit.training.methods.pix2pixhd import SINGLE_FRAMES, check_layers, image_method_losses
from v2vkit.training.parallel import Parallel
from v2vkit.training.start import check_start, inherit

_SIZES = ("width", "num_down", "upsample", "norm")


def _layers(config: TrainConfig, source: Conditioning) -> UNetConfig:
    sizes = {name: value for name, value in sizes_of(config).items() if name in _SIZES}
    return unet_config(config.model.preset, source_channels=source.num_channels, **sizes)


class Pix2PixMethod(FrameMethod):
    """As `FrameMethod`; dropout, the noise of pix2pix, is a function of the place in training: resume is exact."""

    def generate(self, chunk: Chunk, at: StepContext) -> list[Output]:
        device = chunk.sequence.x.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self.seed_of(chunk, at))
            return super().generate(chunk, at)


def _build(config: TrainConfig, source: Conditioning, device: torch.device, parallel: Parallel) -> Pix2PixMethod:
    return Pix2PixMethod(
        config,
        source,
        device,
        generator=_layers(config, source),
        terms=PIX2PIX.losses(config),
        schedule=single_frame_schedule(config),
        parallel=parallel,
    )


def _describe(config: TrainConfig, source: Conditioning) -> dict[str, Any]:
    return {"network": _layers(config, source)}


PIX2PIX: MethodSpec = MethodSpec(
    name="pix2pix",
    losses=image_method_losses,
    unused=(
        *SINGLE_FRAMES,
        *("feature_dims", "picture_skip", "num_blocks", "num_blocks_fine", "num_enhancers"),
    ),
    context=lambda config: 0,
    schedule=single_frame_schedule,
    strides=lambda config: (),
    coarser=lambda config: None,
    check=check_layers(_layers),
    build=_build,
    describe=_describe,
    check_start=lambda config, source, size, folder: check_start(folder, _layers(config, source), source, size),
    inherit=inherit,
)
