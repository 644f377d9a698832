"""All generators of frames, and the network that belongs to each configuration."""

from v2vkit.models.covst import CovstGenerator
from v2vkit.models.generator import GeneratorConfig, VideoGenerator
from v2vkit.models.image_generator import FrameGenerator, ImageGeneratorConfig
from v2vkit.models.sflow_generator import SFlowConfig, SFlowGenerator
from v2vkit.models.unet import UNetConfig, UNetGenerator

AnyGenerator = VideoGenerator | FrameGenerator | UNetGenerator | SFlowGenerator
AnyGeneratorConfig = GeneratorConfig | ImageGeneratorConfig | UNetConfig | SFlowConfig


def build_generator(config: AnyGeneratorConfig) -> AnyGenerator:
    """A newly initialised network of this configuration."""
    if isinstance(config, GeneratorConfig):
        return VideoGenerator(config)
    if isinstance(config, UNetConfig):
        return UNetGenerator(config)
    if isinstance(config, SFlowConfig):
        return SFlowGenerator(config)
    return CovstGenerator(config) if config.covst else FrameGenerator(config)


def is_independent(config: AnyGeneratorConfig) -> bool:
    """Whether each frame depends on its own source map only: frames can be made in any order, or in one batch."""
    return not config.history and not config.takes_flow
