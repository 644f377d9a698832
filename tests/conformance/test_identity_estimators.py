"""What every estimator of identity does; with dlib's weights, where they are in the store."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.faces import photo
from tests.shared_data import SHARED, needs_shared
from v2vkit import weights
from v2vkit.estimators.base import FaceEstimator, IdentityEstimator
from v2vkit.estimators.registry import open_estimator, rows_of
from v2vkit.evaluation.metrics.identity_distance import SAME_PERSON, embedding, identity_distance

CASES = {"dlib": "dlib-face-id"}
"""Estimator -> its weights in the store."""


@pytest.fixture(scope="module", params=list(CASES))
def estimator(request: pytest.FixtureRequest) -> IdentityEstimator:
    pytest.importorskip(request.param)
    file = weights.find(CASES[request.param])
    if file is None:
        pytest.skip(f"the weights {CASES[request.param]} are not in the store")
    found: IdentityEstimator = open_estimator("identity", request.param, weights=str(file))
    return found


@pytest.fixture(scope="module")
def face() -> FaceEstimator:
    pytest.importorskip("mediapipe")
    found: FaceEstimator = open_estimator("face", "mediapipe")
    return found


def _frames(name: str, numbers: tuple[int, ...]) -> list[np.ndarray]:
    """Frames of a real clip, RGB, half its size."""
    assert SHARED is not None
    clip = cv2.VideoCapture(str(Path(SHARED, "real/face", f"{name}.mp4")))
    read = [clip.read()[1] for _ in range(max(numbers) + 1)]
    return [np.ascontiguousarray(cv2.resize(read[t], None, fx=0.5, fy=0.5)[..., ::-1]) for t in numbers]


def test_every_row_of_the_table_is_here() -> None:
    assert set(CASES) == set(rows_of("identity"))


def test_an_embedding_is_128_numbers_that_depend_on_the_picture_alone(
    estimator: IdentityEstimator, face: FaceEstimator
) -> None:
    image = photo()
    before, landmarks = image.copy(), face(image)
    assert landmarks is not None
    first = estimator(image, landmarks)
    kept = first.copy()
    assert first.shape == (128,)
    assert first.dtype == np.float32
    estimator(photo(dx=9), landmarks)
    np.testing.assert_array_equal(estimator(image, landmarks), kept)
    np.testing.assert_array_equal(first, kept, err_msg="a result must not be overwritten by the next call")
    np.testing.assert_array_equal(image, before)
    inside = np.pad(image[:, ::-1], ((5, 5), (8, 8), (0, 0)))[5:-5, 8:-8][:, ::-1]
    np.testing.assert_array_equal(estimator(inside, landmarks), kept, err_msg="frames need not be contiguous")
    assert isinstance(estimator, IdentityEstimator)
    assert estimator.version


def test_a_face_that_moves_or_leaves_the_picture_in_part_stays_the_same_person(
    estimator: IdentityEstimator, face: FaceEstimator
) -> None:
    images = [photo(), photo(dx=11, dy=-6), photo(260, 250), np.ascontiguousarray(photo()[:, 110:])]
    first, *others = embedding(face, estimator)(images)
    assert first is not None
    distances = [identity_distance(other, first) for other in others if other is not None]
    assert len(distances) == 3
    assert max(distances) < SAME_PERSON


@needs_shared
def test_real_people_are_told_apart(estimator: IdentityEstimator, face: FaceEstimator) -> None:
    """Other seconds of one video, and another video of one man, against other people."""
    parts = {
        name: embedding(face, estimator)(_frames(name, numbers))
        for name, numbers in (
            ("talk_a", (6, 60)),
            ("talk_b", (6, 60)),
            ("grid_talker_a_1", (5,)),
            ("grid_talker_a_2", (60,)),
        )
    }
    people = [parts["talk_a"], parts["talk_b"], parts["grid_talker_a_1"] + parts["grid_talker_a_2"]]
    for number, person in enumerate(people):
        one, same = person
        assert one is not None
        assert same is not None
        assert 0 < identity_distance(one, same) < 0.45
        for other in (of for stranger in people[number + 1 :] for of in stranger):
            assert other is not None
            assert identity_distance(one, other) > 0.7 > SAME_PERSON
