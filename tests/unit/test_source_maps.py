"""Source maps per domain."""

import numpy as np
import pytest

from tests.conditions import of_domain
from tests.errors import raises
from tests.faces import face_landmarks, photo
from tests.people import person
from v2vkit.artifacts.images import encode_png
from v2vkit.conditions.conditioning import Conditioning, configure, to_unit
from v2vkit.conditions.face import FaceCondition
from v2vkit.conditions.label_ids import instance_edges, one_hot
from v2vkit.conditions.landmarks import landmarks_to_json
from v2vkit.conditions.people import MIN_SCORE
from v2vkit.conditions.people_files import people_to_json
from v2vkit.conditions.pose import PoseCondition, PoseSettings
from v2vkit.conditions.skeleton import draw_people
from v2vkit.conditions.sketch import draw_sketch, face_channels

LABELS = np.array([[0, 0, 1], [0, 2, 1], [255, 2, 2]], np.uint8)


def source_map(conditioning: Conditioning, files: dict[str, bytes], size: tuple[int, int]) -> np.ndarray:
    """What a network with one condition sees of a frame's files."""
    (condition,) = conditioning.conditions
    return to_unit(conditioning.channels([condition.decode(files, size=size)]))


def test_one_hot_is_one_exactly_where_the_label_is_and_nowhere_for_ignored_pixels() -> None:
    channels = one_hot(LABELS, 3)
    assert channels.shape == (3, 3, 3)
    assert channels.sum() == 8
    assert channels[:, 2, 0].tolist() == [0, 0, 0]
    assert channels[2].tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 1]]


def test_an_unknown_label_is_named() -> None:
    with raises("label-id-out-of-range", "id 2", "2 labels"):
        one_hot(LABELS, 2)


def test_edges_mark_both_sides() -> None:
    edges = instance_edges(np.array([[5, 5, 9, 9]], np.uint16))
    assert edges.tolist() == [[0, 1, 1, 0]]
    assert instance_edges(np.full((4, 4), 7, np.uint16)).sum() == 0


def test_street_channels_with_instances_separate_touching_objects() -> None:
    labels = np.zeros((4, 6), np.uint8)
    instances = np.zeros((4, 6), np.uint16)
    instances[:, 3:] = 1000
    files = {"label.png": encode_png(labels)}
    config = of_domain("street", 2)
    assert source_map(config, files, (6, 4))[-1].sum() == 0
    s = source_map(config, files | {"inst.png": encode_png(instances)}, (6, 4))
    assert s.shape == (config.num_channels, 4, 6)
    assert s[-1].sum() == 8
    assert s.dtype == np.float32
    assert set(np.unique(s)) == {0.0, 1.0}


def test_face_channels_come_from_the_files_of_make_sketches() -> None:
    landmarks, frame = np.round(face_landmarks(60, 50, 50), 3), photo(120, 128)
    sketch, _ = draw_sketch(frame, landmarks)
    files = {
        "sketch.png": encode_png(sketch),
        "json": landmarks_to_json(landmarks, found=True, size=(128, 120), estimator="x"),
    }
    config = of_domain("face")
    s = source_map(config, files, (128, 120))
    assert s.shape == (15, 120, 128) == (config.num_channels, 120, 128)
    np.testing.assert_array_equal(s, face_channels(landmarks, sketch).astype(np.float32) / np.float32(255))


def test_pose_channels_are_the_drawing() -> None:
    drawing = draw_people((person(),), (64, 96))
    files = {
        "skeleton.png": encode_png(drawing),
        "json": people_to_json((person(),), found=True, size=(64, 96), estimator="x"),
    }
    config = of_domain("pose")
    s = source_map(config, files, (64, 96))
    assert s.shape == (3, 96, 64) == (config.num_channels, 96, 64)
    assert s.dtype == np.float32
    np.testing.assert_array_equal(np.rint(s * 255), drawing.transpose(2, 0, 1))


@pytest.mark.parametrize("data", [b"", b"{}", b'{"landmarks": [[1]]}', b"[" * 5000])
def test_damaged_landmark_files_are_refused(data: bytes) -> None:
    files = {"sketch.png": encode_png(np.zeros((8, 8), np.uint8)), "json": data}
    with raises("landmarks-damaged"):
        source_map(of_domain("face"), files, (8, 8))


def test_settings_of_maps_that_a_manifest_lacks_are_what_was_done_then() -> None:
    settings = PoseSettings.model_validate({"later": 1})
    assert (settings.smooth, settings.missing, settings.point_score) == (0, "hold", MIN_SCORE)
    made = configure(["face", "pose"], {"sketches": {"later": 1}, "poses": {}}, count_labels=lambda kind: 0)
    assert made == Conditioning.of(FaceCondition(canny=True), PoseCondition(stroke=0))
    assert PoseSettings(min_score=0.0).point_score == 0.0
    with raises("manifest-damaged", "poses", "stroke", "'wide'"):
        configure(["pose"], {"poses": {"stroke": "wide"}}, count_labels=lambda kind: 0)
    with raises("manifest-damaged", "sketches", "smooth", "-1"):
        configure(["face"], {"sketches": {"smooth": -1}}, count_labels=lambda kind: 0)
