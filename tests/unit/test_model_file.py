"""The model file: damage, descriptions read alone, files of newer versions, and how checkpoints are named."""

import json
import shutil
import struct
from pathlib import Path

import pytest

from tests.errors import raises
from tests.unit.rendering import save_untrained
from tests.unit.training_data import SMALL, make_workspace
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, PARTIAL
from v2vkit.checkpoint.find_model import find_model
from v2vkit.checkpoint.model_file import MODEL, load_model, read_info
from v2vkit.checkpoint.model_info import FORMAT
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.check import COMMAND as CHECK
from v2vkit.stages.check import CheckConfig
from v2vkit.stages.evaluate import COMMAND as EVALUATE
from v2vkit.stages.evaluate import EvaluateConfig
from v2vkit.stages.train import STAGE as TRAIN

TRAINING = SMALL.model_copy(update={"epochs": 1, "decay": 0.0})


class Counting(Folder):
    """Counts the bytes that are read."""

    num_read = 0

    def read(self, name: str, start: int | None = None, stop: int | None = None) -> bytes:
        data = super().read(name, start, stop)
        self.num_read += len(data)
        return data


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "work"
    run(TRAIN, TRAINING, make_workspace(path, num_clips=1, clip_frames=6))
    return path


@pytest.fixture
def work(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "work"))


def _damage(path: Path) -> bytes:
    """Flip a bit of the last weight; gives the whole file."""
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    return whole


