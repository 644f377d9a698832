"""Frames through an estimator: in order, several at once, only so far ahead."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from v2vkit.artifacts.manifest import ClipInfo
from v2vkit.pipeline.stage import Clip
from v2vkit.stages.run_estimator import estimate_frames, frames_together


class CountedClip(Clip):
    """A clip whose frames hold their number."""

    def __init__(self, length: int, width: int = 4, height: int = 3):
        super().__init__(ClipInfo(name="a", num_frames=length, width=width, height=height), {})
        self.drawn: list[int] = []
        self._lock = threading.Lock()

    def frame(self, t: int) -> np.ndarray:
        with self._lock:
            self.drawn.append(t)
        return np.full((self.info.height, self.info.width, 3), t, np.uint8)


class Together:
    """An estimator that takes several images."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, image: np.ndarray) -> int:
        return self.batch([image])[0]

    def batch(self, images: Sequence[np.ndarray]) -> list[int]:
        self.sizes.append(len(images))
        return [int(image[0, 0, 0]) * 10 for image in images]


@pytest.mark.parametrize("length", [1, 7, 8, 9, 50])
def test_every_frame_is_given_in_order_with_its_result(length: int) -> None:
    estimators = [Together(), Together()]
    estimated = list(estimate_frames(CountedClip(length), estimators))
    assert [int(image[0, 0, 0]) for image, _ in estimated] == list(range(length))
    assert [result for _, result in estimated] == [10 * t for t in range(length)]
    sizes = [size for estimator in estimators for size in estimator.sizes]
    assert sum(sizes) == length
    assert len(sizes) == -(-length // 8), "eight at once, and the rest"


def test_an_estimator_that_takes_one_image_is_called_for_each() -> None:
    estimated = estimate_frames(CountedClip(20), [lambda image: int(image[0, 0, 0]) + 1])
    assert [result for _, result in estimated] == list(range(1, 21))


def test_frames_are_drawn_only_so_far_ahead() -> None:
    clip = CountedClip(200)
    estimated = estimate_frames(clip, [Together(), Together()])
    next(estimated)
    estimated.close()
    assert len(clip.drawn) <= 4 * 8


def test_few_large_frames_go_together() -> None:
    assert frames_together(CountedClip(1, 512, 512)) == 8
    assert frames_together(CountedClip(1, 2048, 1024)) == 5
    assert frames_together(CountedClip(1, 3840, 2160)) == 1
    assert frames_together(CountedClip(1, 9000, 9000)) == 1
    estimator = Together()
    list(estimate_frames(CountedClip(7, 2048, 1024), [estimator]))
    assert estimator.sizes == [5, 2]


def test_errors_of_the_estimator_are_raised_where_it_is_used() -> None:
    def fail(image: np.ndarray) -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(estimate_frames(CountedClip(20), [fail, fail]))
