"""YOLO networks: what their results become, and that opening ultralytics leaves no trace and asks for nothing."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.errors import raises
from tests.networks import needs_ultralytics, noise, seeing, yolo_weights
from v2vkit.conditions.people import MID_HIP, NECK
from v2vkit.estimators.keypoints import to_body_25
from v2vkit.estimators.ultralytics_models import YoloPose, YoloSegment, paint

ROOT = Path(__file__).resolve().parents[2]

# The network sees a picture 200 x 100 at 160 x 80 in the middle of 160 x 96: 0.8 of the size, 8 rows below the border.
PICTURE = (100, 200)
NETWORK = (96, 160)
CLASSES = 80


def to_network(x: float, y: float) -> tuple[float, float]:
    return x * 0.8, y * 0.8 + 8


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> YoloSegment:
    needs_ultralytics()
    return YoloSegment(weights=yolo_weights(tmp_path_factory.mktemp("weights") / "s.pt", "segment"))


@pytest.fixture(scope="module")
def pose(tmp_path_factory: pytest.TempPathFactory) -> YoloPose:
    needs_ultralytics()
    return YoloPose(weights=yolo_weights(tmp_path_factory.mktemp("weights") / "p.pt", "pose"))


def _objects(objects: list[tuple[int, float, tuple[int, int, int, int]]]) -> tuple[torch.Tensor, torch.Tensor]:
    """What a network says that sees objects: class, score and (left, top, right, bottom) in the picture."""
    raw = torch.zeros(1, 4 + CLASSES + 32, len(objects))
    protos = torch.full((1, 32, NETWORK[0] // 4, NETWORK[1] // 4), -10.0)
    for number, (label, score, (left, top, right, bottom)) in enumerate(objects):
        (x0, y0), (x1, y1) = to_network(left, top), to_network(right, bottom)
        raw[0, :4, number] = torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0])
        raw[0, 4 + label, number] = score
        raw[0, 4 + CLASSES + number, number] = 1
        protos[0, number, round(y0 / 4) : round(y1 / 4), round(x0 / 4) : round(x1 / 4)] = 10
    return raw, protos


def test_objects_land_where_they_are(segment: YoloSegment) -> None:
    boxes = {7: (20, 10, 80, 60), 2: (120, 40, 190, 90)}
    with seeing(*_objects([(7, 0.6, boxes[7]), (2, 0.9, boxes[2]), (5, 0.2, (0, 0, 30, 30))])):
        found = segment(noise(*PICTURE))
    assert found.instances is not None
    assert set(np.unique(found.labels)) == {2, 7, 255}, "the third one scores too little"
    for label, instance in ((2, 1), (7, 2)):
        rows, columns = np.nonzero(found.labels == label)
        edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        np.testing.assert_allclose(edges, boxes[label], atol=3)
        assert (found.labels == label).sum() > 0.9 * len(np.unique(rows)) * len(np.unique(columns))
        np.testing.assert_array_equal(found.instances == instance, found.labels == label)


def test_objects_of_one_class_have_numbers_of_their_own(segment: YoloSegment) -> None:
    with seeing(*_objects([(3, 0.5, (20, 20, 60, 60)), (3, 0.7, (60, 20, 100, 60))])):
        found = segment(noise(*PICTURE))
    assert found.instances is not None
    assert set(np.unique(found.labels)) == {3, 255}
    assert found.instances[40, 80] == 1
    assert found.instances[40, 40] == 2


def test_nothing_seen_is_all_ignored(segment: YoloSegment) -> None:
    with seeing(*_objects([(3, 0.1, (20, 20, 60, 60))])):
        found = segment(noise(*PICTURE))
    assert found.instances is not None
    assert (found.labels == 255).all()
    assert not found.instances.any()


def test_the_surer_object_lies_on_top() -> None:
    masks = np.zeros((3, 1, 6), np.uint8)
    masks[0, :, :4], masks[1, :, 2:], masks[2, :, 3:5] = 1, 1, 1
    found = paint(masks, np.array([10, 20, 30]), np.array([0.5, 0.9, 0.7], np.float32))
    assert found.labels.tolist() == [[10, 10, 20, 20, 20, 20]]
    assert found.instances is not None
    assert found.instances.tolist() == [[3, 3, 1, 1, 1, 1]]
    assert paint(masks[:0], np.zeros(0), np.zeros(0, np.float32)).labels.tolist() == [[255] * 6]


def test_score_and_side_are_settings(tmp_path: Path) -> None:
    needs_ultralytics()
    path = yolo_weights(tmp_path / "s.pt", "segment")
    shapes = []
    for side in (None, 96):
        estimator = YoloSegment(weights=path, input_side=side, min_score=0.15)
        with seeing(*_objects([(3, 0.2, (20, 20, 60, 60))])) as shown:
            found = estimator(noise(*PICTURE))
        shapes += shown
        assert found.instances is not None
        assert found.instances.max() == 1, "0.2 is enough"
    assert shapes == [(96, 160), (64, 96)]


def _coco(x: float, y: float, height: float) -> np.ndarray:
    """A person of COCO's 17 points in the picture, [17, 3]: every point at a place and with a score of its own."""
    points = np.stack([x + np.arange(17) % 5 * height / 8, y + np.arange(17) * height / 17], 1)
    return np.concatenate([points, 0.5 + np.arange(17)[:, None] / 40], 1).astype(np.float32)


