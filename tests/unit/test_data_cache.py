"""What stays in memory between epochs: what augmentation works on, or the maps as they are."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.errors import raises
from tests.faces import face_landmarks
from tests.unit.training_data import SMALL, files_read, make_workspace, open_dataset
from v2vkit.artifacts.images import encode_png
from v2vkit.artifacts.manifest import ClipInfo
from v2vkit.conditions.augment import Change, draw_affine
from v2vkit.conditions.conditioning import conditioning_of
from v2vkit.conditions.landmarks import landmarks_to_json
from v2vkit.training.data.batch import stack, to_device
from v2vkit.training.data.dataset import VideoDataset
from v2vkit.training.data.loader import clip_sampler, load_batch
from v2vkit.training.data.sampler import Window
from v2vkit.training.methods.frames import video_schedule

CHANGE = Change(draw_affine(np.random.default_rng(1), 1.0, (64, 64)))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_workspace(tmp_path_factory.mktemp("cache") / "work").work


class Faces:
    """A reader of one clip of a face, 64x64 pixels, without flow; counts what is read."""

    clips = (ClipInfo(name="a", num_frames=3, width=64, height=64),)

    def __init__(self, side: int = 64) -> None:
        self.num_read, self._side = 0, side

    def frame(self, clip: str, t: int) -> np.ndarray:
        self.num_read += 1
        return np.random.default_rng(t).integers(0, 256, (64, 64, 3), dtype=np.uint8)

    def annotation_files(self, condition: Any, clip: str, t: int, *uses: str) -> dict[str, bytes]:
        self.num_read += 1
        sketch = np.zeros((self._side, self._side), np.uint8)
        found = landmarks_to_json(face_landmarks(32, 30, 30), found=True, size=(64, 64), estimator="fake 1")
        files = {"json": found, "sketch.png": encode_png(sketch)}
        return {name: files[name] for use in uses for name in condition.reads[use]}


def of_faces(reader: Any) -> VideoDataset:
    return VideoDataset(reader, conditioning_of("face"), strides=())


def test_augmentation_keeps_the_frame_and_the_annotation_but_no_map() -> None:
    reader = Faces()
    dataset = of_faces(reader)
    first = dataset.load(Window(0, 0, 3), change=CHANGE)
    files = sum(map(len, reader.annotation_files(dataset.source.conditions[0], "a", 0, "augment").values()))
    assert first.s.shape[:2] == (3, 15)
    assert dataset.cached_bytes == 3 * (64 * 64 * 3 + files)
    assert files < 64 * 64
    read = reader.num_read
    again = dataset.load(Window(0, 0, 3), change=CHANGE)
    assert reader.num_read == read
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.s, again.s)


def test_every_augmentation_begins_with_what_is_on_disk() -> None:
    dataset, fresh = of_faces(Faces()), of_faces(Faces())
    other = Change(draw_affine(np.random.default_rng(2), 1.0, (64, 64)))
    dataset.load(Window(0, 0, 3), change=CHANGE)
    assert torch.equal(dataset.load(Window(0, 0, 3), change=other).s, fresh.load(Window(0, 0, 3), change=other).s)


@pytest.mark.parametrize("changes", [{}, {"augment": 1.0}, {"augment": 1.0, "max_frame_stride": 2}])
@pytest.mark.parametrize("downsamplings", [0, 1])
def test_a_second_epoch_reads_no_file(work: str, changes: dict[str, Any], downsamplings: int) -> None:
    config = SMALL.model_copy(update={**changes, "batch_size": 2})
    dataset = open_dataset(work, downsamplings=downsamplings)
    sampler = clip_sampler(config, dataset.reader.clips, schedule=video_schedule(config), context=2)
    read = files_read(dataset)
    for _ in range(2):
        for plan in sampler.batches(1):
            load_batch(config.model_copy(update={"seed": len(read)}), dataset, plan)  # augmented otherwise each time
    in_all = len(read)
    for plan in sampler.batches(1):
        load_batch(config, dataset, plan)
    assert len(set(read)) == len(read) == in_all > 0


@pytest.mark.parametrize("change", [None, CHANGE])
def test_maps_of_another_size_than_their_frames_are_refused(work: str, change: Change | None) -> None:
    dataset = open_dataset(work)
    large = np.zeros((48, 64, 3), np.uint8)
    dataset.reader.frame = lambda clip, t: large  # type: ignore[method-assign]
    with raises("size-mismatch", "clip-0000/000001", "64x48", "32x24"):
        dataset.load(Window(0, 1, 1), change=change)


def test_compact_tensors_become_the_same_floats(work: str) -> None:
    plain, compact = open_dataset(work), open_dataset(work)
    compact.compact = True
    for flip in (False, True):
        small = compact.load(Window(0, 1, 3), flip=flip)
        assert small.x.dtype == small.s.dtype == torch.uint8
        floats = to_device(small, torch.device("cpu"))
        expected = plain.load(Window(0, 1, 3), flip=flip)
        assert torch.equal(floats.x, expected.x)
        assert torch.equal(floats.s, expected.s)


def test_a_sequence_alone_becomes_a_batch_laid_out_like_several(work: str) -> None:
    """Without a copy, and with the strides that `torch.stack` gives: sums on a CPU depend on them."""
    one = open_dataset(work).load(Window(0, 1, 3))
    alone, expected = stack([one]), torch.stack([one.x])
    assert alone.x.data_ptr() == one.x.data_ptr()
    assert torch.equal(alone.x, expected)
    assert alone.x.stride() == expected.stride()
    assert alone.flow[1].stride() == torch.stack([one.flow[1]]).stride()
