"""The stage from frames to poses: which files, what they hold, what happens without a person, key points that OpenPose
wrote, and that workers do not matter. The common contract of the estimators is in tests/conformance."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from tests.conditions import use_estimator
from tests.errors import raises
from tests.flow_scenes import write_frames
from tests.networks import needs_ultralytics, noise, yolo_weights
from tests.people import body, person
from tests.stage_results import make, sample_files
from tests.unit.video_files import moving_frames, write_file
from v2vkit.artifacts.images import decode_image
from v2vkit.artifacts.manifest import ClipInfo, Manifest
from v2vkit.conditions.openpose_files import check_files, pose_files
from v2vkit.conditions.people import Person, Persons
from v2vkit.conditions.people_files import people_from_json, people_to_json
from v2vkit.conditions.people_smoothing import smooth_people
from v2vkit.conditions.skeleton import draw_people
from v2vkit.config import make_config
from v2vkit.errors import V2VError
from v2vkit.pipeline.runner import run, status
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.check import COMMAND as CHECK
from v2vkit.stages.check import CheckConfig
from v2vkit.stages.estimate_pose import STAGE, PoseConfig
from v2vkit.stages.ingest import STAGE as INGEST
from v2vkit.stages.ingest import IngestConfig
from v2vkit.stages.show import ShowConfig, show

SEEN_FROM = 100  # brightness from which the fake estimator sees a person, and thereby where he is


class FakePose:
    """Sees a person whose place hangs on the brightness of the first pixel."""

    name, version = "fake", "7"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        value = int(image[0, 0, 0])
        if value < SEEN_FROM:
            return np.zeros((0, 25, 3), np.float32)
        found = body(value / 4, 4, 70)
        found[7, 2] = 0.1  # a hand that it is not sure of
        return found[None]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    use_estimator(monkeypatch, "pose", "mediapipe", f"{__name__}:FakePose")


def scene(values: list[int]) -> list[np.ndarray]:
    """Frames 90 x 80; the first pixel tells the fake estimator where the person is."""
    frames = [np.full((80, 90, 3), 40, np.uint8) for _ in values]
    for frame, value in zip(frames, values, strict=True):
        frame[0, 0] = value
    return frames


def _make(work: Path, workers: int = 1, **settings: object) -> Manifest:
    return make(STAGE, PoseConfig(**settings), work, workers)


def _files(work: Path, manifest: Manifest, key: str, number: int = 0) -> dict[str, bytes]:
    return sample_files(work / "poses", manifest, key, number)


def _people(work: Path, manifest: Manifest, clip: str, length: int) -> list[Persons]:
    return [people_from_json(_files(work, manifest, f"{clip}/{t:06d}")["json"]) for t in range(length)]


def _track(work: Path, manifest: Manifest, clip: str, length: int) -> list[float | None]:
    """x of the first person's nose, per frame."""
    found = _people(work, manifest, clip, length)
    return [round(float(people[0].body[0, 0]), 2) if people else None for people in found]


@pytest.mark.usefixtures("fake")
def test_every_frame_has_a_drawing_and_key_points(tmp_path: Path) -> None:
    frames = scene([120, 124, 128, 132])
    write_frames(tmp_path, {"a": frames})
    manifest = _make(tmp_path, smooth=0)
    for t, frame in enumerate(frames):
        files = _files(tmp_path, manifest, f"a/{t:06d}")
        assert sorted(files) == ["json", "skeleton.png"]
        (found,) = people_from_json(files["json"])
        expected = FakePose()(frame)[0]
        assert found.body[7, 2] == 0, "0.1 is below the score from which points count"
        np.testing.assert_allclose(np.delete(found.body, 7, 0), np.delete(expected, 7, 0), atol=5e-4)
        drawing = decode_image(files["skeleton.png"])
        assert drawing.shape == (80, 90, 3)
        assert drawing.any()
        np.testing.assert_array_equal(drawing, draw_people((found,), (90, 80)))
        document = json.loads(files["json"])
        assert (document["found"], document["estimator"]) == (True, "fake 7")
        assert (document["width"], document["height"]) == (90, 80)
    assert manifest.estimator == {"name": "fake", "version": "7"}
    assert manifest.missing == {}


