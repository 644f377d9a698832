"""Which implementation stands behind which name; a new back end is one file and one row here."""

import importlib
from typing import Any

from v2vkit.errors import V2VError

ESTIMATORS: dict[str, dict[str, str]] = {
    "flow": {"dis": "v2vkit.estimators.dis:DIS", "ptlflow": "v2vkit.estimators.ptlflow_flow:PtlflowFlow"},
    "face": {
        "mediapipe": "v2vkit.estimators.mediapipe_face:MediapipeFace",
        "dlib": "v2vkit.estimators.dlib_face:DlibFace",
    },
    "pose": {
        "mediapipe": "v2vkit.estimators.mediapipe_pose:MediapipePose",
        "yolo": "v2vkit.estimators.ultralytics_models:YoloPose",
    },
    "segment": {
        "torchvision": "v2vkit.estimators.torchvision_segment:TorchvisionSegment",
        "yolo": "v2vkit.estimators.ultralytics_models:YoloSegment",
    },
}

# Those that keep one core busy and leave Python's lock meanwhile: so many of them look at different frames at once.
_AT_ONCE = {"mediapipe": 2}

EXTRAS = {"mediapipe": "mediapipe", "dlib": "dlib", "ptlflow": "flow", "yolo": "yolo"}


def open_estimators(task: str, name: str, **settings: Any) -> list[Any]:
    """An estimator as often as is worth having in one process, each for one thread; see `open_estimator`."""
    return [open_estimator(task, name, **settings) for _ in range(_AT_ONCE.get(name, 1))]


def open_estimator(task: str, name: str, **settings: Any) -> Any:
    """The estimator `name` for `task`, ready to be called.

    Raises:
        V2VError: no such task or name, the library is not installed (with the pip line that installs it), or the
            adapter refuses its settings. There is no silent fallback to another back end.
    """
    names = ESTIMATORS.get(task)
    if names is None:
        raise V2VError(f"There is no estimator task {task!r}.", f"Tasks: {', '.join(ESTIMATORS)}.")
    if name not in names:
        raise V2VError(f"There is no {task} estimator {name!r}.", f"Known: {', '.join(names)}.")
    module, _, attribute = names[name].partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)(**settings)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("v2vkit"):
            raise
        raise V2VError(
            f"The {task} estimator {name!r} needs the package {error.name!r}, which is not installed.",
            f"Install it with: pip install 'v2vkit[{EXTRAS.get(name, 'all')}]'",
        ) from None
