"""Short ways for tests to say what a model is conditioned on, and to put other estimators in the table."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.conditioning import Conditioning, conditioning_of, to_unit
from v2vkit.conditions.domains import DOMAINS
from v2vkit.conditions.settings import Origin
from v2vkit.estimators import registry
from v2vkit.estimators.registry import Row
from v2vkit.pipeline.commands import MADE_BY


def of_domain(domain: str, num_labels: int = 12, **fields: Any) -> Conditioning:
    """The conditions of a domain, with so many labels where there are labels."""
    known = {name for condition in DOMAINS[domain].classes for name in condition.model_fields}
    return conditioning_of(domain, **({"num_labels": num_labels} if "num_labels" in known else {}), **fields)


def made_by(stage: str, settings: dict[str, Any] | None = None, **estimator: str) -> tuple[Origin, ...]:
    """How the annotations of a model with one condition were made."""
    return (Origin(stage=stage, settings=settings or {}, estimator=estimator),)


def stages_of(artifact: str) -> tuple[str, ...]:
    """The stages that make an artifact."""
    return tuple(command.split()[0] for command in MADE_BY[artifact])


def remade(info: ModelInfo, **changes: Any) -> ModelInfo:
    """The description with changes of how its annotations were made."""
    return info.model_copy(update={"origins": (info.origins[0].model_copy(update=changes),)})


def channels_of(info: ModelInfo, reader: ClipReader, clip: str, t: int) -> np.ndarray:
    """What a model sees of a frame on disk, float32 [C, H, W] in [0, 1]."""
    return to_unit(reader.channels(info.conditioning, clip, t))


def use_estimator(monkeypatch: pytest.MonkeyPatch, task: str, name: str, place: str) -> None:
    """Put another class behind a name."""
    rows = [replace(row, place=place) if (row.task, row.name) == (task, name) else row for row in registry.ESTIMATORS]
    set_estimators(monkeypatch, rows)


def set_estimators(monkeypatch: pytest.MonkeyPatch, rows: list[Row]) -> None:
    """Make these the table of estimators."""
    monkeypatch.setattr(registry, "ESTIMATORS", rows)
