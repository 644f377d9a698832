"""Key point files of OpenPose as people have them: which frame each belongs to, other pictures, other programs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.errors import raises
from tests.people import body
from tests.unit.video_files import moving_frames, write_file
from v2vkit.artifacts.images import encode_png
from v2vkit.artifacts.manifest import ClipInfo
from v2vkit.conditions.openpose_files import check_files, files_digest, pose_files
from v2vkit.conditions.people_files import people_from_json
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.estimate_pose import STAGE, PoseConfig
from v2vkit.stages.ingest import STAGE as INGEST
from v2vkit.stages.ingest import IngestConfig

WIDTH, HEIGHT = 64, 48


def openpose(points: np.ndarray) -> bytes:
    return json.dumps({"version": 1.3, "people": [{"pose_keypoints_2d": points.ravel().tolist()}]}).encode()


SOMEBODY = openpose(body(30, 2, 42))


def write(folder: Path, names: list[str], data: bytes = SOMEBODY) -> str:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}_keypoints.json").write_bytes(data)
    return str(folder)


def numbered(name: str, numbers: Any) -> list[str]:
    return [f"{name}_{number:012d}" for number in numbers]


def clip(start: int, stop: int, **source: Any) -> ClipInfo:
    about = {"file": "walk.mp4", "crop": [0, 0, WIDTH, HEIGHT], "size": [WIDTH, HEIGHT], "start": start, "stop": stop}
    return ClipInfo(name="walk-0000", num_frames=stop - start, width=WIDTH, height=HEIGHT, source=about | source)


def image_clip(names: list[str], start: int = 0) -> ClipInfo:
    images = [f"{name}.jpg" for name in names]
    return clip(start, start + len(names), file="images/walk", images=images)


def paired(folder: str, *clips: ClipInfo, whole: bool = True) -> list[str]:
    """The names of the files of all frames, less what OpenPose puts behind them."""
    check_files(folder, clips, whole=whole)
    return [file.name.removesuffix("_keypoints.json") for each in clips for file in pose_files(folder, each)]


# Which file belongs to which frame


def test_files_belong_to_images_of_their_name_and_others_are_told(tmp_path: Path) -> None:
    names = numbered("walk", range(9))
    kept = [name for number, name in enumerate(names) if number not in (3, 4)]
    folder = write(tmp_path / "keypoints", names)
    assert paired(folder, image_clip(kept)) == kept
    (told,) = check_files(folder, [image_clip(kept)], whole=True).values()
    assert "2 of 9 files" in told
    assert check_files(folder, [image_clip(names[:5])], whole=False) == {}, "the others may be left out on purpose"


def test_every_image_needs_a_file_where_some_have_one(tmp_path: Path) -> None:
    names = numbered("walk", range(6))
    folder = write(tmp_path / "keypoints", [*names[:5], "other_000000000005"])
    with raises("keypoints-missing", "1 of 6", "walk_000000000005"):
        paired(folder, image_clip(names[:3]), image_clip(names[3:], 3))


@pytest.mark.parametrize("clips", [1, 2])
def test_images_with_gaps_and_files_of_other_names_are_refused(tmp_path: Path, clips: int) -> None:
    """Also where the gap lies between two clips."""
    names = [f"photo{number}" for number in (0, 1, 2, 7, 8, 9)]
    folder = write(tmp_path / "keypoints", numbered("walk", range(6)))
    found = [image_clip(names)] if clips == 1 else [image_clip(names[:3]), image_clip(names[3:], 3)]
    with raises("keypoints-ambiguous", "photo2, photo7"):
        paired(folder, *found)


def test_images_that_count_from_one_take_the_frames_of_a_video_in_order(tmp_path: Path) -> None:
    folder = write(tmp_path / "keypoints", numbered("walk", range(6)))
    images = [f"img{number:04d}" for number in range(1, 7)]
    assert paired(folder, image_clip(images)) == numbered("walk", range(6))
    with raises("frame-count-mismatch", "6", "walk", "5 frames"):
        paired(folder, image_clip(images[:5]))


@pytest.mark.parametrize(
    ("numbers", "code", "told"),
    [
        ([0, 1, 2, 4, 5], "keypoints-missing", ["frame 3", "walk.mp4"]),
        (range(0, 6, 2), "keypoints-missing", ["frame 1", "walk.mp4"]),
        (range(0, 12, 2), "frame-count-mismatch", ["walk_000000000010_keypoints.json", "walk.mp4", "6 frames"]),
        ([0, 1, 2, 3, 4, 5, 9], "frame-count-mismatch", ["walk_000000000009_keypoints.json", "walk.mp4", "6 frames"]),
        (range(12), "frame-count-mismatch", ["12", "walk.mp4", "6 frames"]),
        (range(1, 6), "frame-count-mismatch", ["5", "walk.mp4", "6 frames"]),
        ([1, 2, 4, 5, 6, 7], "keypoints-missing", ["number 3"]),
    ],
)
def test_numbers_that_do_not_go_with_a_video_are_refused(
    tmp_path: Path, numbers: Any, code: str, told: list[str]
) -> None:
    folder = write(tmp_path / "keypoints", numbered("walk", numbers))
    with raises(code, *told):
        paired(folder, clip(0, 3), clip(3, 6))


def test_frames_of_a_video_take_files_by_number_where_others_are_missing(tmp_path: Path) -> None:
    """Those of a shot that was too short to be a clip."""
    folder = write(tmp_path / "keypoints", numbered("walk", [0, 1, 2, 5, 6, 7]))
    assert paired(folder, clip(0, 3, short_shots=[[3, 5]]), clip(5, 8)) == numbered("walk", [0, 1, 2, 5, 6, 7])


def test_the_first_number_is_told_where_the_length_is_not_known(tmp_path: Path) -> None:
    folder = write(tmp_path / "keypoints", numbered("walk", range(1, 9)))
    (told,) = check_files(folder, [clip(0, 4)], whole=False).values()
    assert "walk_000000000001_keypoints.json" in told
    assert "is taken for the first frame" in told
    assert paired(folder, clip(0, 4), whole=False) == numbered("walk", range(1, 5))


def test_files_without_numbers_must_be_as_many_as_frames(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    folder = write(tmp_path / "keypoints", names)
    assert paired(folder, clip(0, 3)) == names
    for whole in (True, False):
        with raises("keypoints-ambiguous", "a_keypoints.json", "3 JSON files"):
            paired(folder, clip(0, 2), whole=whole)


def test_files_of_two_videos_in_one_folder_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "keypoints", numbered("walk", range(3)) + numbered("run", range(3)))
    with raises("keypoints-ambiguous"):
        paired(folder, clip(0, 3))


def test_two_files_for_one_image_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "keypoints", ["a", "b"])
    (tmp_path / "keypoints/b.json").write_bytes(SOMEBODY)
    with raises("keypoints-ambiguous", "b"):
        paired(folder, image_clip(["a", "b"]))


def test_hidden_files_are_left_out(tmp_path: Path) -> None:
    names = numbered("walk", range(3))
    folder = write(tmp_path / "keypoints", names)
    before = files_digest(folder)
    write(tmp_path / "keypoints", [f"._{name}" for name in names], b"\0\5\x16\7Mac OS X")
    write(tmp_path / "keypoints/.Trash", names)
    assert paired(folder, clip(0, 3)) == names
    assert files_digest(folder) == before


# Key points of other pictures


def test_normalised_coordinates_are_refused(tmp_path: Path) -> None:
    for name, scale, shift in (("zero to one", (1 / WIDTH, 1 / HEIGHT), 0), ("-1 to 1", (2 / WIDTH, 2 / HEIGHT), -1)):
        points = body(30, 2, 42)
        points[:, :2] = points[:, :2] * scale + shift
        folder = write(tmp_path / name, numbered("walk", range(3)), openpose(points))
        with raises("keypoints-out-of-range", "--keypoint_scale 0"):
            check_files(folder, [clip(0, 3)], whole=True)


def test_key_points_of_larger_pictures_are_refused_and_of_smaller_ones_told(tmp_path: Path) -> None:
    def scaled(factor: float) -> str:
        points = body(30, 2, 42)
        points[:, :2] *= factor
        return write(tmp_path / str(factor), numbered("walk", range(3)), openpose(points))

    assert check_files(scaled(1), [clip(0, 3)], whole=True) == {}
    with raises("keypoints-out-of-range", "100 %", "64x48", "walk.mp4", "--keypoint_scale 0"):
        check_files(scaled(3), [clip(0, 3)], whole=True)
    (told,) = check_files(scaled(1.5), [clip(0, 3)], whole=True).values()
    assert "were they written for larger pictures?" in told
    (told,) = check_files(scaled(0.4), [clip(0, 3)], whole=True).values()
    assert "were they written for smaller pictures?" in told


def test_points_beside_the_crop_are_no_points_beside_the_picture(tmp_path: Path) -> None:
    """What is cut away by `ingest --crop` is inside the frames that OpenPose saw."""
    folder = write(tmp_path / "keypoints", numbered("walk", range(3)))
    assert check_files(folder, [clip(0, 3, crop=[40, 0, 24, 24])], whole=True) == {}


def test_files_without_anybody_are_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "keypoints", numbered("walk", range(3)), b'{"people": []}')
    (told,) = check_files(folder, [clip(0, 3)], whole=True).values()
    assert "nobody in any file" in told


def test_what_is_left_out_is_a_problem_of_the_run_and_of_the_next_one(tmp_path: Path) -> None:
    images = tmp_path / "walk"
    images.mkdir()
    for number, picture in enumerate(moving_frames(4)):
        (images / f"walk_{number + number // 2:012d}.png").write_bytes(encode_png(picture))
    folder = write(tmp_path / "keypoints", numbered("walk", range(6)))
    options = RunOptions(work=str(tmp_path / "work"), workers=1)
    run(INGEST, IngestConfig(sources=(str(images),), cuts="none", min_frames=1), options)
    for _ in range(2):
        (problem,) = run(STAGE, PoseConfig(openpose=folder), options).problems
        assert "2 of 6 files" in problem


def test_files_of_another_video_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    options = RunOptions(work=str(tmp_path / "work"), workers=1)
    video = write_file(tmp_path / "walk.mp4", moving_frames(6))
    run(INGEST, IngestConfig(sources=(str(video),), cuts="none", min_frames=1), options)
    folder = write(tmp_path / "keypoints", numbered("walk", range(12)))
    with raises("frame-count-mismatch", "12", "walk.mp4", "6 frames"):
        run(STAGE, PoseConfig(openpose=folder), options)
    assert not (tmp_path / "work/poses").exists()


# Other programs and layouts


@pytest.mark.parametrize(
    ("person", "told"),
    [
        ({}, "pose_keypoints_2d"),
        ({"keypoints": [1.0] * 75, "score": 2.9}, "pose_keypoints_2d"),
        ({"pose_keypoints_2d": [], "pose_keypoints_3d": [1.0] * 100}, "3-D"),
        ({"pose_keypoints_3d": [1.0] * 100}, "pose_keypoints_2d"),
    ],
)
def test_people_of_other_programs_are_refused(person: dict[str, Any], told: str) -> None:
    with raises("keypoints-damaged", told):
        people_from_json(json.dumps([person]).encode())


# fmt: off
PLACES = {
    "body25b": {0: 0, 2: 6, 4: 10, 5: 5, 7: 9, 9: 12, 11: 16, 14: 15, 15: 2, 18: 3, 19: 19, 22: 22, 24: 24},
    "coco17": {0: 0, 2: 6, 4: 10, 5: 5, 7: 9, 9: 12, 11: 16, 14: 15, 15: 2, 18: 3},
    "coco18": {0: 0, 1: 1, 2: 2, 4: 4, 5: 5, 7: 7, 9: 8, 11: 10, 14: 13, 15: 14, 18: 17},
    "halpe26": {0: 0, 2: 6, 4: 10, 5: 5, 7: 9, 9: 12, 11: 16, 14: 15, 15: 2, 18: 3, 19: 20, 20: 22, 21: 24, 24: 25},
}
# fmt: on


@pytest.mark.parametrize(("layout", "count"), [("body25b", 25), ("coco17", 17), ("coco18", 18), ("halpe26", 26)])
def test_other_layouts_become_body_25(layout: str, count: int) -> None:
    points = [[10.0 + number, 20.0 + number, 0.5] for number in range(count)]
    (read,) = people_from_json(json.dumps([{"pose_keypoints_2d": points}]).encode(), layout=layout)
    for place, number in PLACES[layout].items():
        assert read.body[place].tolist() == points[number]
    shoulders, hips = read.body[[2, 5], 0].mean(), read.body[[9, 12], 0].mean()
    assert (read.body[1, 0], read.body[8, 0]) == ((11 if layout == "coco18" else shoulders), hips)
    assert read.body[19:, 2].any() == (count > 18)
    (same,) = people_from_json(
        json.dumps([{"keypoints": [v for point in points for v in point]}]).encode(), layout=layout
    )
    np.testing.assert_array_equal(same.body, read.body)
    with raises("keypoints-damaged", f"{count} points"):
        people_from_json(json.dumps([{"pose_keypoints_2d": points[1:]}]).encode(), layout=layout)


def test_the_layout_of_the_files_is_a_setting(tmp_path: Path) -> None:
    options = RunOptions(work=str(tmp_path / "work"), workers=1)
    video = write_file(tmp_path / "walk.mp4", moving_frames(3))
    run(INGEST, IngestConfig(sources=(str(video),), cuts="none", min_frames=1), options)
    folder = write(tmp_path / "keypoints", numbered("walk", range(3)), openpose(body(30, 2, 42)[:17]))
    with raises("keypoints-damaged", "51", "25"):
        run(STAGE, PoseConfig(openpose=folder), options)
    run(STAGE, PoseConfig(openpose=folder, keypoints="coco17"), options)
    with raises("artifact-stale", "keypoints", "coco17", "coco18"):
        run(STAGE, PoseConfig(openpose=folder, keypoints="coco18"), options)
    with raises("setting-unused", "--keypoints", "--openpose"):
        run(STAGE, PoseConfig(keypoints="coco17"), RunOptions(work=str(tmp_path / "work"), overwrite=True))


def test_a_dry_run_tells_what_would_be_left_out(tmp_path: Path) -> None:
    options = RunOptions(work=str(tmp_path / "work"), workers=1)
    video = write_file(tmp_path / "walk.mp4", moving_frames(3))
    run(INGEST, IngestConfig(sources=(str(video),), cuts="none", min_frames=1), options)
    folder = write(tmp_path / "keypoints", numbered("walk", range(3)), b'{"people": []}')
    dry = RunOptions(work=str(tmp_path / "work"), dry_run=True)
    (problem,) = run(STAGE, PoseConfig(openpose=folder), dry).problems
    assert "nobody in any file" in problem
    assert not (tmp_path / "work/poses").exists()
