"""Shot cuts: where they are, and where there are none."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector
from skimage import data

from tests.shared_data import SHARED, needs_shared
from v2vkit.video.cuts import DETECTION_SIDE, find_cuts, number_shots
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


def test_method_none_finds_no_cuts_and_reads_every_frame():
    taken = []
    images = (taken.append(i) or image for i, image in enumerate(pan(data.astronaut(), 5) + pan(data.coffee(), 5)))
    assert find_cuts(images, method="none") == []
    assert taken == list(range(10))


def restless(seed: int, count: int = 120) -> list[np.ndarray]:
    """Shots and flashes of all lengths, flat pictures of colours more or less alike."""
    draw = np.random.default_rng(seed)
    frames: list[np.ndarray] = []
    while len(frames) < count:
        colour = draw.integers(0, 256, 3) // int(draw.choice([1, 4]))
        noise = draw.integers(0, int(draw.choice([2, 30])), (24, 32, 3))
        frames += [np.clip(colour + noise, 0, 255).astype(np.uint8)] * int(draw.choice([1, 1, 2, 3, 4, 5, 9]))
    return frames[:count]


@pytest.mark.parametrize(
    ("method", "detector", "late"), [("adaptive", AdaptiveDetector, 2), ("content", ContentDetector, 4)]
)
def test_frames_are_delayed_only_as_long_as_a_cut_may_be_reported(method, detector, late):
    """Against the detectors themselves, which see everything before anybody asks."""
    found_any = 0
    for seed in range(12):
        frames = restless(seed)
        whole, cuts = detector(min_scene_len=4), set()
        for number, frame in enumerate(frames):
            found = whole.process_frame(FrameTimecode(number, 25.0), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            cuts.update(cut.frame_num for cut in found)
        taken = []
        pairs = ((number, taken.append(number) or frame) for number, frame in enumerate(frames))
        shots = []
        for number, shot in number_shots(pairs, method=method):
            shots.append(shot)
            assert number == len(shots) - 1
            assert len(taken) == min(number + late + 1, len(frames))
        assert shots == [sum(cut <= number for cut in cuts) for number in range(len(frames))]
        found_any += len(cuts)
    assert found_any > 12


@pytest.mark.parametrize("method", ["adaptive", "content"])
def test_large_pictures_are_compared_as_small_ones(method):
    shots = [pan(photo(), 15) for photo in SHOTS.values()]
    large = (cv2.resize(image, (1000, 750)) for shot in shots for image in shot)
    assert find_cuts(large, method=method) == [15, 30]


def test_method_none_does_not_delay_frames():
    frames = iter(enumerate(pan(data.astronaut(), 5) + pan(data.coffee(), 5)))
    for expected, (number, shot) in enumerate(number_shots(frames, method="none")):
        assert (number, shot) == (expected, 0)
    assert expected == 9


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
