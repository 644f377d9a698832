"""Metrics over batches: sets, clips, labels, poses; what they keep, and what they say of themselves."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from v2vkit import weights
from v2vkit.arrays import Image
from v2vkit.conditions.people import Person
from v2vkit.config import IGNORE
from v2vkit.evaluation.metrics.backbones import Backbone, weights_note
from v2vkit.evaluation.metrics.contract import MISSED, OURS, REAL, SOURCE, Batch, Metric
from v2vkit.evaluation.metrics.frechet import Moments, frechet_distance
from v2vkit.evaluation.metrics.label_fidelity import LabelFidelity, borders
from v2vkit.evaluation.metrics.pose_error import pose_error, pose_recall
from v2vkit.evaluation.metrics.registry import METRICS, metric_names, open_metric, rows
from v2vkit.evaluation.metrics.repeated import Repeated
from v2vkit.evaluation.metrics.sets import ClipSets, FrameSets
from v2vkit.evaluation.metrics.setup import Segmenter, Setup


def _grey(*levels: int) -> list[Image]:
    return [np.full((40, 40, 3), level, np.uint8) for level in levels]


def _batch(method: str, images: Sequence[Image], shot: str = "a", **rest: Any) -> Batch:
    return Batch(method, shot, shot, range(len(images)), images, **rest)


def _means(images: Sequence[Image]) -> NDArray[np.float32]:
    """Two numbers of an image."""
    return np.array([[image.mean(), image.std()] for image in images], np.float32)


def _value(found: Moments, real: Moments) -> dict[str, Any]:
    return {"value": frechet_distance(found.mean, found.covariance, real.mean, real.covariance)}


def test_every_row_can_be_read_from_the_table() -> None:
    assert len(set(metric_names())) == len(METRICS)
    for row in METRICS:
        assert row.unit
        assert row.source
        assert all(weights.registry.known(name) for name in row.weights)
        assert 1 <= row.min_count <= row.good_count


def test_a_set_is_compared_with_the_real_one() -> None:
    metric = FrameSets(Backbone({"backbone": "means"}, 2, _means), lambda: Moments(2), _value)
    for levels in ([10, 20], [30]):
        assert metric.update(_batch(REAL, _grey(*levels))) == ()
        metric.update(_batch(OURS, _grey(*(level + 5 for level in levels))))
    found = metric.compute()
    assert found == {OURS: {"value": pytest.approx(25, abs=1e-3), "num_frames": 3, "num_real_frames": 3}}
    assert metric.about == {"backbone": "means"}


def test_a_real_frame_that_comes_twice_is_in_the_set_once() -> None:
    metric = FrameSets(Backbone({}, 2, _means), lambda: Moments(2), _value)
    for first in (0, 1):  # two starts of a prediction: frames 0 to 2 and 1 to 3 of one clip
        levels = [10 * t for t in range(first, first + 3)]
        places = [("clip", t) for t in range(first, first + 3)]
        for method in (REAL, OURS):
            metric.update(replace(_batch(method, _grey(*levels)), beside={"place": places}))
    found = metric.compute()[OURS]
    assert (found["num_frames"], found["num_real_frames"]) == (6, 4)
    plain = FrameSets(Backbone({}, 2, _means), lambda: Moments(2), _value)
    plain.update(_batch(REAL, _grey(0, 10, 20, 30)))
    plain.update(_batch(OURS, _grey(0, 10, 20, 10, 20, 30)))
    assert found["value"] == pytest.approx(plain.compute()[OURS]["value"], abs=1e-4)


def test_a_set_without_real_frames_has_no_value() -> None:
    metric = FrameSets(Backbone({}, 2, _means), lambda: Moments(2), _value)
    metric.update(_batch(OURS, _grey(1, 2, 3)))
    assert metric.compute() == {}


def test_clips_are_windows_of_one_shot() -> None:
    windows: list[list[float]] = []

    def embed(images: Sequence[Image]) -> NDArray[np.float32]:
        windows.append([float(image.mean()) for image in images])
        return np.array([[windows[-1][0], windows[-1][-1]]], np.float32)

    metric = ClipSets(Backbone({}, 2, embed), 3, lambda: Moments(2), _value)
    for shot, levels in (("a", [1, 2]), ("a", [3, 4]), ("b", [5, 6]), ("b", [7, 8, 9, 10])):
        metric.update(_batch(OURS, _grey(*levels), shot))
    assert windows == [[1, 2, 3], [5, 6, 7], [8, 9, 10]], "4 is left over: no window reaches over a cut"
    for levels in ([1, 2, 3], [4, 5, 6]):
        metric.update(_batch(REAL, _grey(*levels)))
    assert metric.compute()[OURS]["num_clips"] == 3
    assert metric.compute()[OURS]["num_real_clips"] == 2
    assert metric.about["clip_frames"] == 3


def test_a_repeated_picture_is_looked_at_once() -> None:
    looked: list[int] = []

    def function(images: Sequence[Image]) -> list[float]:
        looked.append(len(images))
        return [float(image.mean()) for image in images]

    find = Repeated(function)
    (still,) = _grey(7)
    assert find("a", [still] * 3) == [7, 7, 7]
    assert find("a", [still, *_grey(8)]) == [7, 8]
    assert find("b", [still]) == [7]
    assert looked == [1, 1, 1]


@pytest.mark.skipif(weights.find("lite0") is None, reason="the package with EfficientNet-lite0's weights is absent")
def test_distances_on_lite0_order_damage_and_say_what_they_are_made_of() -> None:
    photo: Image = data.astronaut()
    real = [np.ascontiguousarray(photo[y : y + 64, x : x + 96]) for y in (0, 90) for x in (60, 120, 180)]
    rng = np.random.default_rng(0)
    lite0 = weights.find("lite0")
    assert lite0 is not None
    setup = Setup(64, 96, {"lite0": lite0})
    names = ("lite0_distance", "fid_lite0", "kid_lite0")
    metrics: dict[str, Metric] = {row.name: open_metric(row, setup) for row in rows(names)}
    frames = {}
    for strength in (0, 10, 60):
        noise = rng.normal(0, strength, (len(real), *real[0].shape))
        images = [np.clip(image + n, 0, 255).astype(np.uint8) for image, n in zip(real, noise, strict=True)]
        batch = _batch(f"noise {strength}", images, real=real)
        frames[strength] = float(np.mean([metrics["lite0_distance"].update(batch)]))
        for name in names[1:]:
            metrics[name].update(batch)
    for name in names[1:]:
        metrics[name].update(_batch(REAL, real))
        values = [metrics[name].compute()[f"noise {strength}"]["value"] for strength in frames]
        assert values[0] < values[1] < values[2]
        assert metrics[name].about["weights"] == "lite0 579344248a93"
    assert 0 == frames[0] < frames[10] < frames[60]
    assert metrics["kid_lite0"].compute()["noise 60"]["spread"] > 0
    assert weights_note(setup, "lite0") in metrics["lite0_distance"].about["weights"]


# --- label fidelity


def _labels(text: str) -> NDArray[np.uint8]:
    return np.array([[IGNORE if c == "." else int(c) for c in line] for line in text.split()], np.uint8)


def test_borders_are_pixels_beside_another_label() -> None:
    assert borders(_labels("0001 0001 0001"), 2).tolist() == [3, 3]
    assert borders(_labels("000. 000."), 2).tolist() == [2, 0]


def _segmenter() -> Segmenter:
    """Reads the label off the red channel."""
    return Segmenter("fake 1", 3, ("road", "car", "pole"), lambda image: (image[..., 0] // 50).astype(np.uint8))


def _scene() -> NDArray[np.uint8]:
    labels = np.zeros((40, 40), np.uint8)
    labels[10:30, 5:25] = 1
    labels[5:20, 30:31] = 2  # one pixel wide: thin, and less than a hundredth of the frame
    return labels


def _picture(labels: NDArray[np.uint8]) -> Image:
    return np.repeat((labels * 50)[..., None], 3, 2)


def _fidelity(*damaged: int) -> LabelFidelity:
    """Four frames; in the damaged ones our output lacks the pole and half of the car."""
    metric, labels = LabelFidelity(_segmenter()), _scene()
    wrong = labels.copy()
    wrong[:, 15:] = 0
    images = [_picture(wrong if t in damaged else labels) for t in range(4)]
    metric.update(_batch(OURS, images, beside={"labels": [labels] * 4}))
    metric.update(_batch(REAL, [_picture(labels)] * 4, beside={"labels": [labels] * 4}))
    return metric


def test_label_fidelity_is_set_against_the_oracle_and_names_thin_and_rare_classes() -> None:
    metric = _fidelity(2)
    found = metric.compute()
    assert found[REAL]["miou"] == found[REAL]["pixel_accuracy"] == 1
    assert found[OURS]["value"] == found[OURS]["miou"] == found[OURS]["miou_of_oracle"]
    assert 0 < found[OURS]["miou"] < 1
    road, car, pole = found[OURS]["classes"]
    assert (car["name"], car["thin"], car["rare"]) == ("car", False, False)
    assert (pole["name"], pole["thin"], pole["rare"]) == ("pole", True, True)
    assert car["iou"] == pytest.approx((3 * 400 + 200) / 1600)
    assert pole["iou"] == pytest.approx(3 / 4)
    assert (road["oracle"], pole["oracle"]) == (1, 1)


def test_a_class_that_is_recognised_and_never_asked_for_is_listed_with_iou_0() -> None:
    metric, labels = LabelFidelity(_segmenter()), _labels("0000 0011")
    metric.update(_batch(OURS, [_picture(_labels("0020 0011"))], beside={"labels": [labels]}))
    found = metric.compute()[OURS]
    assert [of["iou"] for of in found["classes"]] == [pytest.approx(5 / 6), 1, 0]
    assert found["miou"] == pytest.approx((5 / 6 + 1) / 3)
    assert found["classes"][2]["share"] == 0


def test_the_worst_frames_are_listed_and_shown() -> None:
    metric = _fidelity(1, 3)
    worst = metric.compute()[OURS]["worst_frames"]
    assert [where for where, _ in worst[:2]] == ["a 1", "a 3"]
    assert worst[0][1] < worst[2][1] == 1
    pictures = metric.pictures()
    assert set(pictures) == {"worst-ours"}
    assert pictures["worst-ours"].shape == (4 * 40, 3 * 40, 3)


def test_the_source_shown_as_is_is_not_segmented() -> None:
    metric, labels = _fidelity(), _scene()
    assert metric.update(_batch(SOURCE, [_picture(labels)], beside={"labels": [labels]})) == [None]
    assert SOURCE not in metric.compute()


# --- pose error


def _person(x: float, y: float, *, missing: Sequence[int] = ()) -> Person:
    body = np.zeros((25, 3), np.float32)
    body[:, 0], body[:, 1], body[:, 2] = x + np.arange(25) % 5 * 10, y + np.arange(25) // 5 * 20, 1
    body[list(missing)] = 0
    return Person(body)


DIAGONAL = float(np.hypot(40, 80))


def test_pose_error_is_in_diagonals_of_the_person() -> None:
    assert pose_error((_person(103, 104),), (_person(100, 100),)) == pytest.approx(5 / DIAGONAL, rel=1e-5)
    assert pose_error((_person(103, 104, missing=[0, 7]),), (_person(100, 100, missing=[3]),)) == pytest.approx(
        5 / DIAGONAL, rel=1e-5
    )


def test_people_are_matched_whatever_their_order() -> None:
    expected = (_person(0, 0), _person(200, 0))
    assert pose_error((_person(206, 8), _person(0, 0)), expected) == pytest.approx(5 / DIAGONAL, rel=1e-5)


def test_someone_far_away_is_another_person() -> None:
    assert pose_error((_person(400, 0),), (_person(0, 0),)) is None
    assert pose_error((), (_person(0, 0),)) is None


def test_pose_recall_counts_the_people_and_key_points_that_pose_error_leaves_out() -> None:
    expected = (_person(0, 0), _person(200, 0))
    assert pose_error((_person(0, 0),), expected) == 0  # the second one is not there
    assert pose_recall((_person(0, 0),), expected) == 0.5
    assert pose_recall((_person(0, 0, missing=range(5)), _person(200, 0, missing=[3])), expected) == 44 / 50
    assert pose_recall(expected, (_person(0, 0, missing=[3, 4]),)) == 1
    assert pose_recall((), expected) == pose_recall((_person(600, 0),), expected) == 0
    assert pose_recall(expected, (_person(0, 0, missing=range(1, 25)),)) is None


class _Pose:
    """Sees one person, 3 pixels right and 4 below the mean brightness; nobody in the dark."""

    name, version = "fake", "1"
    looks = 0

    def __call__(self, image: Image) -> NDArray[np.float32]:
        self.looks += 1
        level = float(image.mean())
        return _person(level + 3, level + 4).body[None] if level > 10 else np.zeros((0, 25, 3), np.float32)


def test_pose_metric_tells_missed_people_from_frames_without_any() -> None:
    pose = _Pose()
    setup = Setup(40, 40, {}, pose=pose)
    metric, recall = (open_metric(row, setup) for row in rows(("pose_error", "pose_recall")))
    people = [(_person(50, 50),), None, (_person(60, 60),), (_person(9, 9),)]
    batch = _batch(OURS, _grey(50, 50, 60, 0), beside={"people": people})
    found = metric.update(batch)
    assert recall.update(batch) == [1, None, 1, 0]
    assert pose.looks == 3  # at each image once for both
    assert found == [pytest.approx(5 / DIAGONAL, rel=1e-5), None, pytest.approx(5 / DIAGONAL, rel=1e-5), MISSED]
    assert metric.about["estimator"] == "fake 1"
    assert metric.update(_batch(OURS, _grey(50))) == [None]


@pytest.mark.slow
def test_set_metrics_on_the_stores_weights_are_open_to_a_clip(tmp_path: Path) -> None:
    """VFID on torchvision's network, whose weights are a file of the store."""
    import torch
    from torchvision.models.video import r3d_18

    torch.manual_seed(0)
    torch.save(r3d_18(weights=None).state_dict(), tmp_path / "r3d18.pth")
    metric = open_metric(rows(("vfid_r3d18",))[0], Setup(40, 40, {"r3d18": tmp_path / "r3d18.pth"}))
    assert metric.about["backbone"].startswith("3-D ResNet-18")
    for method in (OURS, REAL):
        metric.update(_batch(method, _grey(*range(0, 240, 4))))
    found = metric.compute()[OURS]
    assert found["value"] == pytest.approx(0, abs=1e-6)
    assert found["num_clips"] == 2
