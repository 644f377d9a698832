"""Labels in, frames out: those of `v2v render`; what is no label map gets a sentence."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.errors import raises
from tests.unit.ingesting import write_images
from tests.unit.library_models import LABELS, OBJECTS, assert_same, rendered_frames
from v2vkit import LabelMap, Model, People

GIVEN: dict[str, Callable[[], Any]] = {
    "numpy": lambda: np.stack(LABELS),
    "other whole numbers": lambda: np.stack(LABELS).astype(np.int64),
    "torch": lambda: torch.from_numpy(np.stack(LABELS)),
    "a list": lambda: LABELS,
    "a generator of tensors": lambda: (torch.from_numpy(labels).int() for labels in LABELS),
    "typed": lambda: [LabelMap(labels) for labels in LABELS],
    "typed, with a tensor": lambda: [LabelMap(torch.from_numpy(labels)) for labels in LABELS],
    "a dict of arrays": lambda: {"labels": np.stack(LABELS)},
    "dicts": lambda: [{"labels": labels} for labels in LABELS],
}


@pytest.mark.parametrize("form", GIVEN)
def test_labels_give_the_frames_of_render(street: Model, tmp_path: Path, form: str) -> None:
    source = write_images(tmp_path / "labels", LABELS)
    assert_same(street.generate(GIVEN[form]()), rendered_frames(source, street, tmp_path / "out"))


def test_objects_give_the_frames_of_render(street: Model, tmp_path: Path) -> None:
    source, objects = write_images(tmp_path / "labels", LABELS), write_images(tmp_path / "objects", OBJECTS)
    wanted = rendered_frames(source, street, tmp_path / "out", instances=str(objects))
    assert_same(street.generate(map(LabelMap, LABELS, OBJECTS)), wanted)
    assert_same(street.render(source, instances=objects), wanted)
    assert not np.array_equal(list(street.generate(LABELS)), wanted)


def test_a_stream_is_taken_frame_by_frame(street: Model) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield LABELS[taken % 4]

    frames = street.generate(endless())
    assert taken == 0
    for number in range(1, 4):
        assert next(frames).shape == (48, 64, 3)
        assert taken == number
    assert list(street.generate([])) == []


def test_every_call_begins_a_shot(street: Model) -> None:
    first, again = (list(street.generate(LABELS)) for _ in range(2))
    assert_same(first, again)
    assert not np.array_equal(next(street.generate(LABELS[1:])), first[1])


def test_a_loaded_model_states_size_rate_and_conditions(street: Model) -> None:
    assert street.size == (64, 48)
    assert str(street.size) == "64x48"
    assert street.fps == 25
    assert [condition.name for condition in street.conditions] == ["labels"]
    assert street.info.stage == "spatial-1"
    assert repr(street) == "Model(spatial-1, labels, 64x48, cpu)"


@pytest.mark.parametrize(
    ("annotations", "code", "names"),
    [
        ("in.mp4", "annotation-mismatch", ["'in.mp4'", "model.render"]),
        (None, "annotation-mismatch", ["NoneType"]),
        (np.uint8(3), "annotation-mismatch", ["uint8"]),
        ({"labels": LABELS, "depth": LABELS}, "condition-mismatch", ["'labels', 'depth'"]),
        ([{}], "condition-mismatch", ["Frame 0", "labels"]),
        (LABELS[0], "array-mismatch", ["Frame 0", "[64]", "[H, W]"]),
        (np.zeros((2, 5, 48, 64), np.uint8), "array-mismatch", ["Frame 0", "[5, 48, 64]"]),
        ([LABELS[0], LABELS[1][:40]], "size-mismatch", ["Frame 1", "64x40", "64x48"]),
        (np.zeros((1, 48, 64), np.float32), "array-mismatch", ["Frame 0", "float32"]),
        (np.zeros((1, 48, 64), bool), "array-mismatch", ["Frame 0", "bool"]),
        (np.full((1, 48, 64), 5), "label-id-out-of-range", ["Frame 0", "id 5"]),
        (np.full((1, 48, 64), 261), "id-out-of-range", ["Frame 0", "261", "0 to 255"]),
        (np.full((1, 48, 64), -1), "id-out-of-range", ["Frame 0", "-1"]),
        ([LabelMap(LABELS[0], OBJECTS[0][:40])], "size-mismatch", ["Frame 0", "64x40"]),
        ([LabelMap(LABELS[0], OBJECTS[0] / 2)], "array-mismatch", ["Frame 0", "float64"]),
        ([LabelMap("x")], "array-mismatch", ["Frame 0", "str"]),  # type: ignore[arg-type]
        ([People((), (64, 48))], "annotation-mismatch", ["Frame 0", "People", "LabelMap"]),
        ([None], "annotation-mismatch", ["Frame 0", "None"]),
    ],
    ids=str,
)
def test_an_array_that_is_no_label_map_is_a_user_error(
    street: Model, annotations: Any, code: str, names: list[str]
) -> None:
    with raises(code, *names):
        list(street.generate(annotations))


def test_columns_of_different_lengths(street: Model) -> None:
    frames = street.generate(LABELS, frames=np.zeros((2, 48, 64, 3), np.uint8))
    assert len([next(frames), next(frames)]) == 2
    with raises("frame-count-mismatch", "frames", "annotations", "2"):
        next(frames)
