"""v2vkit: train on your own footage, turn source video into photorealistic, temporally coherent video.

    model = v2vkit.load("work/checkpoints/spatial-2", device="cpu")
    for frame in model.generate(labels): ...             # annotations in, frames out
    for frame in model.render("in.mp4", align=True): ... # a video in, frames out
    v2vkit.train("work", stage="spatial-1", preset="tiny")  # every command is a function

Nothing is loaded before it is used.
"""

from typing import TYPE_CHECKING

from v2vkit.stages import FUNCTIONS as _FUNCTIONS

__version__ = "0.1.0"

_PLACES = {
    "load": "v2vkit.inference.load",
    "Model": "v2vkit.inference.model",
    "LabelMap": "v2vkit.conditions.labels",
    "FaceLandmarks": "v2vkit.conditions.face",
    "People": "v2vkit.conditions.pose",
    "Person": "v2vkit.conditions.people",
    "Picture": "v2vkit.conditions.picture",
    "DepthMap": "v2vkit.conditions.depth",
    "EdgeMap": "v2vkit.conditions.edges",
    "DensePoseMap": "v2vkit.conditions.densepose",
    "Edits": "v2vkit.inference.edits",
    "Relabelling": "v2vkit.conditions.edits",
    "relabel": "v2vkit.conditions.edits",
    "Outcome": "v2vkit.pipeline.runner",
    "V2VError": "v2vkit.errors",
}
"""Public name -> its module; the functions of the stages come beside them."""

__all__ = ["__version__", *_PLACES, *_FUNCTIONS]

if TYPE_CHECKING:
    from v2vkit.conditions.densepose import DensePoseMap as DensePoseMap
    from v2vkit.conditions.depth import DepthMap as DepthMap
    from v2vkit.conditions.edges import EdgeMap as EdgeMap
    from v2vkit.conditions.edits import Relabelling as Relabelling
    from v2vkit.conditions.edits import relabel as relabel
    from v2vkit.conditions.face import FaceLandmarks as FaceLandmarks
    from v2vkit.conditions.labels import LabelMap as LabelMap
    from v2vkit.conditions.people import Person as Person
    from v2vkit.conditions.picture import Picture as Picture
    from v2vkit.conditions.pose import People as People
    from v2vkit.errors import V2VError as V2VError
    from v2vkit.inference.edits import Edits as Edits
    from v2vkit.inference.load import load as load
    from v2vkit.inference.model import Model as Model
    from v2vkit.pipeline.runner import Outcome as Outcome
    from v2vkit.stages.functions import StageFunction, WorkFunction

    check: WorkFunction
    doctor: WorkFunction
    encode_features: WorkFunction
    estimate_pose: WorkFunction
    evaluate: WorkFunction
    export: WorkFunction
    export_dataset: StageFunction
    extract_flow: WorkFunction
    import_checkpoint: WorkFunction
    ingest: WorkFunction
    live: WorkFunction
    make_edges: WorkFunction
    make_rain: StageFunction
    make_sketches: WorkFunction
    make_toy: StageFunction
    predict: WorkFunction
    render: WorkFunction
    report: WorkFunction
    sample_style: WorkFunction
    segment: WorkFunction
    show: WorkFunction
    study: StageFunction
    table: WorkFunction
    track: WorkFunction
    train: WorkFunction
else:

    def __getattr__(name: str) -> object:
        """A public name, loaded when it is first used (PEP 562)."""
        import importlib

        if name in _PLACES:
            found = getattr(importlib.import_module(_PLACES[name]), name)
        elif name in _FUNCTIONS:
            from v2vkit.stages.functions import stage_function

            found = stage_function(name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