@pytest.mark.usefixtures("fake")
def test_stored_maps_equal_those_that_rendering_draws(tmp_path: Path) -> None:
    """Rendering calls the same functions on a stream; the numbers must be the same, gaps and smoothing included."""
    frames = scene([0, 120, 140, 0, 0, 160, 164, 0])
    write_frames(tmp_path, {"a": frames})
    manifest = _make(tmp_path, smooth=5, min_score=0.05)
    followed = smooth_people(iter(frames), FakePose(), smooth=5, missing="hold", min_score=0.05)
    for t, (_, people, _) in enumerate(followed):
        files = _files(tmp_path, manifest, f"a/{t:06d}")
        assert people is not None
        np.testing.assert_array_equal(people_from_json(files["json"])[0].body, people[0].body)
        np.testing.assert_array_equal(decode_image(files["skeleton.png"]), draw_people(people, (90, 80)))


@pytest.mark.usefixtures("fake")
def test_hold_interpolates_within_the_clip_and_counts(tmp_path: Path) -> None:
    write_frames(tmp_path, {"a": scene([0, 120, 0, 0, 0, 136, 0]), "b": scene([200, 0])})
    manifest = _make(tmp_path, smooth=0)
    assert _track(tmp_path, manifest, "a", 7) == [30, 30, 31, 32, 33, 34, 34]
    assert manifest.missing == {"no person": 6}
    documents = [json.loads(_files(tmp_path, manifest, f"a/{t:06d}")["json"]) for t in range(7)]
    assert [document["found"] for document in documents] == [False, True, False, False, False, True, False]
    assert decode_image(_files(tmp_path, manifest, "a/000003")["skeleton.png"]).any()


@pytest.mark.usefixtures("fake")
def test_blank_draws_nothing_and_counts(tmp_path: Path) -> None:
    write_frames(tmp_path, {"a": scene([120, 0, 136]), "b": scene([0, 0])})
    manifest = _make(tmp_path, smooth=0, missing="blank")
    assert _track(tmp_path, manifest, "a", 3)[1] is None
    assert not decode_image(_files(tmp_path, manifest, "a/000001")["skeleton.png"]).any()
    assert not decode_image(_files(tmp_path, manifest, "b/000001", 1)["skeleton.png"]).any()
    assert manifest.missing == {"no person": 3}


@pytest.mark.usefixtures("fake")
def test_smoothing_stays_inside_the_clip(tmp_path: Path) -> None:
    write_frames(tmp_path, {"a": scene([160, 164, 160, 164, 160]), "b": scene([248, 120])})
    steps = np.diff(_track(tmp_path, _make(tmp_path, smooth=3), "a", 5))
    assert 0 < np.abs(steps).max() < 0.7, "1 without smoothing"


@pytest.mark.usefixtures("fake")
def test_strokes_are_as_wide_as_asked(tmp_path: Path) -> None:
    drawn = []
    for stroke in (1, 4):
        work = tmp_path / str(stroke)
        write_frames(work, {"a": scene([160])})
        manifest = _make(work, stroke=stroke)
        drawn.append(decode_image(_files(work, manifest, "a/000000")["skeleton.png"]).any(2).sum())
    assert drawn[1] > 2 * drawn[0]


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("setting", [{"smooth": 5}, {"stroke": 2}, {"missing": "blank"}, {"min_score": 0.5}])
def test_every_setting_makes_another_artifact(tmp_path: Path, setting: dict[str, object]) -> None:
    write_frames(tmp_path, {"a": scene([120])})
    _make(tmp_path)
    assert status(STAGE, PoseConfig(), RunOptions(work=str(tmp_path))) == "done"
    assert status(STAGE, PoseConfig(**setting), RunOptions(work=str(tmp_path))).startswith("stale: changed")


@pytest.mark.parametrize(
    "values",
    [{"pose": "openpose"}, {"smooth": -1}, {"stroke": 65}, {"missing": "skip"}, {"min_score": 1.5}, {"smoth": 3}],
)
def test_wrong_settings_are_refused(values: dict[str, object]) -> None:
    with raises("setting-invalid"):
        make_config(PoseConfig, values, "test")


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    picture = data.astronaut()[:256:2, ::2]
    clips = {name: [np.roll(picture, dx * t, 1) for t in range(3)] for name, dx in (("a", 2), ("b", -3), ("c", 0))}
    clips["b"][1] = np.zeros_like(picture)
    digests = []
    for workers in (1, 3):
        work = tmp_path / str(workers)
        write_frames(work, clips)
        assert _make(work, workers).missing == {"no person": 1}
        digests.append([hashlib.sha256(path.read_bytes()).digest() for path in sorted((work / "poses").iterdir())])
    assert digests[0] == digests[1]


