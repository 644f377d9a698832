"""Shot cuts: where they are, and where there are none."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from skimage import data

from tests.shared_data import SHARED, needs_shared
from v2vkit.video.cuts import DETECTION_SIDE, find_cuts
from v2vkit.video.decode import decode


def pan(photo: np.ndarray, count: int) -> list[np.ndarray]:
    return [photo[20:164, 2 * i : 2 * i + 192] for i in range(count)]


SHOTS = {"astronaut": data.astronaut, "cat": data.chelsea, "coffee": data.coffee}


@pytest.mark.parametrize("method", ["adaptive", "content"])
@pytest.mark.parametrize("lengths", [(20, 30), (12, 9, 25), (40, 15, 20)])
def test_cuts_are_found_at_the_exact_frame(method, lengths):
    shots = [pan(photo(), length) for photo, length in zip(SHOTS.values(), lengths, strict=False)]
    expected = [int(sum(lengths[: i + 1])) for i in range(len(lengths) - 1)]
    assert find_cuts((image for shot in shots for image in shot), method=method) == expected


@pytest.mark.parametrize("method", ["adaptive", "content"])
def test_one_shot_has_no_cuts(method):
    assert find_cuts(pan(data.astronaut(), 60), method=method) == []


@pytest.mark.parametrize("count", [0, 1, 2])
def test_nearly_no_frames_have_no_cuts(count):
    assert find_cuts(pan(data.astronaut(), count), method="adaptive", fps=Fraction(30000, 1001)) == []


def test_none_finds_nothing_but_takes_every_frame():
    taken = []
    images = (taken.append(i) or image for i, image in enumerate(pan(data.astronaut(), 5) + pan(data.coffee(), 5)))
    assert find_cuts(images, method="none") == []
    assert taken == list(range(10))


@needs_shared
@pytest.mark.parametrize(
    "name", ["face/talk_a.mp4", "face/expr_c.mp4", "pose/dance_a.mp4", "street/dashcam_city_a.mp4"]
)
def test_real_single_shots_are_not_cut(name):
    frames = (frame.image for frame in decode(SHARED / "real" / name, long_side=DETECTION_SIDE))
    assert find_cuts(frames) == []


@needs_shared
def test_two_real_clips_in_a_row_are_cut_between():
    names = ["face/grid_talker_a_1.mp4", "face/talk_b.mp4"]
    frames = (frame for name in names for frame in decode(SHARED / "real" / name, 0, 75, long_side=DETECTION_SIDE))
    assert find_cuts(cv2.resize(frame.image, (256, 256)) for frame in frames) == [75]
