"""The table of estimators. A new estimator is one file and a row here.

Choices of flags, `doctor`, messages about missing packages and the docs derive from the rows. An estimator's module is
imported when it is opened.
"""

import importlib
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from v2vkit import weights
from v2vkit.config import Choices, StageConfig
from v2vkit.errors import V2VError

Config = TypeVar("Config", bound=StageConfig)


@dataclass(frozen=True)
class Extra:
    """An optional dependency: `pip install 'v2vkit[NAME]'`.

    Attributes:
        name: of the extra.
        distribution: the package by which `doctor` finds out whether it is installed.
        purpose: what it is for.
        newest_python: the newest Python that it has a wheel for; None = any.
        linux_on: the machines for which it has wheels on Linux; None = any.
    """

    name: str
    distribution: str
    purpose: str
    newest_python: tuple[int, int] | None = None
    linux_on: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Row:
    """One estimator.

    Attributes:
        task: what it does (`v2vkit.estimators.base`); also the setting of its stage that chooses it.
        name: by which it is chosen.
        place: "module:Class".
        takes: the settings of its stage that it is opened with.
        extra: the extra that installs it; None = it needs none.
        at_once: useful number of instances per process: more than 1 for estimators that use one core and release
            Python's lock, so that several frames are estimated in parallel.
        instances: whether it gives instances (segment).
        weights: names in the weights store of which the first that is there is used when no file is given.
    """

    task: str
    name: str
    place: str
    takes: tuple[str, ...] = ()
    extra: Extra | None = None
    at_once: int = 1
    instances: bool = False
    weights: tuple[str, ...] = ()


_MEDIAPIPE = Extra(
    "mediapipe",
    "mediapipe",
    "face landmarks and poses (make-sketches, estimate-pose, render)",
    newest_python=(3, 12),
    linux_on=("x86_64",),
)
_DLIB = Extra("dlib", "dlib-bin", "face landmarks and identity with weights files of yours")
_FLOW = Extra("flow", "ptlflow", "learned optical flow with a weights file of yours", newest_python=(3, 13))
_YOLO = Extra("yolo", "ultralytics", "poses and instances with a weights file of yours; AGPL-3.0, see the README")
_PARTS = ("hands", "face")
_SEGMENT = ("weights", "input_side", "min_score", "device")

# fmt: off
ESTIMATORS: list[Row] = [
    Row("flow", "dis", "v2vkit.estimators.dis:DIS", ("preset",)),
    Row("flow", "ptlflow", "v2vkit.estimators.ptlflow_flow:PtlflowFlow", ("model", "weights", "device"), _FLOW),
    Row("face", "mediapipe", "v2vkit.estimators.mediapipe_face:MediapipeFace", ("gaze",), _MEDIAPIPE, at_once=2),
    Row("face", "dlib", "v2vkit.estimators.dlib_face:DlibFace", ("weights",), _DLIB, weights=("dlib-68",)),
    Row("identity", "dlib", "v2vkit.estimators.dlib_identity:DlibIdentity", ("weights",), _DLIB),
    Row("pose", "mediapipe", "v2vkit.estimators.mediapipe_pose:MediapipePose", _PARTS, _MEDIAPIPE, at_once=2),
    Row("pose", "yolo", "v2vkit.estimators.ultralytics_models:YoloPose", ("weights", "device"), _YOLO),
    Row("segment", "torchvision", "v2vkit.estimators.torchvision_segment:TorchvisionSegment", _SEGMENT,
        weights=("deeplabv3", "lraspp")),
    Row("segment", "trained", "v2vkit.inference.trained_segment:TrainedSegment", _SEGMENT),
    Row("segment", "maskrcnn", "v2vkit.estimators.torchvision_instances:MaskRCNN", _SEGMENT, instances=True,
        weights=("maskrcnn",)),
    Row("segment", "yolo", "v2vkit.estimators.ultralytics_models:YoloSegment", _SEGMENT, _YOLO, instances=True),
]
"""The first of a task is its default."""
# fmt: on


def rows_of(task: str) -> dict[str, Row]:
    """The estimators of a task by name.

    Raises:
        V2VError: there is no such task.
    """
    found = {row.name: row for row in ESTIMATORS if row.task == task}
    if not found:
        tasks = dict.fromkeys(row.task for row in ESTIMATORS)
        raise V2VError("task-unknown", f"There is no estimator task {task!r}.", f"Tasks: {', '.join(tasks)}.")
    return found


