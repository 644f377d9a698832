"""The networks that a model file can hold: generators of frames and other trained networks.

To add a kind: its configuration with a `kind` in `AnyNetworkConfig`, and a line in `build_network`.
"""

from typing import Annotated

from pydantic import Field
from torch import nn

from v2vkit.models.any_generator import AnyGeneratorConfig, build_generator
from v2vkit.models.mcnet import MCNet, MCNetConfig
from v2vkit.models.predictor import LabelPredictor, PredictorConfig
from v2vkit.models.prednet import PredNet, PredNetConfig
from v2vkit.models.segmenter import SegmenterConfig, build_segmenter

AnyNetworkConfig = Annotated[
    AnyGeneratorConfig | SegmenterConfig | PredictorConfig | PredNetConfig | MCNetConfig, Field(discriminator="kind")
]
"""Stored as JSON; `kind` selects the configuration."""


def build_network(config: AnyNetworkConfig) -> nn.Module:
    """A newly initialised network of this configuration."""
    if isinstance(config, PredictorConfig):
        return LabelPredictor(config)
    if isinstance(config, PredNetConfig):
        return PredNet(config)
    if isinstance(config, MCNetConfig):
        return MCNet(config)
    return build_segmenter(config) if isinstance(config, SegmenterConfig) else build_generator(config)
