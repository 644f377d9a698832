"""How source maps are shown beside a rendering."""

import numpy as np

from tests.conditions import of_domain
from v2vkit.conditions.conditioning import to_unit
from v2vkit.conditions.label_ids import colorize
from v2vkit.conditions.labels import LabelMap
from v2vkit.inference.conditioned import ConditionedFrame
from v2vkit.inference.views import side_by_side
from v2vkit.video.stream import InputFrame

LABELS = np.array([[3, 3, 5, 5], [3, 3, 5, 255]], np.uint8)
INSTANCES = np.array([[0, 0, 7, 8], [0, 0, 7, 8]], np.uint16)


def test_labels_are_shown_in_colours_and_edges_darker() -> None:
    config = of_domain("street", 12, edges=False)
    plain = config.preview(to_unit(config.channels([LabelMap(LABELS)])))
    np.testing.assert_array_equal(plain, colorize(LABELS))
    assert len({tuple(colour) for colour in plain.reshape(-1, 3).tolist()}) == 3
    assert not plain[1, 3].any(), "what no label has is black"

    with_edges = of_domain("street", 12)
    shown = with_edges.preview(to_unit(with_edges.channels([LabelMap(LABELS, INSTANCES)])))
    edges = np.array([False, True, True, True])
    np.testing.assert_array_equal(shown[:, edges], plain[:, edges] // 2)
    np.testing.assert_array_equal(shown[:, ~edges], plain[:, ~edges])


def test_a_sketch_is_shown_in_white_and_its_distances_are_not() -> None:
    s = np.random.default_rng(0).random((15, 4, 6)).astype(np.float32)
    s[0] = 0
    s[0, 1, 2:5] = 1
    expected = np.zeros((4, 6, 3), np.uint8)
    expected[1, 2:5] = 255
    np.testing.assert_array_equal(of_domain("face").preview(s), expected)


def test_a_skeleton_is_shown_as_it_was_drawn() -> None:
    drawing = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    s = to_unit(np.ascontiguousarray(drawing.transpose(2, 0, 1)))
    np.testing.assert_array_equal(of_domain("pose").preview(s), drawing)


def test_the_input_frame_the_map_and_the_output_stand_in_that_order() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)
    s = to_unit(np.ascontiguousarray(images[1].transpose(2, 0, 1)))
    shown = side_by_side(of_domain("pose"), ConditionedFrame(s, InputFrame(images[0])), images[2])
    np.testing.assert_array_equal(shown, np.concatenate(list(images), 1))
