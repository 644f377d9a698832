"""Retargeting: landmarks and skeletons get another person's proportions and place, and keep what they express."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conditions import made_by
from tests.errors import raises
from tests.faces import face_landmarks, photo
from tests.people import body, person
from tests.unit.rendering import render, save_untrained
from tests.unit.video_files import read_raw, write_file
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import read_info
from v2vkit.conditions.body_proportions import BONES, BodyProportions, measure_body, retarget_people
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.conditions.edges import EdgesCondition
from v2vkit.conditions.face import FaceCondition, FaceLandmarks
from v2vkit.conditions.face_proportions import FaceProportions, measure_face, retarget_face
from v2vkit.conditions.people import Person
from v2vkit.conditions.pose import People, PoseCondition
from v2vkit.conditions.proportions import retargeting
from v2vkit.inference.conditioned import ConditionedFrame, conditioned_frames
from v2vkit.inference.sources import open_source
from v2vkit.inference.transfer import find_proportions, paste_back, soft_mask
from v2vkit.video.framing import Window
from v2vkit.video.stream import InputFrame

MOUTHS = (0.05, 0.1, 0.2, 0.1)


def _turned(points: np.ndarray, degrees: float) -> np.ndarray:
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    middle = points.mean(0)
    return ((points - middle) @ np.array([[cos, sin], [-sin, cos]]) + middle).astype(np.float32)


def _other_person(points: np.ndarray) -> np.ndarray:
    """The same expression on a longer jaw, with a wider mouth."""
    changed = points.copy()
    changed[:17, 1] += (changed[:17, 1] - changed[36:48, 1].mean()) * 0.2
    middle = changed[48:68].mean(0)
    changed[48:68, 0] = middle[0] + (changed[48:68, 0] - middle[0]) * 1.3
    return changed


def _faces(x: float, y: float, width: float) -> list[np.ndarray]:
    return [face_landmarks(x + 2 * t, y, width, mouth_open=mouth) for t, mouth in enumerate(MOUTHS)]


def test_a_face_gets_the_proportions_and_the_place_of_another() -> None:
    """The driver's frames become those that the target would have shown with the same expressions and movements."""
    driver = _faces(100, 90, 120)
    wanted = [_other_person(points) for points in _faces(60, 50, 60)]
    for t, points in enumerate(wanted):  # the driver moves by 2 pixels, which are 1 of a face of half the size
        points[:, 0] += 1.5 - t
    own, target = measure_face(driver), measure_face(wanted)
    assert own is not None
    assert target is not None
    for points, expected in zip(driver, wanted, strict=True):
        found = retarget_face(points, own, target)
        assert np.abs(found - expected).max() < 0.02 * 60
        assert np.abs(points / 2 - expected).max() > 0.08 * 60, "scaling alone does not do it"


def test_a_face_that_turns_goes_on_turning() -> None:
    driver, target = measure_face(_faces(100, 90, 120)), measure_face([_other_person(of) for of in _faces(60, 50, 60)])
    assert driver is not None
    assert target is not None
    for degrees in (-20, 15):
        found = retarget_face(_turned(face_landmarks(100, 90, 120), degrees), driver, target)
        across = found[45] - found[36]
        assert np.degrees(np.arctan2(across[1], across[0])) == pytest.approx(degrees, abs=1)


def test_a_face_may_keep_its_place() -> None:
    driver, target = measure_face(_faces(100, 90, 120)), measure_face([_other_person(of) for of in _faces(60, 50, 60)])
    assert driver is not None
    assert target is not None
    points = face_landmarks(100, 90, 120)
    found = retarget_face(points, driver, target, keep_place=True)
    eyes = slice(36, 48)
    assert np.abs(found[eyes].mean(0) - points[eyes].mean(0)).max() < 2
    assert np.ptp(found[48:68, 0]) / np.ptp(points[48:68, 0]) == pytest.approx(1.3, abs=0.05)


def test_a_face_like_the_target_does_not_change() -> None:
    faces = _faces(100, 90, 120)
    own = measure_face(faces)
    assert own is not None
    for points in faces:
        np.testing.assert_allclose(retarget_face(points, own, own), points, atol=1e-3)
    assert FaceProportions.model_validate_json(own.model_dump_json()) == own
    assert measure_face([None]) is None


def _longer_legs(points: np.ndarray, factor: float) -> np.ndarray:
    """The same pose on legs that are longer by this factor, on the same ground."""
    changed = points.copy()
    hip = points[8, 1]
    below = [*range(9, 15), *range(19, 25)]
    hips = {9: 9, 12: 12}
    for joint in below:
        if joint not in hips:
            side = 9 if joint in (10, 11, 22, 23, 24) else 12
            changed[joint, :2] = changed[side, :2] + (points[joint, :2] - points[side, :2]) * factor
    changed[:, 1] += points[11, 1] - changed[11, 1]
    assert hip > 0
    return changed


