"""Predicts the future of observed label maps or frames, one at a time, in constant memory."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from v2vkit.arrays import Image
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import Manifest
from v2vkit.checkpoint.model_file import ModelInfo, load_network, read_info
from v2vkit.conditions.clips import refuse_larger_ids
from v2vkit.conditions.conditioning import to_unit
from v2vkit.conditions.labels import LabelMap, LabelsCondition
from v2vkit.conditions.regions import region_ids
from v2vkit.errors import V2VError
from v2vkit.models.label_maps import instances_of
from v2vkit.models.layout import from_images, to_image
from v2vkit.models.prediction import PredictionConfig
from v2vkit.models.predictor import LabelPredictor, PredictorConfig, advance_history, observed_history


def read_prediction_info(folder: Folder) -> ModelInfo:
    """The description of a model of prediction.

    Raises:
        V2VError: there is no model, or it predicts nothing.
    """
    info = read_info(folder)
    if not isinstance(info.network, PredictionConfig):
        raise V2VError(
            "model-mismatch",
            f"The model in {folder.url} (--method {info.method}) does not predict.",
            "Name a checkpoint of `v2v train --method predictor`, prednet or mcnet.",
        )
    return info


def load_prediction(folder: Folder) -> tuple[nn.Module, ModelInfo]:
    """The network of a model of prediction, on the CPU, and its description.

    Raises:
        V2VError: as `read_prediction_info`, or the file is damaged.
    """
    read_prediction_info(folder)
    return load_network(folder)


def predicts_labels(info: ModelInfo) -> bool:
    """Whether a model of prediction predicts label maps; else it predicts frames."""
    return isinstance(info.network, PredictorConfig)


def num_observed(info: ModelInfo) -> int:
    """Number L of maps or frames that a model of prediction observes."""
    assert isinstance(info.network, PredictionConfig)
    return info.network.observe


def refuse_other_classes(info: ModelInfo, work: Folder, labels: Manifest) -> None:
    """Check that the label maps of a workspace hold no class that the model does not have.

    Raises:
        V2VError: they do.
    """
    hint = "Give label maps of the classes that the model was trained on."
    refuse_larger_ids(work, labels, info.conditioning.num_labels, hint)


def predicted_maps(network: nn.Module, observed: Sequence[LabelMap]) -> Iterator[LabelMap]:
    """The label maps after the observed ones, without end.

    Instances move with the predicted flow where the observed maps have some.

    Args:
        network: a `LabelPredictor`.
        observed: L maps or more, oldest first; the last L are used.

    Raises:
        V2VError: fewer maps than L, or a label that the model does not have.
    """
    assert isinstance(network, LabelPredictor)
    config, device = network.config, next(network.parameters()).device
    used = _last(observed, config.observe)
    condition = LabelsCondition(num_labels=config.num_labels, edges=config.edges)
    maps = np.stack([to_unit(condition.channels(annotation)) for annotation in used])
    last = used[-1]
    regions = torch.from_numpy(region_ids(last.labels, last.instances))[None, None]
    history = observed_history(torch.from_numpy(maps)[None].to(device), regions.to(device), config)
    while True:
        with torch.inference_mode():
            predicted = network(history.maps)
            history = advance_history(history, predicted, config)
            labels = predicted.labels[0, 0].to(torch.uint8).cpu().numpy()
            ids = instances_of(history.regions)[0, 0].cpu().numpy().astype(np.uint16)
        yield LabelMap(labels, None if last.instances is None else ids)


def predicted_frames(network: nn.Module, observed: Sequence[Image]) -> Iterator[Image]:
    """The frames after the observed ones, RGB uint8 [H, W, 3], without end.

    Args:
        network: a `PredNet` or `MCNet`.
        observed: L frames or more, oldest first; the last L are used.

    Raises:
        V2VError: fewer frames than L.
    """
    predictor = cast(Any, network)
    used = np.stack(_last(observed, predictor.config.observe))
    with torch.inference_mode():
        state = predictor.observe(from_images(used)[None].to(next(network.parameters()).device))
    while True:
        with torch.inference_mode():
            frame, state = predictor.predict(state)
        yield to_image(frame[0])


def _last(observed: Sequence[Any], length: int) -> list[Any]:
    if len(observed) < length:
        raise V2VError(
            "frame-count-mismatch",
            f"{len(observed)} frames are observed; the model needs {length}.",
            f"Give {length} or more.",
        )
    return list(observed[-length:])
