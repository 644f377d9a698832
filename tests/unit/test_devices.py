"""`--device`: the same names everywhere, and nothing but them."""

import pytest
import torch

from tests.errors import raises
from v2vkit.config import StageConfig, make_config
from v2vkit.engine.devices import fitting, pick_device
from v2vkit.stages.encode_features import EncodeConfig
from v2vkit.stages.estimate_pose import PoseConfig
from v2vkit.stages.evaluate import EvaluateConfig
from v2vkit.stages.extract_flow import FlowConfig
from v2vkit.stages.render import RenderConfig
from v2vkit.stages.segment import SegmentConfig
from v2vkit.training.config import TrainConfig


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("mps", "device-missing"),
        ("gpu", "device-unknown"),
        ("meta", "device-unknown"),
        ("", "device-unknown"),
        ("cuda:99", "device-missing"),
    ],
)
def test_a_device_that_is_not_there_is_one_sentence(name: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with raises(code, name.split(":")[0]) as caught:
        pick_device(name)
    assert len(caught.error.message) < 100


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_is_the_fastest_that_is_there(
    cuda: bool, mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device("auto") == torch.device(expected)
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("config", "others"),
    [
        (SegmentConfig, {}),
        (PoseConfig, {}),
        (FlowConfig, {}),
        (EncodeConfig, {}),
        (TrainConfig, {}),
        (RenderConfig, {"source": "in.mp4", "target": "out.mp4"}),
        (EvaluateConfig, {"data": "work"}),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "cuda:1", "auto"])
def test_every_command_takes_the_same_names(config: type[StageConfig], others: dict[str, str], device: str) -> None:
    made = make_config(config, others | {"device": device}, "test")
    assert made.model_dump()["device"] == device


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("Tried to allocate 20.00 GiB"),
        MemoryError(),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_too_little_memory_is_one_sentence_however_torch_says_it(error: Exception) -> None:
    with raises("memory-too-small", "The model", "cuda:1", "Take less."), fitting("The model", "cuda:1", "Take less."):
        raise error


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), fitting("The model", "cpu", "Take less."):
        raise RuntimeError("shapes do not match")