@pytest.mark.usefixtures("fake")
def test_show_and_check_know_poses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_frames(tmp_path, {"a": scene([160, 0, 160])})
    _make(tmp_path)
    options = RunOptions(work=str(tmp_path))
    assert show(ShowConfig(artifact="poses", out=str(tmp_path / "sheet.png"), frames=3), options) == []
    sheet = decode_image((tmp_path / "sheet.png").read_bytes())
    somebody = Person(body(40, 4, 70))
    somebody.body[7] = 0
    drawing = draw_people((somebody,), (90, 80))
    colored, expected = (np.ptp(picture, axis=2) > 0 for picture in (sheet, drawing))
    assert colored.sum() == 3 * expected.sum() > 0
    assert CHECK.call(CheckConfig(), options) == []
    text = capsys.readouterr().out
    assert "poses: 3 frames in 1 clip," in text
    assert "1 frame: no person" in text


# Key points by YOLO


class FakeYolo(FakePose):
    """Needs a weights file."""

    def __init__(self, *, weights: str | None, device: str):
        if weights is None:
            raise V2VError("weights-missing", "It needs weights.", "Give --weights.")
        self.weights = weights


@pytest.fixture
def yolo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_estimator(monkeypatch, "pose", "yolo", f"{__name__}:FakeYolo")
    (tmp_path / "yolo.pt").write_bytes(b"weights")
    return tmp_path / "yolo.pt"


def test_weights_are_known_by_their_content(tmp_path: Path, yolo: Path) -> None:
    write_frames(tmp_path, {"a": scene([160])})
    manifest = _make(tmp_path, pose="yolo", weights=str(yolo))
    assert manifest.estimator["weights"] == hashlib.sha256(b"weights").hexdigest()
    options = RunOptions(work=str(tmp_path))
    moved = yolo.rename(tmp_path / "moved.pt")
    assert status(STAGE, PoseConfig(pose="yolo", weights=str(moved)), options) == "done"
    moved.write_bytes(b"others")
    assert "weights" in status(STAGE, PoseConfig(pose="yolo", weights=str(moved)), options)


def test_settings_of_another_estimator_are_refused(tmp_path: Path, yolo: Path) -> None:
    write_frames(tmp_path, {"a": scene([160])})
    for settings, code, *names in (
        ({"pose": "yolo"}, "weights-missing", "--weights"),
        ({"pose": "yolo", "weights": str(tmp_path / "gone.pt")}, "file-unreadable", "gone.pt"),
        ({"weights": str(yolo)}, "setting-unused", "mediapipe", "--weights", "--pose yolo"),
        ({"device": "cuda"}, "setting-unused", "mediapipe", "--device", "--pose yolo"),
        ({"pose": "yolo", "openpose": str(tmp_path)}, "setting-unused", "--openpose", "--pose"),
        ({"weights": str(yolo), "openpose": str(tmp_path)}, "setting-unused", "--openpose", "--weights"),
        ({"device": "cuda", "openpose": str(tmp_path)}, "setting-unused", "--openpose", "--device"),
    ):
        with raises(code, *names):
            _make(tmp_path, **settings)
        assert not (tmp_path / "poses").exists()


def test_several_people_of_yolo_are_drawn(tmp_path: Path) -> None:
    needs_ultralytics()
    write_frames(tmp_path, {"a": [noise(96, 128, seed) for seed in range(2)]})
    weights = yolo_weights(tmp_path / "random.pt", "pose")
    manifest = _make(tmp_path, pose="yolo", weights=str(weights), smooth=0)
    people = people_from_json(_files(tmp_path, manifest, "a/000001")["json"])
    assert len(people) > 1
    assert not any(one.body[19:].any() for one in people), "no feet"
    assert manifest.estimator["name"] == "yolo"


# Key points that OpenPose wrote


def _ingested(tmp_path: Path, count: int = 6, **settings: object) -> Path:
    """A video of 64 x 48 pixels, ingested into `work`."""
    source = write_file(tmp_path / "walk.mp4", moving_frames(count))
    work = tmp_path / "work"
    config = IngestConfig(sources=(str(source),), cuts="none", min_frames=1, **settings)
    run(INGEST, config, RunOptions(work=str(work), workers=1))
    return work


