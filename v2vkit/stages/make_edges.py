"""`v2v make-edges`: the thresholded Laplacian edges of every frame."""

from functools import partial

from v2vkit.config import StageConfig, setting
from v2vkit.models.laplacian import MAX_SIGMA, SIGMA, THRESHOLD, Kernel
from v2vkit.pipeline.stage import Opened, PerClip, Stage
from v2vkit.stages.run_estimator import annotate_clip

_THREADS = 2


class EdgesConfig(StageConfig):
    """Detect the edges of every frame: grey, Gaussian, Laplacian, threshold.

    Writes one file per frame, edges.png, 255 on 0. They condition models trained with --condition edges or --domain
    cg2real (labels and edges). `v2v render` makes the edges of its source on the fly with the same settings.
    """

    kernel: Kernel = setting("cross", "Laplacian kernel: cross has 4 neighbours, square has 8.")
    sigma: float = setting(
        SIGMA,
        "Standard deviation in pixels of the Gaussian blur before the Laplacian; higher values keep only coarse edges, "
        "0 = no blur.",
        ge=0,
        le=MAX_SIGMA,
    )
    threshold: float = setting(
        THRESHOLD,
        "Absolute Laplacian above which a pixel is an edge, in grey levels of 255; higher values give fewer edges.",
        ge=0,
        le=4096,
    )


def open_edges(config: EdgesConfig) -> Opened:
    """The function that detects the edges of a clip's frames; it needs no estimator."""
    from v2vkit.conditions.edges import EdgesCondition
    from v2vkit.estimators.base import frame_itself

    condition = EdgesCondition(kernel=config.kernel, sigma=config.sigma, threshold=config.threshold)
    function = partial(
        annotate_clip, condition=condition, estimators=[frame_itself] * _THREADS, settings=dict(config), estimator=""
    )
    return Opened(function, {})


STAGE = Stage(
    name="make-edges",
    config=EdgesConfig,
    version=1,
    output=lambda config: "edges",
    make=PerClip(open_edges),
    inputs=lambda config: ("frames",),
)
