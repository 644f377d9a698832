"""Which network the perceptual loss of a training looks through."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tests.errors import raises
from tests.unit.training_data import SMALL
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, PARTIAL, Manifest
from v2vkit.models.perceptual_table import NETWORKS, perceptual_class
from v2vkit.pipeline.stage import RunOptions
from v2vkit.pipeline.staleness import resolved as resolved_config
from v2vkit.stages.train import STAGE as TRAIN
from v2vkit.training.config import TrainConfig
from v2vkit.training.perceptual import resolve_perceptual


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("V2V_WEIGHTS", str(tmp_path / "store"))
    return tmp_path / "store"


def put_vgg19(store: Path) -> Path:
    """A file of the right size and a record of it, as `v2v weights fetch` leaves them."""
    from v2vkit.weights.registry import known

    entry = known("vgg19")
    assert entry.file is not None
    folder = store / "vgg19"
    folder.mkdir(parents=True)
    size = round((entry.mib or 0) * 2**20)
    with (folder / entry.file).open("wb") as file:
        file.truncate(size)
    digest = f"{entry.sha256:0<64}"
    record = f'{{"file": "{entry.file}", "sha256": "{digest}", "bytes": {size}, "source": "test"}}'
    (folder / "record.json").write_text(record)
    return folder / entry.file


def resolved(config: BaseModel, folder: Path) -> tuple[str, str | None]:
    assert isinstance(config, TrainConfig)
    found = resolve_perceptual(config, Folder(str(folder)))
    return found.losses.perceptual, found.losses.perceptual_weights


def test_auto_is_vgg19_where_the_store_has_it_and_off_elsewhere(store: Path, tmp_path: Path) -> None:
    assert resolved(SMALL, tmp_path) == ("off", None)
    assert resolved(SMALL, tmp_path) == ("off", None)
    path = put_vgg19(store)
    assert resolved(SMALL, tmp_path) == ("vgg19", str(path))


def test_weights_that_come_later_do_not_change_a_training_that_is_there(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    begun = Manifest(
        v2vkit="0", stage="train", stage_version=1, config={"perceptual": "off"}, inputs={}, fingerprint="0"
    )
    (folder / PARTIAL).write_text(begun.model_dump_json())
    put_vgg19(store)
    assert resolved(SMALL, folder) == ("off", None)
    assert resolved(SMALL.model_copy(update={"perceptual": "vgg19"}), folder)[0] == "vgg19"


def test_overwrite_chooses_again_with_the_weights_that_came_later(store: Path, tmp_path: Path) -> None:
    options = RunOptions(work=str(tmp_path))
    folder = tmp_path / "checkpoints" / "pix2pixhd"
    folder.mkdir(parents=True)
    done = Manifest(
        v2vkit="0", stage="train", stage_version=1, config={"perceptual": "off"}, inputs={}, fingerprint="0"
    )
    (folder / MANIFEST).write_text(done.model_dump_json())
    path = put_vgg19(store)
    config = TrainConfig(method="pix2pixhd", domain="street")

    def network(config: TrainConfig, **changes: bool) -> tuple[str, str | None]:
        found: Any = resolved_config(TRAIN, config, replace(options, **changes))
        return found.losses.perceptual, found.losses.perceptual_weights

    assert network(config) == ("off", None)
    assert network(config, overwrite=True) == ("vgg19", str(path))
    assert network(config.model_copy(update={"perceptual": "off"}), overwrite=True) == ("off", None)
    assert network(config.model_copy(update={"method": "predictor"}), overwrite=True)[1] is None


def test_a_network_without_weights_is_refused_with_the_command_that_fetches_them(tmp_path: Path) -> None:
    with raises("weights-missing", "v2v weights fetch vgg19"):
        resolved(SMALL.model_copy(update={"perceptual": "vgg19"}), tmp_path)


def test_weights_alone_mean_vgg19_and_without_a_weight_there_is_no_network(tmp_path: Path) -> None:
    given = {"perceptual_weights": "vgg.pth"}
    assert resolved(SMALL.model_copy(update=given), tmp_path) == ("vgg19", "vgg.pth")
    off = {"perceptual": "lite0", "lambda_perceptual": 0.0}
    assert resolved(SMALL.model_copy(update=off), tmp_path) == ("off", None)


def test_every_network_is_in_the_registry_of_weights_and_can_be_named() -> None:
    from v2vkit.weights.registry import known

    for name in NETWORKS:
        assert known(name)
        assert perceptual_class(name).min_side
        assert TrainConfig(perceptual=name).losses.perceptual == name
