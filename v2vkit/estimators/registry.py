"""Which implementation stands behind which name; a new back end is one file and a row in each table here."""

import importlib
import platform
import sys
from collections.abc import Mapping
from typing import Any

from v2vkit.config import StageConfig
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

# What each takes of the settings of its task's stage, where they have the same names.
_TAKES: dict[str, dict[str, tuple[str, ...]]] = {
    "flow": {"dis": ("preset",), "ptlflow": ("model", "weights", "device")},
    "face": {"mediapipe": (), "dlib": ("weights",)},
    "pose": {"mediapipe": (), "yolo": ("weights", "device")},
    "segment": {
        "torchvision": ("weights", "input_side", "min_score", "device"),
        "yolo": ("weights", "input_side", "min_score", "device"),
    },
}

# Those that keep one core busy and leave Python's lock meanwhile: so many of them look at different frames at once.
_AT_ONCE = {"mediapipe": 2}

# Estimator -> the extra that installs it.
EXTRAS = {"mediapipe": "mediapipe", "dlib": "dlib", "ptlflow": "flow", "yolo": "yolo"}


def chosen(task: str, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The estimator that a stage's settings name under its task, and what it takes of them.

    Args:
        settings: as the stage has them or a manifest holds them; what older ones lack is left at its default.
    """
    name = settings.get(task) or next(iter(ESTIMATORS[task]))
    return name, {key: settings[key] for key in _TAKES[task].get(name, ()) if key in settings}


def refuse_unused(task: str, config: StageConfig) -> None:
    """Whether every setting of an estimator is for the one that was chosen.

    Raises:
        V2VError: one that only other estimators of the task take is not at its default.
    """
    name = getattr(config, task)
    for key in dict.fromkeys(key for takes in _TAKES[task].values() for key in takes):
        if key in _TAKES[task][name] or getattr(config, key) == type(config).model_fields[key].default:
            continue
        option = key.replace("_", "-")
        others = " or ".join(f"--{task} {other}" for other, takes in _TAKES[task].items() if key in takes)
        raise V2VError(f"The {task} estimator {name} takes no --{option}.", f"Leave it out, or choose {others}.")


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
        extra = EXTRAS.get(name, "all")
        problem = f"The {task} estimator {name!r} needs the package {error.name!r}, which is not installed."
        raise V2VError(problem, how_to_install(extra)) from None


def how_to_install(extra: str) -> str:
    """The pip line that installs an extra, or what there is to do where it has no wheel (pip would ignore it)."""
    newest = {"mediapipe": (3, 12), "flow": (3, 13)}.get(extra)
    if newest is not None and sys.version_info[:2] > newest:
        return f"It has no wheel for Python {platform.python_version()}: use Python {newest[0]}.{newest[1]}."
    if extra == "mediapipe" and sys.platform == "linux" and platform.machine() != "x86_64":
        return f"It has no wheel for Linux on {platform.machine()}: use another machine or another estimator."
    return f"Install it with: pip install 'v2vkit[{extra}]'"