def test_a_body_gets_limbs_height_and_ground_of_another() -> None:
    driver = [body(100 + 3 * t, 10, 200) for t in range(5)]
    wanted = [_longer_legs(body(50 + 1.5 * t, 20, 100), 1.4) for t in range(5)]
    own, target = measure_body([(Person(of),) for of in driver]), measure_body([(Person(of),) for of in wanted])
    assert own is not None
    assert target is not None
    for points, expected in zip(driver, wanted, strict=True):
        ((found,),) = [retarget_people((Person(points),), own, target)]
        np.testing.assert_allclose(found.body, expected, atol=1.0)


def test_directions_of_limbs_stay() -> None:
    driver, target = [(Person(body(100, 10, 200)),)], [(Person(_longer_legs(body(50, 20, 100), 1.4)),)]
    own, wanted = measure_body(driver), measure_body(target)
    assert own is not None
    assert wanted is not None
    raised = body(100, 10, 200)
    raised[4, :2] = raised[3, :2] + (-30, -20)  # a raised hand
    ((found,),) = [retarget_people((Person(raised),), own, wanted)]
    for first, last in BONES:
        before, after = raised[last, :2] - raised[first, :2], found.body[last, :2] - found.body[first, :2]
        cosine = before @ after / (np.linalg.norm(before) * np.linalg.norm(after))
        assert cosine > 0.999


def test_hands_and_faces_follow_and_missing_points_stay_missing() -> None:
    driver, target = person(100, 10, 200), person(50, 20, 100)
    own, wanted = measure_body([(driver,)]), measure_body([(target,)])
    assert own is not None
    assert wanted is not None
    driver.body[21] = 0
    (found,) = retarget_people((driver,), own, wanted)
    assert not found.body[21].any()
    for name in ("face", "left_hand", "right_hand"):
        np.testing.assert_allclose(getattr(found, name), getattr(target, name), atol=0.6)


def test_without_feet_the_hip_decides() -> None:
    def upper(points: np.ndarray) -> np.ndarray:
        points[[10, 11, 13, 14, *range(19, 25)]] = 0
        return points

    own, wanted = (measure_body([(Person(upper(body(*at))),)]) for at in ((100, 10, 200), (50, 20, 100)))
    assert own is not None
    assert wanted is not None
    assert own.ground is None
    ((found,),) = [retarget_people((Person(upper(body(100, 10, 200))),), own, wanted)]
    np.testing.assert_allclose(found.body, upper(body(50, 20, 100)), atol=0.5)
    assert BodyProportions.model_validate_json(own.model_dump_json()) == own


def test_without_people_there_are_no_proportions() -> None:
    assert measure_body([()]) is None
    assert measure_body([(Person(np.zeros((25, 3), np.float32)),)]) is None


def test_a_shot_without_anybody_at_its_beginning_is_left_as_it_is() -> None:
    condition = PoseCondition()
    nobody, later = People((), (64, 96), found=False), People((Person(body()),), (64, 96))
    image = np.zeros((96, 64, 3), np.uint8)
    stream = [(image, nobody)] * 60 + [(image, later)]
    target = measure_body([(Person(body(30, 10, 40)),)])
    found = list(retargeting(lambda frames: iter(stream), condition, target, keep_place=False)([]))
    assert [annotation for _, annotation in found] == [annotation for _, annotation in stream]


