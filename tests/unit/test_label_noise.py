"""Augmentation of label maps alone: boundaries, thin objects and classes."""

import numpy as np
import pytest

from v2vkit.conditions.augment import IDENTITY, Change
from v2vkit.conditions.label_noise import THIN, LabelNoise, jittered, without_thin
from v2vkit.conditions.labels import LabelMap, LabelsCondition

ROAD, POLE, CAR = 1, 2, 3


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Sky above road, a pole of 2 pixels, and a car with an instance id."""
    labels, instances = np.zeros((32, 48), np.uint8), np.zeros((32, 48), np.uint16)
    labels[20:] = ROAD
    labels[4:20, 10:12] = POLE
    labels[14:26, 30:42], instances[14:26, 30:42] = CAR, 7
    return labels, instances


def test_jitter_moves_boundaries_a_little_and_labels_with_their_instances():
    labels, instances = scene()
    moved, of_objects = jittered(labels, instances, np.random.default_rng(0), 1.0)
    changed = moved != labels
    assert 0.005 < changed.mean() < 0.15
    assert (moved[2:8, 20:28] == 0).all()  # far from any boundary
    assert (moved[29:, 2:8] == ROAD).all()
    assert np.array_equal(moved == CAR, of_objects == 7)
    assert set(np.unique(moved)) <= {0, ROAD, POLE, CAR}


def test_thin_objects_are_filled_by_what_is_beside_them():
    labels, instances = scene()
    filled, of_objects = without_thin(labels, instances, np.array([POLE, CAR, ROAD]))
    assert not (filled == POLE).any()
    assert (filled[4:20, 10:12] == 0).sum() >= 30  # sky; road at its foot
    assert np.array_equal(filled == CAR, labels == CAR)  # wider than THIN
    assert np.array_equal(of_objects, instances)
    assert THIN > 2


def test_only_chosen_classes_lose_their_thin_parts():
    labels, _ = scene()
    assert np.array_equal(without_thin(labels, None, np.array([CAR]))[0], labels)


def test_a_wide_class_at_the_border_is_not_thin():
    labels = np.zeros((32, 48), np.uint8)
    labels[30:] = ROAD  # 2 rows, which go on below the frame
    assert np.array_equal(without_thin(labels, None, np.array([ROAD]))[0], labels)


def test_dropped_classes_have_no_label_and_no_objects():
    labels, instances = scene()
    gone = np.zeros(4, bool)
    for number in range(40):
        found, of_objects = LabelNoise(drop_classes=0.3, seed=(number,)).apply(labels, instances)
        dropped = (found == 255) & (labels == CAR)
        assert dropped.sum() in (0, (labels == CAR).sum())  # a class as a whole
        assert (of_objects[found == 255] == 0).all()
        gone |= [(found[labels == label] == 255).all() for label in range(4)]
    assert gone.all()


@pytest.mark.parametrize("noise", [{"jitter": 2.0}, {"drop_thin": 0.5}, {"drop_classes": 0.5}])
def test_all_frames_of_a_sequence_have_the_same_noise(noise):
    labels, instances = scene()
    condition = LabelsCondition(num_labels=4)
    results = set()
    for number in range(8):
        change = Change(IDENTITY, seed=(number,), noise=LabelNoise(**noise, seed=(number, 1)))
        frames = [condition.augment(LabelMap(labels, instances), change.at(t)).labels for t in range(3)]
        assert all(np.array_equal(frame, frames[0]) for frame in frames)
        results.add(frames[0].tobytes())
    assert len(results) > 1


def test_no_noise_changes_nothing():
    labels, instances = scene()
    same, of_objects = LabelNoise().apply(labels, instances)
    assert np.array_equal(same, labels)
    assert np.array_equal(of_objects, instances)
    assert not LabelNoise()