def _write_openpose(folder: Path, frames: list[Persons]) -> Path:
    folder.mkdir(parents=True)
    for t, people in enumerate(frames):
        data = people_to_json(people, found=True, size=(64, 48), estimator="")
        (folder / f"walk_{t:012d}_keypoints.json").write_bytes(data)
    return folder


def test_openpose_files_of_a_subsampled_video_are_those_of_its_frames(tmp_path: Path) -> None:
    work = _ingested(tmp_path, 12, fps="12.5", clip_frames=3)
    frames: list[Persons] = [(Person(body(10 + t, 2, 40)),) for t in range(12)]
    manifest = _make(work, openpose=str(_write_openpose(tmp_path / "keypoints", frames)), smooth=0)
    found = [
        people_from_json(_files(work, manifest, f"{clip.name}/{t:06d}", 0)["json"])[0].body[0, 0]
        for clip in manifest.clips
        for t in range(3)
    ]
    np.testing.assert_allclose(np.diff(found), 2, atol=0.01)  # every other file, from the first one on
    assert found[0] == pytest.approx(float(body(10, 2, 40)[0, 0]), abs=0.01)


def test_openpose_files_are_placed_in_the_frames(tmp_path: Path) -> None:
    """Cropped to the middle 48 x 48 pixels and enlarged to twice the size; the second clip takes the later files."""
    work = _ingested(tmp_path, size="96x96", crop="center", clip_frames=3)
    frames: list[Persons] = [(person(20 + t, 2, 40), Person(body(50, 2, 40))) for t in range(6)]
    folder = _write_openpose(tmp_path / "keypoints" / "walk", frames)
    manifest = _make(work, openpose=str(folder.parent), smooth=0)
    names = [clip.name for clip in manifest.clips]
    assert len(names) == 2
    for number, name in enumerate(names):
        shard = 0 if len(manifest.shards) == 1 else number
        for t in range(3):
            one, other = people_from_json(_files(work, manifest, f"{name}/{t:06d}", shard)["json"])
            np.testing.assert_allclose(one.body[0, :2], [(20 + 3 * number + t - 8) * 2, (2 + 3.2) * 2], atol=0.01)
            assert one.face is not None
            assert one.left_hand is not None
            assert other.face is None
    assert manifest.estimator == {"name": "openpose", "version": "files"}


def test_files_are_ordered_by_their_numbers(tmp_path: Path) -> None:
    """As images are: the second file of frame1.json to frame12.json is frame2.json."""
    work = _ingested(tmp_path, count=12)
    folder = _write_openpose(tmp_path / "keypoints", [(Person(body(20 + t, 2, 40)),) for t in range(12)])
    for t, file in enumerate(sorted(folder.iterdir())):
        file.rename(folder / f"frame{t + 1}.json")
    manifest = _make(work, openpose=str(folder), smooth=0)
    assert _track(work, manifest, manifest.clips[0].name, 12) == list(range(20, 32))