def test_rendering_retargets_what_it_estimates(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    source = write_file(tmp_path / "in.mp4", [photo(200, 240)] * 4)
    wanted = measure_face([face_landmarks(20, 22, 16)])
    info = save_untrained(tmp_path, "face", proportions=wanted)
    assert read_info(Folder(f"{tmp_path}/checkpoints/spatial-1")).proportions == wanted
    places = []
    for target in (None, wanted):
        frames = list(conditioned_frames(open_source(str(source), info), info, target=target))
        assert len(frames) == 4
        assert frames[0].regions is not None
        xs = np.nonzero(frames[0].regions)[1]
        places.append((xs.mean(), np.ptp(xs)))
    assert abs(places[1][0] - 20) < 2 < abs(places[0][0] - 20)
    assert places[1][1] == pytest.approx(16, abs=3)
    assert render(source, tmp_path / "out.mp4", tmp_path, retarget=True) == []
    assert len(read_raw(tmp_path / "out.mp4")[0]) == 4


def test_models_that_cannot_retarget_are_refused_before_work_starts(tmp_path: Path) -> None:
    source, target = write_file(tmp_path / "in.mp4", [photo()] * 2), tmp_path / "out.mp4"
    save_untrained(tmp_path, "face")
    with raises("retargeting-unsupported", "sketches"):
        render(source, target, tmp_path, retarget=True)
    with raises("setting-unused", "--retarget"):
        render(tmp_path, target, tmp_path, retarget=True, maps=True)
    segmented = {"segment": "deeplab", "weights": None}
    save_untrained(tmp_path, "street", maps_stage="segment", maps=segmented)
    for flag in ("retarget", "paste_back"):
        with raises(
            f"{'retargeting' if flag == 'retarget' else 'paste-back'}-unsupported", f"--{flag.replace('_', '-')}"
        ):
            render(source, target, tmp_path, **{flag: True})
    assert not target.exists()


def test_a_rendered_face_is_put_back_into_the_whole_frame(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    save_untrained(tmp_path, "face", frames={"crop": "face", "face": "mediapipe"})
    frames = [photo(300, 400)] * 3
    source = write_file(tmp_path / "in.mp4", frames, options={"qp": "0"})
    render(source, f"{tmp_path}/out/", tmp_path, paste_back=True)
    found = cv2.imread(str(tmp_path / "out/000002.png"))[..., ::-1].astype(int)
    before = read_raw(source)[0][2].astype(int)
    assert found.shape == before.shape
    changed = np.abs(found - before).max(2) > 30
    assert changed[110:190, 160:240].mean() > 0.3, "the face is another"
    assert np.abs(found - before)[:, :60].mean() < 2, "the rest is as it was"
    with raises("setting-conflict", "--compare"):
        render(source, tmp_path / "out.mp4", tmp_path, paste_back=True, compare=True)


def test_a_face_is_put_back_where_its_window_reaches_beyond_the_frame() -> None:
    original = np.full((40, 50, 3), 100, np.uint8)
    regions = np.zeros((32, 32), np.int32)
    regions[8:24, 8:24] = 65536
    frame = ConditionedFrame(
        np.zeros((15, 32, 32), np.float32),
        InputFrame(original=original, window=Window(-16, -16, 64, 64)),
        regions=regions,
    )
    pasted = paste_back(frame, np.full((32, 32, 3), 200, np.uint8))
    assert pasted[8, 8].tolist() == [200] * 3
    assert pasted[39, 49].tolist() == [100] * 3
    nobody = ConditionedFrame(frame.s, frame.frame, regions=np.zeros((32, 32), np.int32))
    assert paste_back(nobody, pasted[:32, :32]) is original


def test_a_mask_is_soft_and_ends_before_the_border() -> None:
    face = np.zeros((60, 60), bool)
    face[20:, 20:40] = True
    mask = soft_mask(face)
    assert mask[40, 30] > 0.95
    assert mask[0].max() == 0
    assert 0 < mask[59, 30] < 0.5, "the border itself is 0 before the blur"
    steps = np.abs(np.diff(mask[:, 30]))
    assert steps.max() < 0.5


def test_edges_of_the_drivers_face_are_not_drawn(tmp_path: Path) -> None:
    """The frame moves with the face, so that the edges around it stay in place; those of the driver's face go."""
    driver_points, wanted_points = face_landmarks(60, 44, 50), face_landmarks(50, 40, 30)
    image = np.full((96, 128, 3), 90, np.uint8)
    cv2.polylines(image, [driver_points[:17].astype(np.int32)], False, (255, 255, 255), 2)
    image[:, 110:] = 220  # a wall
    condition = FaceCondition(canny=True)
    own, target = measure_face([driver_points]), measure_face([wanted_points])
    assert own is not None
    assert target is not None
    annotation = condition.retarget(FaceLandmarks(driver_points, (128, 96)), own, target)
    moved = condition.retarget_frame(image, own, target)
    sketch = condition.draw(annotation, moved).sketch
    assert sketch is not None
    bare = FaceCondition(canny=False).draw(annotation, moved).sketch
    assert bare is not None
    edges = np.nonzero((sketch > 0) & (bare == 0))[1]
    zoom = target.size / own.size
    assert len(edges) > 20
    at_the_wall = np.abs(edges - (target.x + (110 - own.x) * zoom)) < 4
    assert at_the_wall.mean() > 0.75, "little but the wall, where it has moved to"


def test_a_face_beside_other_maps_is_not_retargeted(tmp_path: Path) -> None:
    face = save_untrained(tmp_path, "face")
    conditions = Conditioning.of(*face.conditioning.conditions, EdgesCondition())
    info = face.model_copy(update={"conditioning": conditions, "origins": (*face.origins, *made_by("make-edges"))})
    with raises("retargeting-unsupported", "edges"):
        find_proportions(info, Folder(str(tmp_path)))
