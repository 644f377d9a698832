"""What the ptlflow adapter refuses, before it imports anything heavy; these run without ptlflow."""

import pickle
from pathlib import Path
from typing import get_args

import pytest
import torch

from tests.errors import raises
from v2vkit.estimators.ptlflow_flow import MODELS, PtlflowFlow
from v2vkit.estimators.registry import open_estimator
from v2vkit.stages.extract_flow import FlowConfig


def test_models_of_the_stage_are_those_of_the_adapter() -> None:
    assert get_args(FlowConfig.model_fields["model"].annotation) == MODELS


def test_a_model_that_is_not_on_the_list_is_refused() -> None:
    with raises("model-unknown", "memfof"):
        PtlflowFlow(model="memfof", weights="anything")


@pytest.mark.parametrize("weights", [None, "things", "absent/raft.ckpt"])
def test_weights_must_be_a_file_and_are_never_fetched(weights: str | None) -> None:
    with raises("weights-missing", "raft"):
        PtlflowFlow(model="raft", weights=weights)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "raft.ckpt"
    path.write_bytes(b"not a checkpoint")
    with raises("weights-damaged", "raft.ckpt"):
        PtlflowFlow(model="raft", weights=path)


class _Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("executed"),)


def test_weights_that_would_run_code_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": _Evil()}, "evil.ckpt")
    Path("plain.ckpt").write_bytes(pickle.dumps(_Evil(), protocol=2))
    for name in ("evil.ckpt", "plain.ckpt"):
        with raises("weights-damaged", name):
            PtlflowFlow(model="raft", weights=name)
    assert not Path("executed").exists()


def test_weights_that_hold_no_state_dict_are_refused(tmp_path: Path) -> None:
    torch.save([1, 2, 3], tmp_path / "list.ckpt")
    with raises("weights-damaged", "list.ckpt"):
        PtlflowFlow(model="raft", weights=tmp_path / "list.ckpt")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "raft.ckpt")
    with raises("device-missing", "cuda"):
        PtlflowFlow(model="raft", weights=tmp_path / "raft.ckpt", device="cuda")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("ptlflow")
    torch.save({"state_dict": {"conv.weight": torch.zeros(1)}}, tmp_path / "other.ckpt")
    with raises("weights-mismatch", "raft_small"):
        PtlflowFlow(model="raft_small", weights=tmp_path / "other.ckpt")


def test_without_ptlflow_the_pip_line_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({}, tmp_path / "raft.ckpt")
    monkeypatch.setitem(__import__("sys").modules, "ptlflow", None)
    with raises("library-missing", "pip install 'v2vkit[flow]'"):
        open_estimator("flow", "ptlflow", model="raft", weights=tmp_path / "raft.ckpt")