def test_a_flipped_bit_is_noticed_by_all_who_use_the_weights(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, options = work / "checkpoints/spatial-1" / MODEL, RunOptions(work=str(work))
    whole = _damage(model)
    with raises("artifact-damaged", "spatial-1/model.safetensors"):
        load_model(Folder(str(model.parent)))
    with raises("artifact-damaged", "spatial-1/model.safetensors"):
        EVALUATE.call(EvaluateConfig(data=str(work), device="cpu"), options)
    finer = TRAINING.model_copy(update={"start_from": str(model.parent)})
    other = RunOptions(work=str(work.parent / "other"))
    shutil.copytree(work, other.work, ignore=shutil.ignore_patterns("checkpoints"))
    with raises("artifact-damaged", "spatial-1/model.safetensors"):
        run(TRAIN, finer, other)
    assert not (Path(other.work) / "checkpoints").exists()
    (problem,) = CHECK.call(CheckConfig(), options)
    assert "model.safetensors is damaged" in problem
    assert "`v2v train`" in problem
    model.unlink()
    run(TRAIN, TRAINING, options)  # as advised: the snapshot holds the same weights
    assert model.read_bytes() == whole
    capsys.readouterr()
    assert CHECK.call(CheckConfig(), options) == []
    assert "checkpoints/spatial-1: model.safetensors\n" in capsys.readouterr().out


def test_a_lost_model_is_told_by_check(work: Path) -> None:
    (work / "checkpoints/spatial-1" / MODEL).unlink()
    (problem,) = CHECK.call(CheckConfig(), RunOptions(work=str(work)))
    assert "model.safetensors is missing" in problem


def test_a_model_without_a_finished_manifest_is_taken_as_it_is(work: Path, tmp_path: Path) -> None:
    folder = work / "checkpoints/spatial-1"
    _damage(folder / MODEL)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(folder / MODEL, alone)
    load_model(Folder(str(alone)))
    (folder / MANIFEST).rename(folder / PARTIAL)  # training is at work
    load_model(Folder(str(folder)))
    assert CHECK.call(CheckConfig(), RunOptions(work=str(work))) == []


def test_a_description_is_read_without_the_weights(tmp_path: Path) -> None:
    info = save_untrained(tmp_path, "face")
    folder = Counting(f"{tmp_path}/checkpoints/spatial-1")
    assert read_info(folder) == info
    header = int.from_bytes(folder.read(MODEL, 0, 8), "little")
    assert folder.num_read == 8 + header + 8
    assert folder.num_read < folder.size(MODEL) / 2


@pytest.mark.parametrize("length", [0, 1 << 30, (1 << 64) - 1])
def test_a_header_that_lies_about_its_length_is_refused(tmp_path: Path, length: int) -> None:
    (tmp_path / MODEL).write_bytes(struct.pack("<Q", length) + b"{}" * 100)
    folder = Counting(str(tmp_path))
    with raises("model-damaged", MODEL):
        read_info(folder)
    assert folder.num_read == 8
    with raises("model-damaged", MODEL):
        load_model(folder)


def _rewrite(path: Path, section: str | None, **changes: object) -> None:
    """Change the description in a model file, or a section of it."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    info = json.loads(header["__metadata__"]["v2vkit"])
    (info if section is None else info[section]).update(changes)
    header["__metadata__"]["v2vkit"] = json.dumps(info)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


@pytest.mark.parametrize(
    ("section", "changes"),
    [
        (None, {"format": FORMAT + 1}),
        (None, {"aura": 1}),
        ("network", {"aura": 1}),
        (None, {"conditioning": [{"name": "face", "aura": 1}]}),
        (None, {"conditioning": [{"name": "aura"}]}),
        (None, {"origins": [{"stage": "make-sketches", "aura": 1}]}),
        (None, {"placement": {"x": 1, "y": 1, "size": 1, "aura": 1}}),
    ],
)
def test_a_model_of_a_newer_version_says_so(tmp_path: Path, section: str | None, changes: dict[str, object]) -> None:
    save_untrained(tmp_path, "face")
    folder = Folder(f"{tmp_path}/checkpoints/spatial-1")
    _rewrite(tmp_path / "checkpoints/spatial-1" / MODEL, section, **changes)
    for read in (load_model, read_info):
        with raises("version-too-new", MODEL, "pip install -U v2vkit"):
            read(folder)


def test_a_model_of_an_older_version_says_so(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face")
    folder = Folder(f"{tmp_path}/checkpoints/spatial-1")
    _rewrite(tmp_path / "checkpoints/spatial-1" / MODEL, None, format=1, source={"domain": "face"}, maps={})
    for read in (load_model, read_info):
        with raises("version-too-old", MODEL, "--overwrite"):
            read(folder)


@pytest.mark.parametrize(
    ("section", "changes"),
    [
        ("network", {"width": -1}),
        (None, {"format": "one"}),
        (None, {"conditioning": [{"name": "pose", "stroke": "wide"}]}),
        (None, {"conditioning": []}),
        (None, {"conditioning": ["face"]}),
        (None, {"origins": [{"stage": "make-sketches", "settings": {"smooth": 10**9}}]}),
        (None, {"origins": []}),
        ("frames", {"fps": "0/0"}),
    ],
)
def test_nonsense_is_not_taken_for_a_newer_version(
    tmp_path: Path, section: str | None, changes: dict[str, object]
) -> None:
    save_untrained(tmp_path, "face")
    _rewrite(tmp_path / "checkpoints/spatial-1" / MODEL, section, **changes)
    with raises("model-damaged", MODEL):
        read_info(Folder(f"{tmp_path}/checkpoints/spatial-1"))


def test_a_checkpoint_is_found_by_every_name_that_is_printed(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face")
    work = Folder(str(tmp_path))
    place = f"{tmp_path}/checkpoints/spatial-1"
    for name in (None, "spatial-1", "checkpoints/spatial-1", "checkpoints/spatial-1/", place):
        assert find_model(work, name).url == place
    (tmp_path / "checkpoints/image").mkdir()  # without a model
    (tmp_path / "checkpoints/notes.txt").write_text("")
    with raises("model-missing", "checkpoints/spatial-2", "spatial-1"):
        find_model(work, "checkpoints/spatial-2")
    with raises("model-missing", "image", "v2v train"):
        find_model(Folder(str(tmp_path / "none")), "image")
