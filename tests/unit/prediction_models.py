"""Untrained models of prediction on the small workspace of `training_data`."""

from pathlib import Path
from typing import Any

import torch

from tests.conditions import made_by, of_domain
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import ModelInfo, save_model
from v2vkit.models.any_network import build_network
from v2vkit.models.mcnet import MCNetConfig
from v2vkit.models.predictor import PredictorConfig
from v2vkit.models.prednet import PredNetConfig

NUM_LABELS = 12
NETWORKS: dict[str, Any] = {
    "predictor": PredictorConfig(num_labels=NUM_LABELS, observe=3, width=8, num_down=2, num_blocks=2),
    "prednet": PredNetConfig(channels=(3, 4), observe=3),
    "mcnet": MCNetConfig(width=4, observe=3),
}


def save_predictor(work: Path, method: str = "predictor", **changes: Any) -> Path:
    """An untrained model as `checkpoints/<method>` of a workspace with frames of 32x24; returns its folder."""
    torch.manual_seed(0)
    num_labels = changes.pop("num_labels", NUM_LABELS)
    config = NETWORKS[method]
    if method == "predictor":
        config = config.model_copy(update={"num_labels": num_labels})
    info = ModelInfo(
        method=method,
        stage=method,
        fingerprint="f",
        network=config,
        conditioning=of_domain("street", num_labels),
        origins=made_by("ingest"),
        width=32,
        height=24,
        frames={},
    ).model_copy(update=changes)
    folder = work / "checkpoints" / method
    save_model(Folder(str(folder)), build_network(config).state_dict(), info)
    return folder
