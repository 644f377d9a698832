"""The comment by which a rendering says that it is synthetic, and which model made it."""

from v2vkit import __version__
from v2vkit.checkpoint.model_file import ModelInfo

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's term for media made by a trained model, which other programs look for."""


def synthetic_comment(info: ModelInfo) -> str:
    """What a rendering says about itself: that it is synthetic, the program, its version and the model.

    It contains no path and no name of a file.
    """
    steps = f", {info.steps} steps" if info.steps else ""
    return (
        f"Synthetic: made by a neural network with v2vkit {__version__}. Model: {info.method} {info.stage}, "
        f"conditioned on {info.conditioning.names}{steps}, fingerprint {info.fingerprint}. "
        f"Digital source type: {SOURCE_TYPE}"
    )
