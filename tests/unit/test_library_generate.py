"""Labels in, frames out: those of `v2v render`; what is no label map gets a sentence."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.ingesting import write_images
from tests.unit.library_models import LABELS, OBJECTS, assert_same, rendered_frames
from v2vkit import LabelMap, Model, People, V2VError

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


def test_what_a_model_tells(street: Model) -> None:
    assert street.size == (64, 48)
    assert str(street.size) == "64x48"
    assert street.fps == 25
    assert [condition.name for condition in street.conditions] == ["labels"]
    assert street.info.stage == "spatial-1"
    assert repr(street) == "Model(spatial-1, labels, 64x48, cpu)"


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ("in.mp4", r"'in.mp4' is a path, not annotations\. Use `model\.render`"),
        (None, "NoneType is not a sequence of frames"),
        (np.uint8(3), "is not a sequence of frames"),
        ({"labels": LABELS, "depth": LABELS}, "conditioned on labels; given are 'labels', 'depth'"),
        ([{}], "Frame 0: The model is conditioned on labels; given are nothing"),
        (LABELS[0], r"Frame 0: A label map has the shape \[64\]\. Give \[H, W\] for a frame, \[T, H, W\]"),
        (np.zeros((2, 5, 48, 64), np.uint8), r"Frame 0: A label map has the shape \[5, 48, 64\]"),
        ([LABELS[0], LABELS[1][:40]], "Frame 1: A label map is 64x40; the model takes 64x48"),
        (np.zeros((1, 48, 64), np.float32), "Frame 0: A label map holds float32 numbers; ids are whole numbers"),
        (np.zeros((1, 48, 64), bool), "Frame 0: A label map holds bool numbers"),
        (np.full((1, 48, 64), 5), "Frame 0: A label map holds id 5, but the model knows 5 labels"),
        (np.full((1, 48, 64), 261), "Frame 0: A label map holds id 261. Ids are 0 to 255"),
        (np.full((1, 48, 64), -1), "Frame 0: A label map holds id -1"),
        ([LabelMap(LABELS[0], OBJECTS[0][:40])], "Frame 0: An instance map is 64x40"),
        ([LabelMap(LABELS[0], OBJECTS[0] / 2)], "Frame 0: An instance map holds float64"),
        ([LabelMap("x")], "Frame 0: A label map is a str, not an array"),  # type: ignore[arg-type]
        ([People((), (64, 48))], "Frame 0: What is given for labels is a People. Give a LabelMap, or label ids"),
        ([None], "Frame 0: What is given for labels is None"),
    ],
    ids=str,
)
def test_what_is_no_label_map_gets_a_sentence(street: Model, annotations: Any, message: str) -> None:
    with pytest.raises(V2VError, match=message):
        list(street.generate(annotations))


def test_columns_of_different_lengths(street: Model) -> None:
    frames = street.generate(LABELS, frames=np.zeros((2, 48, 64, 3), np.uint8))
    assert len([next(frames), next(frames)]) == 2
    with pytest.raises(V2VError, match="frames ended after 2 frames; annotations goes on"):
        next(frames)
