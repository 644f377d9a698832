"""Affine augmentation: frame, maps and flow stay aligned."""

import cv2
import numpy as np
import pytest
import torch

from tests.faces import face_landmarks, photo
from tests.people import person
from tests.unit.training_data import SMALL, make_workspace, open_dataset
from v2vkit.artifacts.images import encode_png
from v2vkit.conditions.augment import (
    IDENTITY,
    Change,
    Move,
    draw_affine,
    transform_points,
    warp_flow,
    warp_id_map,
    warp_image,
)
from v2vkit.conditions.base import Condition
from v2vkit.conditions.conditioning import to_unit
from v2vkit.conditions.face import FaceCondition
from v2vkit.conditions.landmarks import landmarks_to_json
from v2vkit.conditions.people import map_points
from v2vkit.conditions.people_files import people_to_json
from v2vkit.conditions.pose import PoseCondition
from v2vkit.conditions.skeleton import draw_people, skeleton_channels
from v2vkit.conditions.sketch import draw_sketch, face_channels
from v2vkit.models.warp import warp
from v2vkit.training.data.loader import load_batch
from v2vkit.training.data.sampler import BatchPlan, Window

SHIFT = np.array([[1.0, 0, 3], [0, 1, -2]])


def changed(condition: Condition, files: dict[str, bytes], image: np.ndarray, change: Change) -> np.ndarray:
    """What a network sees of a frame on disk after a change, uint8 [C, H, W]; `image` is the frame, changed already."""
    annotation = condition.decode({"json": files["json"]}, size=(image.shape[1], image.shape[0]))
    return condition.channels(condition.augment(annotation, change), image)


def turned(degrees: float = 8, zoom: float = 1.1, size: int = 64) -> Move:
    return cv2.getRotationMatrix2D(((size - 1) / 2, (size - 1) / 2), degrees, zoom)


def texture(size: int = 64) -> np.ndarray:
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), (size, size), interpolation=cv2.INTER_CUBIC)


