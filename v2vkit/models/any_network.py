"""The networks that a model file can hold: generators of frames, and what else is trained into a checkpoint.

Another kind is a configuration with a `kind` of its own in `AnyNetworkConfig`, and a line in `build_network`.
"""

from typing import Annotated

from pydantic import Field
from torch import nn

from v2vkit.models.any_generator import AnyGeneratorConfig, build_generator
from v2vkit.models.segmenter import SegmenterConfig, build_segmenter

AnyNetworkConfig = Annotated[AnyGeneratorConfig | SegmenterConfig, Field(discriminator="kind")]
"""Stored as JSON, where `kind` says which one it is."""


def build_network(config: AnyNetworkConfig) -> nn.Module:
    """The freshly initialised network with these layers."""
    return build_segmenter(config) if isinstance(config, SegmenterConfig) else build_generator(config)
