"""Untrained models in a workspace, and rendering with them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from tests.conditions import made_by, of_domain, stages_of
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import ModelInfo, save_model
from v2vkit.conditions.domains import DOMAINS
from v2vkit.inference.conditioned import ConditionedFrame, conditioned_frames
from v2vkit.inference.sources import open_source
from v2vkit.models.generator import VideoGenerator
from v2vkit.models.presets import generator_config
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.render import COMMAND, RenderConfig

FACES = {"face": "mediapipe", "smooth": 3, "missing": "hold", "canny": True}
"""Settings of `make-sketches`."""


def save_untrained(
    work: Path,
    domain: str,
    *,
    size: tuple[int, int] = (64, 48),
    maps: Mapping[str, Any] = FACES,
    maps_stage: str | None = None,
    estimator: dict[str, str] | None = None,
    **changes: object,
) -> ModelInfo:
    """An untrained model as `checkpoints/spatial-1` of a workspace, whose annotations `maps_stage` made with `maps`."""
    torch.manual_seed(0)
    conditions = DOMAINS[domain].classes
    own = {name: maps[name] for of in conditions for name in of.model_fields if name in maps}
    source = of_domain(domain, **own)
    config = generator_config("tiny", source_channels=source.num_channels, width=8, num_down=2, num_blocks=2)
    values = {
        "stage": "spatial-1",
        "fingerprint": "f",
        "network": config,
        "conditioning": source,
        "width": size[0],
        "height": size[1],
        "first_frame": "self",
        "frames": {"crop": "none"},
        "origins": made_by(maps_stage or stages_of(conditions[0].artifact)[0], maps, **(estimator or {})),
    }
    info = ModelInfo.model_validate(values | changes)
    save_model(Folder(f"{work}/checkpoints/spatial-1"), VideoGenerator(config).state_dict(), info)
    return info


def conditioned(
    source: Path, info: ModelInfo, *, cuts: Any = None, align: bool = False, device: str = "cpu", **settings: Any
) -> Iterator[ConditionedFrame]:
    """The frames of a source with what conditions the model; `settings` of `open_source`."""
    opened = open_source(str(source), info, **settings)
    return conditioned_frames(opened, info, cuts=cuts, align=align, device=device)


def render(source: Path, target: Path | str, work: Path, **settings: object) -> list[str]:
    """`v2v render` on the CPU; gives the problems that it tells of."""
    config = RenderConfig(source=str(source), target=str(target), device="cpu", threads=1, **settings)
    return COMMAND.call(config, RunOptions(work=str(work)))