def test_a_shift_moves_pixels_ids_and_points_alike() -> None:
    image = texture()
    assert np.array_equal(warp_image(image, SHIFT)[:-2, 3:], image[2:, :-3])
    ids = (image[..., 0] // 64).astype(np.uint16) * 1000
    assert np.array_equal(warp_id_map(ids, SHIFT)[:-2, 3:], ids[2:, :-3])
    assert np.array_equal(transform_points(np.float32([[10, 20]]), SHIFT), [[13, 18]])


def test_warped_ids_are_never_interpolated() -> None:
    ids = np.zeros((64, 64), np.uint8)
    ids[20:40, 20:40] = 7
    moved = warp_id_map(ids, turned())
    assert set(np.unique(moved)) == {0, 7}
    assert np.allclose(np.argwhere(moved == 7).mean(0), np.argwhere(ids == 7).mean(0), atol=1)


def test_points_move_as_the_picture_does() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    cv2.circle(image, (40, 22), 3, (255, 255, 255), -1)
    y, x = np.argwhere(warp_image(image, turned())[..., 0] > 128).mean(0)
    assert np.allclose(transform_points(np.float32([[40, 22]]), turned())[0], [x, y], atol=0.5)


def test_warped_flow_maps_the_warped_frame_to_the_previous_one() -> None:
    before = texture()
    flow = np.zeros((64, 64, 2), np.float32)
    flow[...] = (-4.0, 2.0)
    as_tensor = torch.from_numpy(before).permute(2, 0, 1)[None].float()
    current = (
        warp(as_tensor, torch.from_numpy(flow).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy().astype(np.uint8)
    )
    move = turned(20, 1.2)
    vectors, confidence = warp_flow(flow, np.ones((64, 64), np.float32), move)
    moved = [torch.from_numpy(warp_image(image, move)).permute(2, 0, 1)[None].float() for image in (before, current)]
    inside = slice(16, 48)

    def difference(w: np.ndarray) -> float:
        found = warp(moved[0], torch.from_numpy(np.ascontiguousarray(w)).permute(2, 0, 1)[None])
        return float((found - moved[1]).abs()[..., inside, inside].mean())

    assert difference(vectors) < 2
    assert difference(flow) > 2 * difference(vectors)  # the unmoved flow points elsewhere
    assert confidence.min() >= 0
    assert confidence[32, 32] == 1


def test_vectors_without_confidence_do_not_spread_to_confident_neighbours() -> None:
    flow, confidence = np.zeros((64, 64, 2), np.float32), np.ones((64, 64), np.float32)
    flow[:, 32:], confidence[:, 32:] = (-14, 0), 0
    for scale in (1, 255):  # confidence may come as bytes
        vectors, moved = warp_flow(flow, confidence * scale, turned(7, 1.1))
        assert ((moved > 0.2 * scale) & (moved < 0.8 * scale)).any()
        assert np.abs(vectors[moved > 0.01 * scale]).max() < 1e-4
        assert np.abs(vectors[moved == 0]).max() > 10  # what nobody trusts is moved like the rest


def test_flow_from_outside_the_frame_has_no_confidence() -> None:
    _, confidence = warp_flow(np.zeros((64, 64, 2), np.float32), np.ones((64, 64), np.float32), SHIFT)
    assert confidence[:, :2].max() == 0
    assert confidence[-1].max() == 0


def test_flow_that_points_outside_the_warped_frame_has_no_confidence() -> None:
    """What a pixel came from has been moved out of the frame, although the pixel has not."""
    flow = np.zeros((64, 64, 2), np.float32)
    flow[..., 0] = 6  # the camera pans: every pixel was six to the right
    confidence = np.ones((64, 64), np.float32)
    confidence[:, 58:] = 0
    move = turned(0, 1.25)
    vectors, moved = warp_flow(flow, confidence, move)
    x = np.arange(64) + vectors[..., 0]
    assert moved[x > 63.5].max() == 0
    assert moved[32, 32] == 1


def test_an_augmented_face_is_redrawn() -> None:
    """The same thin lines as at any other place: moving the drawn picture instead would blur them."""
    angles = np.linspace(0, np.pi, 17)
    landmarks = np.zeros((68, 2), np.float32)
    landmarks[:17] = np.stack([32 - 18 * np.cos(angles), 28 + 20 * np.sin(angles)], 1)
    landmarks[17:] = np.random.default_rng(0).uniform(22, 42, (51, 2))
    frame = texture()
    sketch, _ = draw_sketch(frame, landmarks)
    move = turned(5, 1.0)
    moved = warp_image(frame, move)
    files = {
        "sketch.png": encode_png(sketch),
        "json": landmarks_to_json(landmarks, found=True, size=(64, 64), estimator="test"),
    }
    found = changed(FaceCondition(canny=False), files, moved, Change(move))
    expected_points = transform_points(landmarks, move)
    expected = face_channels(expected_points, draw_sketch(moved, expected_points, canny=False)[0])
    assert np.abs(to_unit(found) - to_unit(expected)).mean() < 0.01
    assert set(np.unique(found[0])) <= {0, 255}


@pytest.mark.parametrize("canny", [True, False])
def test_an_augmented_face_has_edges_of_the_background_only_where_others_have(canny: bool) -> None:
    landmarks, frame, move = np.round(face_landmarks(45, 34, 30), 3), photo(80, 90), turned(5, 1.0, 80)
    files = {
        "sketch.png": encode_png(draw_sketch(frame, landmarks, canny=canny)[0]),
        "json": landmarks_to_json(landmarks, found=True, size=(90, 80), estimator="test"),
    }
    moved, points = warp_image(frame, move), transform_points(landmarks, move)
    found = changed(FaceCondition(canny=canny), files, moved, Change(move))
    with_edges, without = (face_channels(points, draw_sketch(moved, points, canny=drawn)[0]) for drawn in (True, False))
    assert not np.array_equal(with_edges, without)
    assert np.array_equal(found, with_edges if canny else without)


def test_augmented_people_are_redrawn() -> None:
    """Strokes are as wide as elsewhere, in the stage's setting; points that are missing do not appear."""
    someone = person(32, 6, 50)
    someone.body[4] = 0
    move = turned(5, 1.0)
    files = {
        "skeleton.png": encode_png(draw_people((someone,), (64, 64), stroke=2)),
        "json": people_to_json((someone,), found=True, size=(64, 64), estimator="test"),
    }
    found = changed(PoseCondition(stroke=2), files, texture(), Change(move))
    expected = map_points(
        someone,
        lambda points: np.concatenate([transform_points(points[:, :2], move), points[:, 2:]], 1).astype(np.float32),
    )
    drawn = skeleton_channels(draw_people((expected,), (64, 64), stroke=2))
    assert np.abs(to_unit(found) - to_unit(drawn)).mean() < 0.01
    other = changed(PoseCondition(), files, texture(), Change(move))
    assert not np.array_equal(found, other)


def test_parts_are_left_out_anew_for_every_frame() -> None:
    someone = person(32, 6, 50)
    files = {
        "skeleton.png": encode_png(draw_people((someone,), (64, 64))),
        "json": people_to_json((someone,), found=True, size=(64, 64), estimator="test"),
    }

    def drawn(drop: float, frame: int) -> np.ndarray:
        change = Change(IDENTITY, drop, seed=(3,)).at(frame)
        return changed(PoseCondition(), files, texture(), change)

    pose = PoseCondition()
    whole = pose.channels(pose.decode(files, size=(64, 64)))
    assert np.array_equal(drawn(0.0, 0), whole)
    assert np.array_equal(drawn(0.4, 0), drawn(0.4, 0))
    assert not np.array_equal(drawn(0.4, 0), drawn(0.4, 1))
    assert 0 < np.count_nonzero(drawn(0.4, 0)) < np.count_nonzero(whole)
    assert not drawn(1.0, 0).any()


def test_augmentation_is_drawn_for_each_batch_and_repeats(tmp_path_factory: pytest.TempPathFactory) -> None:
    dataset = open_dataset(make_workspace(tmp_path_factory.mktemp("moving") / "work").work, strides=(1,))
    still, lively = SMALL, SMALL.model_copy(update={"augment": 1.0})
    loads = [
        load_batch(config, dataset, BatchPlan(0, (Window(0, 0, 4),), (number,)))
        for config, number in ((still, 0), (lively, 0), (lively, 0), (lively, 1))
    ]
    plain, first, again, second = loads
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.s, again.s)
    assert not torch.equal(first.x, plain.x)
    assert not torch.equal(first.x, second.x)
    assert set(first.s.unique().tolist()) <= {0.0, 1.0}


def test_affine_maps_stay_within_their_strength() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        move = draw_affine(rng, 0.5, (100, 60))
        centre = transform_points(np.float32([[49.5, 29.5]]), move)[0] - (49.5, 29.5)
        assert abs(centre[0]) <= 5.01
        assert abs(centre[1]) <= 3.01
        assert 1.1**-0.5 - 1e-6 <= np.sqrt(np.linalg.det(move[:, :2])) <= 1.1**0.5 + 1e-6
    assert np.allclose(draw_affine(np.random.default_rng(1), 0.0, (8, 8)), [[1, 0, 0], [0, 1, 0]])