def test_several_people_land_where_they_are(pose: YoloPose) -> None:
    people = [_coco(20, 10, 70), _coco(120, 20, 60)]
    raw = torch.zeros(1, 4 + CLASSES + 51, 2)
    for number, (points, score) in enumerate(zip(people, (0.6, 0.8), strict=True)):
        (x0, y0), (x1, y1) = to_network(*points[:, :2].min(0)), to_network(*points[:, :2].max(0))
        raw[0, :5, number] = torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, score])
        seen = [(*to_network(x, y), sure) for x, y, sure in points]
        raw[0, 4 + CLASSES :, number] = torch.tensor(seen).flatten()
    with seeing(raw):
        found = pose(noise(*PICTURE))
    assert found.shape == (2, 25, 3)
    assert found.dtype == np.float32
    for body, points in zip(found, reversed(people), strict=True):
        np.testing.assert_allclose(body, to_body_25(points[None], "coco17")[0], atol=0.01)


def test_nobody_seen_is_no_people(pose: YoloPose) -> None:
    with seeing(torch.zeros(1, 4 + CLASSES + 51, 1)):
        assert pose(noise(*PICTURE)).shape == (0, 25, 3)


def test_coco_becomes_body_25() -> None:
    """Every point by its name, left and right as the person has them."""
    pairs = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    coco = ["nose", *(f"{side}_{part}" for part in pairs for side in "lr")]
    arm, leg = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
    body_25 = ["nose", "neck", *(f"{side}_{part}" for side in "rl" for part in arm), "mid_hip"]
    body_25 += [f"{side}_{part}" for side in "rl" for part in leg]
    body_25 += ["r_eye", "l_eye", "r_ear", "l_ear"]
    points = _coco(10, 10, 100)
    (body,) = to_body_25(points[None], "coco17")
    for number, name in enumerate(body_25):
        if name in coco:
            np.testing.assert_array_equal(body[number], points[coco.index(name)], err_msg=name)
    for middle, left in ((NECK, coco.index("l_shoulder")), (MID_HIP, coco.index("l_hip"))):
        pair = points[left : left + 2]
        np.testing.assert_allclose(body[middle, :2], pair[:, :2].mean(0), rtol=1e-6)
        assert body[middle, 2] == pair[:, 2].min()
    assert not body[19:].any()
    points[5, 2] = 0
    assert not to_body_25(points[None], "coco17")[0, [NECK, 5]].any()
    assert to_body_25(points[:0].reshape(0, 17, 3), "coco17").shape == (0, 25, 3)


