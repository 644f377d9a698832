"""Whatever makes frames one after another: which network belongs to which configuration."""

from v2vkit.models.covst import CovstGenerator
from v2vkit.models.generator import GeneratorConfig, VideoGenerator
from v2vkit.models.image_generator import FrameGenerator, ImageGeneratorConfig

AnyGenerator = VideoGenerator | FrameGenerator
AnyGeneratorConfig = GeneratorConfig | ImageGeneratorConfig


def build_generator(config: AnyGeneratorConfig) -> AnyGenerator:
    """The freshly initialised network with these layers."""
    if isinstance(config, GeneratorConfig):
        return VideoGenerator(config)
    return CovstGenerator(config) if config.covst else FrameGenerator(config)