def test_the_files_of_a_source_are_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And anew when a run begins, since files may have been added."""
    folder = _write_openpose(tmp_path / "keypoints", [()] * 12)
    source = {"file": "walk.mp4", "crop": [0, 0, 64, 48], "size": [64, 48]}
    clips = [
        ClipInfo(
            name=f"walk-{start:04d}",
            num_frames=3,
            width=64,
            height=48,
            source=source | {"start": start, "stop": start + 3},
        )
        for start in range(0, 15, 3)
    ]
    listed: list[Path] = []
    iterdir = Path.iterdir

    def counted(place: Path) -> Iterator[Path]:
        listed.append(place)
        return iterdir(place)

    monkeypatch.setattr(Path, "iterdir", counted)
    for run_number in (1, 2):
        check_files(str(folder), clips[:4], whole=True)
        names = [file.name for clip in clips[:4] for file in pose_files(str(folder), clip)]
        assert names == [f"walk_{t:012d}_keypoints.json" for t in range(12)]
        assert listed == [folder] * run_number
    with raises("frame-count-mismatch", "12", "15"):
        check_files(str(folder), clips, whole=True)
    for t in range(12, 15):
        (folder / f"walk_{t:012d}_keypoints.json").write_bytes(b'{"people": []}')
    check_files(str(folder), clips, whole=True)
    assert [file.name[10:17] for file in pose_files(str(folder), clips[4])] == ["0000012", "0000013", "0000014"]


def test_frames_without_people_in_the_files_are_counted(tmp_path: Path) -> None:
    work = _ingested(tmp_path)
    frames: list[Persons] = [(Person(body(20 + t, 2, 40)),) for t in range(6)]
    frames[2] = ()
    manifest = _make(work, openpose=str(_write_openpose(tmp_path / "keypoints", frames)), smooth=0)
    assert manifest.missing == {"no person": 1}
    assert _track(work, manifest, manifest.clips[0].name, 6) == [20, 21, 22, 23, 24, 25]


def test_other_files_make_the_artifact_stale_and_another_place_does_not(tmp_path: Path) -> None:
    work = _ingested(tmp_path)
    folder = _write_openpose(tmp_path / "keypoints", [(Person(body()),)] * 6)
    _make(work, openpose=str(folder))
    moved = folder.rename(tmp_path / "moved")
    options = RunOptions(work=str(work))
    assert status(STAGE, PoseConfig(openpose=str(moved)), options) == "done"
    (moved / "walk_000000000003_keypoints.json").write_bytes(b'{"people": []}')
    assert "openpose files" in status(STAGE, PoseConfig(openpose=str(moved)), options)


def test_wrong_folders_are_told_before_anything_is_written(tmp_path: Path) -> None:
    work = _ingested(tmp_path)
    few = _write_openpose(tmp_path / "few", [(Person(body()),)] * 4)
    for folder, code in ((few, "frame-count-mismatch"), (tmp_path / "none", "keypoints-missing")):
        with raises(code, str(folder)):
            _make(work, openpose=str(folder))
        assert not (work / "poses").exists()


def _two_sources(tmp_path: Path, second: str) -> Path:
    """`walk.mp4` and another video of as many frames, ingested into `work`."""
    (tmp_path / second).parent.mkdir(exist_ok=True)
    sources = tuple(str(write_file(tmp_path / name, moving_frames(3))) for name in ("walk.mp4", second))
    work = tmp_path / "work"
    run(INGEST, IngestConfig(sources=sources, cuts="none", min_frames=1), RunOptions(work=str(work), workers=1))
    return work


def test_each_of_several_sources_has_a_folder_of_its_own(tmp_path: Path) -> None:
    """FOLDER itself, with as many files, is never taken for a source whose folder is not there."""
    work = _two_sources(tmp_path, "run.mp4")
    folder = _write_openpose(tmp_path / "keypoints", [(Person(body(40, 2, 40)),)] * 3)
    for absent, left in (("walk", 20), ("run", 30)):
        with raises("folder-missing", f"{folder}/{absent}"):
            _make(work, openpose=str(folder))
        assert not (work / "poses").exists()
        _write_openpose(folder / absent, [(Person(body(left, 2, 40)),)] * 3)
    manifest = _make(work, openpose=str(folder), smooth=0)
    found = {}
    for number, unit in enumerate(manifest.units):
        for clip in unit:
            (one,) = people_from_json(_files(work, manifest, f"{clip.name}/000001", number)["json"])
            found[Path(clip.source["file"]).stem] = one.body[0, 0]
    assert found == {"walk": 20, "run": 30}


def test_sources_of_the_same_name_are_refused(tmp_path: Path) -> None:
    work = _two_sources(tmp_path, "other/walk.mp4")
    folder = _write_openpose(tmp_path / "keypoints/walk", [(Person(body()),)] * 3)
    with raises("source-name-conflict"):
        _make(work, openpose=str(folder.parent))
    assert not (work / "poses").exists()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    work = _ingested(tmp_path)
    folder = _write_openpose(tmp_path / "keypoints", [(Person(body()),)] * 6)
    (folder / "walk_000000000004_keypoints.json").write_bytes(b"{")
    with raises("keypoints-damaged", "walk_000000000004_keypoints.json"):
        _make(work, openpose=str(folder))


def test_frames_of_unknown_origin_have_no_files(tmp_path: Path) -> None:
    write_frames(tmp_path, {"a": scene([120])})
    folder = _write_openpose(tmp_path / "keypoints", [(Person(body()),)])
    with raises("source-unknown", " a "):
        _make(tmp_path, openpose=str(folder))
