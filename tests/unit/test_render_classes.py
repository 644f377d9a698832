"""Label maps of another class table than that of training: `render --classes`, `--remap`."""

from pathlib import Path

import numpy as np
import pytest

from tests.errors import raises
from tests.unit.conftest import Command
from tests.unit.ingesting import write_images
from tests.unit.rendering import render, save_untrained
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.classes.remap import remapped_table
from v2vkit.classes.table import built_in, find_table
from v2vkit.inference.load import load
from v2vkit.inference.sources import open_source, source_kind

CARLA, CITYSCAPES = built_in("carla"), built_in("cityscapes")
ROAD, PEDESTRIAN, CAR = (CARLA.id_of(name) for name in ("road", "pedestrian", "car"))

_REMAP = """
classes = [
  { id = 7, name = "road", merges = ["road", "road line"] },
  { id = 24, name = "person", merges = ["pedestrian"] },
  { id = 26, name = "car", merges = ["car", "truck"] },
]
"""


def _model(work: Path, **changes: object) -> ModelInfo:
    maps = {"num_labels": CITYSCAPES.num_labels, "classes": CITYSCAPES.plain()}
    return save_untrained(work, "street", size=(64, 48), maps=maps, frames={"crop": "none", "fps": "25"}, **changes)


def _raw(folder: Path, count: int = 3) -> Path:
    """What CARLA saves: the tag in red, here road, a pedestrian and a car; green and blue hold the instance."""
    images = []
    for t in range(count):
        image = np.zeros((48, 64, 3), np.uint8)
        image[..., 0] = ROAD
        image[10:20, 4 + t : 12 + t] = (PEDESTRIAN, 7, 1)
        image[20:40, 30:50] = (CAR, 9, 0)
        images.append(image)
    return write_images(folder, images)


def test_classes_of_one_name_are_the_same_and_the_others_are_told(tmp_path: Path) -> None:
    info, folder = _model(tmp_path), _raw(tmp_path / "raw")
    source = open_source(str(folder), info, classes=CARLA)
    labels = [frame.annotations[0].labels for frame in source.frames()]
    assert source.note is not None
    assert "pedestrian" in source.note
    assert "car," not in source.note
    assert set(np.unique(labels[0])) == {CITYSCAPES.id_of("road"), CITYSCAPES.id_of("car"), 255}
    assert (labels[2][10:20, 6:14] == 255).all(), "pedestrians have no namesake"


def test_a_remap_says_what_becomes_of_the_others(tmp_path: Path) -> None:
    info, folder = _model(tmp_path), _raw(tmp_path / "raw")
    (tmp_path / "remap.toml").write_text(_REMAP)
    remap = find_table(str(tmp_path / "remap.toml"))
    source = open_source(str(folder), info, classes=CARLA, remap=remap, instances=str(folder))
    annotation = next(iter(source.frames())).annotations[0]
    assert source.note is None
    assert set(np.unique(annotation.labels)) == {7, 24, 26}
    assert set(np.unique(annotation.instances)) == {0, 9, 7 + 256}, "instances are in green and blue"