def _names(task: str) -> tuple[str, ...]:
    return tuple(rows_of(task))


def estimators_of(task: str) -> Choices:
    """The names of a task's estimators, as the choices of a setting."""
    return partial(_names, task)


def estimator_extras() -> dict[str, Extra]:
    """The extras that install estimators, by name."""
    return {row.extra.name: row.extra for row in ESTIMATORS if row.extra is not None}


def gives_instances(name: str) -> bool:
    """Whether a segmentation estimator gives instances; False for an unknown one."""
    row = rows_of("segment").get(name)
    return row is not None and row.instances


def chosen(task: str, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name of the estimator that a stage's settings choose for a task, and its own settings among them.

    Args:
        settings: of the stage, or from a manifest; settings that an older manifest lacks keep their default, as do
            switches that are off.
    """
    rows = rows_of(task)
    name = settings.get(task) or next(iter(rows))
    takes = rows[name].takes if name in rows else ()
    return name, {key: settings[key] for key in takes if key in settings and settings[key] is not False}


def with_stored_weights(task: str, config: Config, *, key: str = "weights") -> Config:
    """The settings of a stage with the weights filled in from the weights store where no file is given; prints them.

    Args:
        key: the setting with the weights file.
    """
    row = rows_of(task).get(getattr(config, task))
    if row is None or getattr(config, key) is not None:
        return config
    for name in row.weights:
        if (path := weights.find(name)) is not None:
            print(f"weights: {name}, {path}")
            return config.model_copy(update={key: str(path)})
    return config


def refuse_unused(task: str, config: StageConfig) -> None:
    """Check that no setting is given that the chosen estimator ignores.

    Raises:
        V2VError: a setting that only other estimators of the task take is not at its default.
    """
    rows = rows_of(task)
    name = getattr(config, task)
    for key in dict.fromkeys(key for row in rows.values() for key in row.takes):
        if key in rows[name].takes or getattr(config, key) == type(config).model_fields[key].default:
            continue
        option = key.replace("_", "-")
        others = " or ".join(f"--{task} {other}" for other, row in rows.items() if key in row.takes)
        raise V2VError(
            "setting-unused", f"The {task} estimator {name} takes no --{option}.", f"Leave it out, or choose {others}."
        )


def open_estimators(task: str, name: str, **settings: Any) -> list[Any]:
    """`Row.at_once` instances of an estimator, each for one thread; see `open_estimator`."""
    first = open_estimator(task, name, **settings)
    return [first, *(open_estimator(task, name, **settings) for _ in range(rows_of(task)[name].at_once - 1))]


def open_estimator(task: str, name: str, **settings: Any) -> Any:
    """The estimator `name` for `task`, ready to be called.

    Raises:
        V2VError: no such task or name, the library is not installed (with the pip line that installs it), or the
            adapter refuses its settings. There is no silent fallback to another back end.
    """
    rows = rows_of(task)
    if name not in rows:
        raise V2VError("estimator-unknown", f"There is no {task} estimator {name!r}.", f"Known: {', '.join(rows)}.")
    module, _, attribute = rows[name].place.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)(**settings)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("v2vkit"):
            raise
        extra = rows[name].extra
        problem = f"The {task} estimator {name!r} needs the package {error.name!r}, which is not installed."
        raise V2VError("library-missing", problem, how_to_install("all" if extra is None else extra.name)) from None


def how_to_install(extra: str) -> str:
    """The pip line that installs an extra, or what to do where it has no wheel (pip would skip it silently)."""
    known = estimator_extras().get(extra)
    newest = None if known is None else known.newest_python
    if newest is not None and sys.version_info[:2] > newest:
        return f"It has no wheel for Python {platform.python_version()}: use Python {newest[0]}.{newest[1]}."
    machines = None if known is None else known.linux_on
    if machines is not None and sys.platform == "linux" and platform.machine() not in machines:
        return f"It has no wheel for Linux on {platform.machine()}: use another machine or another estimator."
    return f"Install it with: pip install 'v2vkit[{extra}]'"
