"""All generators of frames, and the network that belongs to each configuration."""

from v2vkit.models.covst import CovstGenerator
from v2vkit.models.generator import GeneratorConfig, VideoGenerator
from v2vkit.models.image_generator import FrameGenerator, ImageGeneratorConfig

AnyGenerator = VideoGenerator | FrameGenerator
AnyGeneratorConfig = GeneratorConfig | ImageGeneratorConfig


def build_generator(config: AnyGeneratorConfig) -> AnyGenerator:
    """A newly initialised network of this configuration."""
    if isinstance(config, GeneratorConfig):
        return VideoGenerator(config)
    return CovstGenerator(config) if config.covst else FrameGenerator(config)
