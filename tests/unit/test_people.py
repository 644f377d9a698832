"""Key points of people: the JSON (ours and OpenPose's), hostile files, and people followed in time."""

import json

import numpy as np
import pytest

from tests.errors import raises
from tests.people import body, person
from v2vkit.conditions.people import Person, Persons, drop_uncertain, transform_people
from v2vkit.conditions.people_files import people_from_json, people_to_json
from v2vkit.conditions.people_smoothing import PEOPLE, smooth_people
from v2vkit.conditions.smoothing import fill_gaps, smooth

PARTS = ("body", "face", "left_hand", "right_hand")


def write(people: Persons | None) -> bytes:
    return people_to_json(people, found=bool(people), size=(64, 96), estimator="test 1")


def xs(frames: list[Persons | None]) -> list[float | None]:
    """x of the first person's nose."""
    return [None if people is None else round(float(people[0].body[0, 0]), 3) for people in frames]


def at(x: float) -> Persons:
    return (Person(body(x)),)


def test_people_survive_the_file() -> None:
    people = (person(), Person(body(50)))
    read = people_from_json(write(people))
    assert len(read) == 2
    for part in PARTS:
        np.testing.assert_allclose(getattr(read[0], part), getattr(people[0], part), atol=5e-4)
    assert read[1].face is None
    assert read[1].left_hand is None
    document = json.loads(write(people))
    assert (document["found"], document["width"], document["height"]) == (True, 64, 96)
    assert people_from_json(write(None)) == people_from_json(write(())) == ()


def test_writing_what_was_read_changes_nothing() -> None:
    once = write((person(),))
    assert write(people_from_json(once)) == once


@pytest.mark.parametrize("form", ["openpose", "old keys", "bare list", "triples", "empty parts"])
def test_openposes_own_files_are_read(form: str) -> None:
    points = body().tolist()
    flat = [v for triple in points for v in triple]
    face = [1.0, 2.0, 0.5] * 70
    document: object = {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": flat}]}
    if form == "old keys":
        document = {"people": [{"pose_keypoints": flat, "face_keypoints": face}]}
    elif form == "bare list":
        document = [{"pose_keypoints_2d": flat}]
    elif form == "triples":
        document = [{"pose_keypoints_2d": points}]
    elif form == "empty parts":
        document = [{"pose_keypoints_2d": flat, "face_keypoints_2d": [], "pose_keypoints_3d": []}]
    (read,) = people_from_json(json.dumps(document).encode())
    np.testing.assert_allclose(read.body, body(), atol=1e-5)
    assert (read.face is not None) == (form == "old keys")


def test_a_point_at_x_zero_is_missing() -> None:
    points = body()
    points[3] = (0, 40, 0.8)
    (read,) = people_from_json(write((Person(points),)))
    assert read.body[3, 2] == 0
    assert read.body[4, 2] > 0


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", ""),
        (b"[" * 100_000, ""),
        (b"\xff\xfe", ""),
        (b"7", ""),
        (b"{}", "'people'"),
        (b'{"people": 3}', "people"),
        (b'{"people": [3]}', "people"),
        (b'{"people": [{"pose_keypoints_2d": "abc"}]}', "pose_keypoints"),
        (b'{"people": [{"pose_keypoints_2d": [[1, 2], 3]}]}', ""),
        (b'{"people": [{"pose_keypoints_2d": [null, 1, 1]}]}', "25 points"),
        (json.dumps([{"pose_keypoints_2d": [None] * 75}]).encode(), ""),
        (json.dumps([{"pose_keypoints_2d": [1.0] * 54}]).encode(), "54"),
        (json.dumps([{"pose_keypoints_2d": [1e9] * 75}]).encode(), "pose_keypoints"),
        (json.dumps([{"pose_keypoints_2d": [float("nan")] * 75}]).encode(), "pose_keypoints"),
        (json.dumps([{"pose_keypoints_2d": [10**400] * 75}]).encode(), ""),
        (json.dumps([{}] * 5000).encode(), "5000"),
    ],
)
def test_hostile_files_are_refused(data: bytes, told: str) -> None:
    with raises("keypoints-damaged", "walk_keypoints.json", told):
        people_from_json(data, "walk_keypoints.json")


def test_scores_stay_between_zero_and_one() -> None:
    points = body()
    points[:2, 2] = (7, -3)
    (read,) = people_from_json(write((Person(points),)))
    assert read.body[:2, 2].tolist() == [1, 0]