def test_classes_of_a_model_that_merged_its_own_are_meant(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('classes = [{ id = 0, name = "vehicle", merges = ["car", "bus"] }]')
    own = find_table(str(tmp_path / "own.toml"))
    merged = remapped_table(own, CITYSCAPES)
    frames = {"crop": "none", "fps": "25", "classes": CITYSCAPES.plain(), "remap": own.plain()}
    maps = {"num_labels": 1, "classes": merged.plain()}
    info = save_untrained(tmp_path, "street", size=(64, 48), maps=maps, frames=frames)
    folder = _raw(tmp_path / "raw")
    with raises("class-unknown", "vehicle", "--remap"):
        open_source(str(folder), info, classes=CARLA)
    remap = own.model_copy(update={"classes": (own.classes[0].model_copy(update={"merges": ("car",)}),)})
    labels = next(iter(open_source(str(folder), info, classes=CARLA, remap=remap).frames())).annotations[0].labels
    assert (labels[20:40, 30:50] == 0).all()
    assert (labels[:10] == 255).all()


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    info, folder = _model(tmp_path), _raw(tmp_path / "raw")
    (tmp_path / "wrong.toml").write_text('classes = [{ id = 7, name = "street", merges = ["road"] }]')
    wrong = find_table(str(tmp_path / "wrong.toml"))
    with raises("class-unknown", "'street'", "7 road"):
        open_source(str(folder), info, classes=CARLA, remap=wrong)
    nameless = save_untrained(tmp_path / "nameless", "street", maps={"num_labels": 12})
    with raises("class-table-required", "names of its labels"):
        open_source(str(folder), nameless, classes=CARLA)
    with pytest.raises(ValueError, match="--remap needs --classes"):
        render(folder, tmp_path / "out.mp4", tmp_path, remap=wrong)
    with raises("setting-unused", "--classes"):
        render(tmp_path, tmp_path / "out.mp4", tmp_path, classes=CARLA, maps=True)
    assert not (tmp_path / "out.mp4").exists()


def test_pictures_in_colours_are_label_maps_where_a_table_is_given(tmp_path: Path) -> None:
    maps = {"num_labels": CITYSCAPES.num_labels, "classes": CITYSCAPES.plain()}
    info = save_untrained(tmp_path, "street", maps=maps, maps_stage="segment")
    folder = _raw(tmp_path / "raw")
    assert source_kind(str(folder), info) == "pictures"
    assert source_kind(str(folder), info, labels=True) == "labels"


def test_the_command_and_the_library(tmp_path: Path, command: Command) -> None:
    _model(tmp_path)
    folder = _raw(tmp_path / "raw")
    flags = ("--classes", "carla", "--keep-names", "--work", tmp_path, "--device", "cpu", "--threads", 1)
    code, output = command("render", folder, f"{tmp_path}/out/", *flags)
    assert code == 0, output
    assert "Classes of carla that the model does not have become 255" in output
    assert len(list((tmp_path / "out").glob("*.png"))) == 3
    with pytest.warns(UserWarning, match="Classes of carla"):
        frames = list(load(tmp_path, device="cpu").render(folder, classes="carla"))
    assert len(frames) == 3


def test_a_rendering_is_continued_with_the_same_classes(tmp_path: Path, command: Command) -> None:
    _model(tmp_path)
    folder, state = _raw(tmp_path / "raw"), tmp_path / "state"
    flags = ("--work", tmp_path, "--device", "cpu", "--threads", 1)
    first = ("--classes", "carla", "--max-frames", 1, "--save-state", state)
    code, output = command("render", folder, f"{tmp_path}/one/", *first, *flags)
    assert code == 0, output
    (tmp_path / "remap.toml").write_text(_REMAP)
    same = ("--classes", "carla", "--resume-state", state)
    code, output = command("render", folder, f"{tmp_path}/two/", *same, "--remap", tmp_path / "remap.toml", *flags)
    assert code == 1
    assert "[state-mismatch]" in output
    assert "--remap" in output
    code, output = command("render", folder, f"{tmp_path}/two/", *same, *flags)
    assert code == 0, output
    assert len(list((tmp_path / "two").glob("*.png"))) == 2


def test_maps_with_the_tag_in_red_name_their_table(tmp_path: Path) -> None:
    frames = {"crop": "none", "fps": "25", "classes": CITYSCAPES.plain()}
    maps = {"num_labels": CITYSCAPES.num_labels, "classes": CITYSCAPES.plain()}
    info = save_untrained(tmp_path, "street", size=(64, 48), maps=maps, frames=frames)
    tags = np.zeros((48, 64, 3), np.uint8)
    tags[..., 0] = ROAD
    with raises("label-colour-unknown", "--classes carla"):
        open_source(str(write_images(tmp_path / "raw", [tags])), info)
