"""What the networks of future prediction share: the number of frames that they observe."""

from v2vkit.config import StageConfig, setting

OBSERVE = 4
"""Observed frames of the evaluation protocol (Wu et al. 2020): observe 4, predict 10."""


class PredictionConfig(StageConfig):
    """A network that predicts the next frame (or label map) from the observed ones."""

    observe: int = setting(OBSERVE, "number of observed frames before the first prediction", ge=1, le=64)
