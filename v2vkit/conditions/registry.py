"""Registry of conditions: one row each. A new condition is one file and a row here.

Modules are loaded on demand, so that help texts can name the conditions cheaply.
"""

import importlib
from typing import TYPE_CHECKING, Any

from v2vkit.errors import V2VError

if TYPE_CHECKING:
    from v2vkit.conditions.base import Condition

CONDITIONS: dict[str, str] = {
    "labels": "v2vkit.conditions.labels:LabelsCondition",
    "face": "v2vkit.conditions.face:FaceCondition",
    "pose": "v2vkit.conditions.pose:PoseCondition",
    "densepose": "v2vkit.conditions.densepose:DensePoseCondition",
    "depth": "v2vkit.conditions.depth:DepthCondition",
    "picture": "v2vkit.conditions.picture:PictureCondition",
    "edges": "v2vkit.conditions.edges:EdgesCondition",
}
"""Name -> "module:Class", a subclass of `v2vkit.conditions.base.Condition`."""


def condition_names() -> tuple[str, ...]:
    return tuple(CONDITIONS)


def condition_class(name: str) -> "type[Condition[Any]]":
    """The class behind a name.

    Raises:
        V2VError: there is no such condition.
    """
    if name not in CONDITIONS:
        raise V2VError("condition-unknown", f"There is no condition {name!r}.", f"Known: {', '.join(CONDITIONS)}.")
    module, _, attribute = CONDITIONS[name].partition(":")
    found: type[Condition[Any]] = getattr(importlib.import_module(module), attribute)
    return found


def condition_classes() -> "list[type[Condition[Any]]]":
    """All condition classes, in the order of the table."""
    return [condition_class(name) for name in CONDITIONS]