def test_points_below_the_score_are_missing_and_people_without_points_are_nobody() -> None:
    somebody = Person(body())
    somebody.body[4, 2] = 0.1
    people = drop_uncertain((somebody, Person(body(score=0.2)), Person(np.zeros((25, 3), np.float32))), 0.3)
    assert people is not None
    assert len(people) == 1
    assert people[0].body[4, 2] == 0
    assert (people[0].body[:, 2] > 0).sum() == 24
    assert somebody.body[4, 2] > 0
    assert drop_uncertain((), 0.0) is drop_uncertain((somebody,), 0.95) is None


def test_gaps_are_filled_person_by_person_whatever_their_order() -> None:
    before, after = (Person(body(20)), Person(body(80))), (Person(body(86)), Person(body(26)))
    filled = list(fill_gaps([before, None, after], PEOPLE))
    assert filled[1] is not None
    assert [round(float(one.body[0, 0])) for one in filled[1]] == [23, 83]


def test_who_went_away_is_held() -> None:
    filled = list(fill_gaps([(Person(body(20)), Person(body(80))), None, at(22)], PEOPLE))
    assert filled[1] is not None
    assert [round(float(one.body[0, 0])) for one in filled[1]] == [21, 80]


def test_smoothing_takes_the_same_person_only() -> None:
    """Two people whose order in the file swaps: each is averaged with himself."""
    frames = [(Person(body(20)), Person(body(80))), (Person(body(80)), Person(body(20)))] * 3
    for people in smooth(frames, PEOPLE, 5):
        assert people is not None
        assert sorted(round(float(one.body[0, 0])) for one in people) == [20, 80]
    alone = list(smooth([at(20), at(80), at(20)], PEOPLE, 3))
    assert xs(alone) == [20, 80, 20]


def test_smoothing_halves_jitter_and_invents_no_points() -> None:
    frames = [at(40 + (-1) ** t) for t in range(9)]
    frames[4][0].body[7] = 0
    smoothed = list(smooth(frames, PEOPLE, 3))
    values = np.array(xs(smoothed)[1:-1])
    assert np.abs(values - 40).max() < 0.8
    assert smoothed[4] is not None
    assert smoothed[4][0].body[7].tolist() == [0, 0, 0]
    beside = smoothed[3]
    assert beside is not None
    assert abs(float(beside[0].body[7, 0]) - body(40)[7, 0]) < 1.2, "a missing neighbour must not pull to (0, 0)"


def test_hands_and_faces_are_smoothed_too() -> None:
    frames = [(person(x),) for x in (40, 42, 40)]
    middle = list(smooth(frames, PEOPLE, 3))[1]
    assert middle is not None
    for part in PARTS:
        shift = (getattr(middle[0], part) - getattr(person(42), part))[:, 0]
        assert -1 < shift.mean() < -0.2


@pytest.mark.parametrize("missing", ["hold", "blank"])
@pytest.mark.parametrize("window", [0, 3, 5])
def test_a_stream_gives_the_numbers_of_the_whole_clip(window: int, missing: str) -> None:
    rng = np.random.default_rng(0)
    bodies = [
        np.stack([body(x), body(x + 60)])[: int(rng.integers(0, 3))].reshape(-1, 25, 3) for x in rng.uniform(20, 26, 40)
    ]
    frames = [np.full((2, 2, 3), t, np.uint8) for t in range(40)]

    def estimate(frame: np.ndarray) -> np.ndarray:
        return bodies[frame[0, 0, 0]]

    whole = list(smooth_people(frames, estimate, smooth=window, missing=missing))
    stream = smooth_people(iter(frames), estimate, smooth=window, missing=missing)
    for t, (frame, people, found) in enumerate(stream):
        assert frame[0, 0, 0] == t
        assert found == (len(bodies[t]) > 0)
        assert (people is None) <= (missing == "blank" or t == 0 or not any(len(b) for b in bodies[:t]))
        expected = whole[t][1]
        assert (people is None) == (expected is None)
        for one, other in zip(people or (), expected or (), strict=True):
            np.testing.assert_array_equal(one.body, other.body)
            (read,) = people_from_json(write((one,)))
            np.testing.assert_array_equal(read.body, one.body, err_msg="the file must keep what is drawn")


def test_missing_points_stay_missing_when_people_are_moved() -> None:
    points = body()
    points[5] = 0
    (moved,) = transform_people((Person(points, left_hand=None),), np.array([[1.0, 0, 3], [0, 1, -2]]))
    np.testing.assert_allclose(moved.body[0, :2], points[0, :2] + (3, -2), atol=1e-5)
    assert moved.body[5, 2] == 0
    assert moved.left_hand is None
