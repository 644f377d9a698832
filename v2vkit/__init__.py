"""v2vkit: train on your own footage, turn source video into photorealistic, temporally coherent video."""

__version__ = "0.1.0"
