"""Edits of label maps: new labels everywhere, in a rectangle, of objects and in some frames."""

import numpy as np
import pytest

from tests.errors import raises
from v2vkit.conditions.edits import Relabelling, edit_frame, relabel
from v2vkit.conditions.labels import LabelMap


@pytest.fixture
def street() -> LabelMap:
    """Label 1 on the left, 2 on the right, with object 7 over both; 3 below."""
    labels = np.full((6, 8), 1, np.uint8)
    labels[:, 4:] = 2
    labels[4:] = 3
    instances = np.zeros((6, 8), np.uint16)
    instances[1:3, 2:6] = 7
    return LabelMap(labels, instances)


def test_two_labels_are_swapped_at_once_and_the_rest_stays(street: LabelMap) -> None:
    before = street.labels.copy()
    swapped = relabel(street, {1: 2, 2: 1})
    np.testing.assert_array_equal(swapped.labels[:4, :4], 2)
    np.testing.assert_array_equal(swapped.labels[:4, 4:], 1)
    np.testing.assert_array_equal(swapped.labels[4:], 3)
    assert swapped.labels.dtype == np.uint8
    np.testing.assert_array_equal(street.labels, before)
    np.testing.assert_array_equal(swapped.instances, street.instances)
    np.testing.assert_array_equal(relabel(swapped, {1: 2, 2: 1}).labels, before)


@pytest.mark.parametrize(
    ("region", "rows", "columns"), [((2, 1, 3, 2), (1, 3), (2, 5)), ((6, 3, 99, 99), (3, 6), (6, 8))]
)
def test_only_a_rectangle(
    street: LabelMap, region: tuple[int, int, int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    changed = relabel(street, {1: 9, 2: 9, 3: 9}, region=region).labels == 9
    expected = np.zeros((6, 8), bool)
    expected[slice(*rows), slice(*columns)] = True
    np.testing.assert_array_equal(changed, expected)


def test_only_objects(street: LabelMap) -> None:
    changed = relabel(street, {1: 9, 2: 9}, objects=[7])
    np.testing.assert_array_equal(changed.labels == 9, street.instances == 7)
    np.testing.assert_array_equal(relabel(street, {1: 9}, objects=[8]).labels, street.labels)
    with raises("instances-missing", "v2v track"):
        relabel(LabelMap(street.labels), {1: 9}, objects=[7])


def test_pixels_of_a_class_without_objects_lose_theirs(street: LabelMap) -> None:
    assert street.instances is not None
    changed = relabel(street, {1: 3}, things={1, 2})
    assert changed.instances is not None
    np.testing.assert_array_equal(changed.instances[1:3, 2:4], 0)
    np.testing.assert_array_equal(changed.instances[1:3, 4:6], 7)
    assert changed.instances.dtype == np.uint16
    np.testing.assert_array_equal(street.instances[1:3, 2:4], 7)


def test_frames_are_half_open_and_edits_follow_one_another(street: LabelMap) -> None:
    spans = [({1: 2}, (2, 4)), ({2: 5}, (3, None)), ({3: 6}, (None, 1))]
    edits = [Relabelling(changes, frames=frames) for changes, frames in spans]
    seen = [set(np.unique(edit_frame(street, edits, number).labels)) for number in range(5)]
    assert seen == [{1, 2, 6}, {1, 2, 3}, {2, 3}, {5, 3}, {1, 5, 3}]


@pytest.mark.parametrize("changes", [{1: 256}, {-1: 2}])
def test_no_label_ids(street: LabelMap, changes: dict[int, int]) -> None:
    with raises("label-id-out-of-range"):
        relabel(street, changes)