def test_weights_for_something_else_are_refused(tmp_path: Path) -> None:
    needs_ultralytics()
    segment, pose = (yolo_weights(tmp_path / f"{task}.pt", task) for task in ("segment", "pose"))
    with raises("weights-unsupported", "segment.pt", "'segment'"):
        YoloPose(weights=segment)
    with raises("weights-unsupported", "pose.pt", "'pose'"):
        YoloSegment(weights=pose)
    content = torch.load(pose, weights_only=False)
    content["model"].kpt_shape = [5, 3]
    torch.save(content, tmp_path / "hands.pt")
    with raises("weights-unsupported", "hands.pt", "5 key points", "17"):
        YoloPose(weights=tmp_path / "hands.pt")


@pytest.mark.slow
def test_nothing_is_changed_asked_for_or_left_behind(tmp_path: Path) -> None:
    """In a process of its own: what ultralytics does when it is imported, and when a file is read, is undone."""
    needs_ultralytics()
    weights = yolo_weights(tmp_path / "yolov5s.pt", "segment")  # a name that ultralytics would look for as yolov5su
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    home.mkdir()
    code = f"""
import os, socket, subprocess, sys, warnings
import builtins, json
import cv2, numpy as np, PIL.Image, PIL.ImageFile, torch, torchvision
from v2vkit.estimators.registry import open_estimator
asked = []
def refuse(*args, **kwargs):
    asked.append(args)
    raise OSError("no network in this test")
socket.socket.connect = socket.getaddrinfo = refuse
run = subprocess.Popen.__init__
def watch(self, args, *more, **kwargs):
    if "pip" in str(args):
        asked.append(args)
    return run(self, args, *more, **kwargs)
subprocess.Popen.__init__ = watch
cv2.setNumThreads(3)
torch.set_num_threads(2)
np.set_printoptions(precision=3)
torch.set_printoptions(linewidth=77)
modules = (builtins, cv2, json, np, PIL.Image, PIL.ImageFile, torch, torch.nn.Module, torch.serialization, warnings)
def functions(module):
    return {{name: value for name, value in vars(module).items() if callable(value)}}
def state():
    printing = {{key: str(value) for key, value in np.get_printoptions().items()}}
    return (dict(os.environ), cv2.getNumThreads(), torch.get_num_threads(), printing, torch.save, os.getcwd(),
            list(warnings.filters), dict(vars(torch._tensor_str.PRINT_OPTS)),
            set(torch.serialization.get_safe_globals()), *map(functions, modules))
before = state()
assert "OMP_NUM_THREADS" not in before[0]
estimator = open_estimator("segment", "yolo", weights={str(weights)!r})
assert "ultralytics" in sys.modules
estimator(np.zeros((40, 50, 3), np.uint8))
for was, now in zip(before, state()):
    assert was == now, (was, now)
assert not asked, asked
from ultralytics import settings
assert not settings["sync"]
print("done")
"""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=work, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["done"]
    assert done.stderr == ""
    assert list(work.iterdir()) == []
    assert [path for path in home.rglob("*") if "ltralytics" in path.name] == []


@pytest.mark.slow
def test_an_ultralytics_that_was_opened_otherwise_is_refused(tmp_path: Path) -> None:
    needs_ultralytics()
    weights = yolo_weights(tmp_path / "s.pt", "segment")
    code = (
        "import ultralytics\n"
        "from v2vkit.errors import V2VError\n"
        "from v2vkit.estimators.ultralytics_models import YoloSegment\n"
        "try:\n"
        f"    YoloSegment(weights={str(weights)!r})\n"
        "except V2VError as error:\n"
        "    print(error.code)\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "YOLO_OFFLINE": "true"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.splitlines()[-1:] == ["library-conflict"], done.stderr


def test_its_threads_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_ultralytics()
    from v2vkit.estimators import ultralytics_models

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(ultralytics_models, "allowed_cores", lambda: 77)
    with ultralytics_models.safe_ultralytics():
        assert os.environ["OMP_NUM_THREADS"] == "77"


def test_without_the_package_the_pip_line_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from v2vkit.estimators.registry import open_estimator

    (tmp_path / "w.pt").write_bytes(b"anything")
    for name in [name for name in sys.modules if name.split(".")[0] == "ultralytics"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    for task in ("pose", "segment"):
        with raises("library-missing", "ultralytics", "v2vkit[yolo]"):
            open_estimator(task, "yolo", weights=str(tmp_path / "w.pt"))
