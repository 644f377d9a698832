"""The stage from frames to sketches: which files, what they hold, what happens without a face, and that workers do
not matter. The set-up of its two estimators is tested here too; their common contract is in tests/conformance."""

import gc
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conditions import use_estimator
from tests.errors import raises
from tests.faces import face_landmarks, photo, train_dlib_predictor
from tests.flow_scenes import write_frames
from tests.stage_results import make, sample_files
from tests.unit.rendering import render, save_untrained
from tests.unit.video_files import moving_frames, write_file
from v2vkit.artifacts.images import decode_gray
from v2vkit.artifacts.manifest import Manifest
from v2vkit.conditions.landmarks import landmarks_from_json, smooth_face
from v2vkit.conditions.sketch import draw_sketch
from v2vkit.config import make_config
from v2vkit.estimators.registry import open_estimator
from v2vkit.pipeline.runner import status
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.make_sketches import STAGE, SketchConfig
from v2vkit.weights import file_digest

FACE_AT = 100  # brightness from which the fake estimator sees a face, and thereby where it is


class FakeFace:
    """Sees a face whose place hangs on the brightness of the first pixel."""

    name, version = "fake", "7"

    def __init__(self, *, gaze: bool = False):
        self._gaze = gaze

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        value = int(image[0, 0, 0])
        if value < FACE_AT:
            return None
        points = face_landmarks(value / 4 + 8, 34, 30)
        return np.concatenate([points, np.repeat(points[[36, 42]], 5, 0)]) if self._gaze else points


class FakeDlib(FakeFace):
    """Takes a weights file."""

    def __init__(self, *, weights: str):
        super().__init__()
        assert Path(weights).is_file()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    use_estimator(monkeypatch, "face", "mediapipe", f"{__name__}:FakeFace")


def scene(values: list[int]) -> list[np.ndarray]:
    """Frames 90 x 80 with something for Canny; the first pixel tells the fake estimator where the face is."""
    frames = [photo(80, 90, dx=t) for t in range(len(values))]
    for frame, value in zip(frames, values, strict=True):
        frame[0, 0] = value
    return frames


def _make(work: Path, workers: int = 1, **settings: object) -> Manifest:
    return make(STAGE, SketchConfig(**settings), work, workers)


def _files(work: Path, manifest: Manifest, key: str, number: int = 0) -> dict[str, bytes]:
    return sample_files(work / "sketches", manifest, key, number)


def _track(work: Path, manifest: Manifest, clip: str, length: int, number: int = 0) -> list[float | None]:
    """x of the jaw's right end, per frame."""
    found = [landmarks_from_json(_files(work, manifest, f"{clip}/{t:06d}", number)["json"])[0] for t in range(length)]
    return [None if points is None else float(points[0, 0]) for points in found]


@pytest.mark.usefixtures("fake")
def test_every_frame_has_sketch_parts_and_landmarks(tmp_path: Path) -> None:
    frames = scene([120, 124, 128, 132])
    write_frames(tmp_path, {"a": frames})
    manifest = _make(tmp_path, smooth=0)
    for t, frame in enumerate(frames):
        files = _files(tmp_path, manifest, f"a/{t:06d}")
        assert sorted(files) == ["json", "parts.png", "sketch.png"]
        landmarks, size, found, _ = landmarks_from_json(files["json"])
        assert found
        assert size == (90, 80)
        np.testing.assert_allclose(landmarks, FakeFace()(frame), atol=5e-4)
        sketch, parts = draw_sketch(frame, landmarks)
        np.testing.assert_array_equal(decode_gray(files["sketch.png"]), sketch)
        np.testing.assert_array_equal(decode_gray(files["parts.png"]), parts)
        assert json.loads(files["json"])["found"] is True
        assert json.loads(files["json"])["estimator"] == "fake 7"
    assert manifest.estimator == {"name": "fake", "version": "7"}
    assert manifest.missing == {}


@pytest.mark.usefixtures("fake")
def test_a_sketch_is_stored_with_a_bit_per_pixel(tmp_path: Path) -> None:
    write_frames(tmp_path, {"a": scene([120])})
    manifest = _make(tmp_path)
    depth = 24  # where a PNG says how many bits a pixel has
    files = _files(tmp_path, manifest, "a/000000")
    assert (files["sketch.png"][depth], files["parts.png"][depth]) == (1, 8)


@pytest.mark.usefixtures("fake")
def test_stored_maps_equal_those_that_rendering_draws(tmp_path: Path) -> None:
    """Rendering calls the same functions on a stream; the numbers must be the same, gaps and smoothing included."""
    frames = scene([0, 120, 140, 0, 0, 160, 164, 0])
    write_frames(tmp_path, {"a": frames})
    manifest = _make(tmp_path, smooth=5)
    for t, (frame, landmarks, _) in enumerate(smooth_face(iter(frames), FakeFace(), smooth=5, missing="hold")):
        files = _files(tmp_path, manifest, f"a/{t:06d}")
        np.testing.assert_array_equal(landmarks_from_json(files["json"])[0], landmarks)
        np.testing.assert_array_equal(decode_gray(files["sketch.png"]), draw_sketch(frame, landmarks)[0])


@pytest.mark.usefixtures("fake")
def test_hold_interpolates_within_the_clip_and_counts(tmp_path: Path) -> None:
    write_frames(tmp_path, {"a": scene([0, 120, 0, 0, 0, 136, 0]), "b": scene([200, 0])})
    manifest = _make(tmp_path, smooth=0)
    np.testing.assert_allclose(_track(tmp_path, manifest, "a", 7), [23, 23, 24, 25, 26, 27, 27], atol=1e-3)
    np.testing.assert_allclose(_track(tmp_path, manifest, "b", 2, 1), [43, 43], atol=1e-3)
    assert manifest.missing == {"no face": 6}
    documents = [json.loads(_files(tmp_path, manifest, f"a/{t:06d}")["json"]) for t in range(7)]
    assert [document["found"] for document in documents] == [False, True, False, False, False, True, False]
    assert decode_gray(_files(tmp_path, manifest, "a/000003")["sketch.png"]).any()


@pytest.mark.usefixtures("fake")
def test_blank_draws_nothing_and_counts(tmp_path: Path) -> None:
    write_frames(tmp_path, {"a": scene([120, 0, 136])})
    manifest = _make(tmp_path, smooth=0, missing="blank")
    assert _track(tmp_path, manifest, "a", 3)[1] is None
    files = _files(tmp_path, manifest, "a/000001")
    assert not decode_gray(files["sketch.png"]).any()
    assert not decode_gray(files["parts.png"]).any()
    assert manifest.missing == {"no face": 1}


@pytest.mark.usefixtures("fake")
def test_a_clip_without_any_face_is_blank(tmp_path: Path) -> None:
    write_frames(tmp_path, {"a": scene([0] * 3), "b": scene([120])})
    manifest = _make(tmp_path)
    assert _track(tmp_path, manifest, "a", 3) == [None] * 3
    assert not decode_gray(_files(tmp_path, manifest, "a/000001")["sketch.png"]).any()
    assert manifest.missing == {"no face": 3}


@pytest.mark.usefixtures("fake")
def test_smoothing_stays_inside_the_clip(tmp_path: Path) -> None:
    write_frames(tmp_path, {"a": scene([120, 120]), "b": scene([200, 120, 200, 120, 200])})
    manifest = _make(tmp_path, smooth=3)
    np.testing.assert_allclose(_track(tmp_path, manifest, "a", 2), 23, atol=1e-3)
    smooth = np.diff(_track(tmp_path, manifest, "b", 5, 1))
    assert 0 < np.abs(smooth).max() < 10, "20 without smoothing"


@pytest.mark.usefixtures("fake")
def test_without_canny_only_the_face_is_drawn(tmp_path: Path) -> None:
    frames = scene([120])
    write_frames(tmp_path, {"a": frames})
    manifest = _make(tmp_path, canny=False)
    sketch = decode_gray(_files(tmp_path, manifest, "a/000000")["sketch.png"])
    np.testing.assert_array_equal(sketch, draw_sketch(frames[0], FakeFace()(frames[0]), canny=False)[0])


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("setting", [{"smooth": 5}, {"canny": False}, {"missing": "blank"}])
def test_every_setting_makes_another_artifact(tmp_path: Path, setting: dict[str, object]) -> None:
    write_frames(tmp_path, {"a": scene([120])})
    _make(tmp_path)
    assert status(STAGE, SketchConfig(), RunOptions(work=str(tmp_path))) == "done"
    assert status(STAGE, SketchConfig(**setting), RunOptions(work=str(tmp_path))).startswith("stale: changed")


@pytest.mark.usefixtures("fake")
def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    write_frames(tmp_path, {"a": [*scene([120]), photo(64, 64)]})
    with raises("size-mismatch", "a/000001", "64x64", "90x80"):
        _make(tmp_path)


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    clips = {name: [photo(190, 210, dx=dx * t) for t in range(4)] for name, dx in (("a", 2), ("b", -3), ("c", 0))}
    clips["b"][2] = np.zeros_like(clips["b"][2])
    digests = []
    for workers in (1, 3):
        work = tmp_path / str(workers)
        write_frames(work, clips)
        assert _make(work, workers, smooth=3).missing == {"no face": 1}
        digests.append([hashlib.sha256(path.read_bytes()).digest() for path in sorted((work / "sketches").iterdir())])
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    "values", [{"face": "openface"}, {"smooth": -1}, {"smooth": 100}, {"missing": "skip"}, {"smoth": 3}]
)
def test_wrong_settings_are_refused(values: dict[str, object]) -> None:
    with raises("setting-invalid"):
        make_config(SketchConfig, values, "test")


@pytest.mark.parametrize(
    ("settings", "code", "names"),
    [
        ({"face": "dlib"}, "weights-missing", ("--weights",)),
        ({"face": "dlib", "weights": "nowhere.dat"}, "file-unreadable", ("nowhere.dat",)),
        ({"face": "mediapipe", "weights": "nowhere.dat"}, "setting-unused", ("mediapipe", "--weights", "--face dlib")),
    ],
)
def test_a_wrong_set_up_is_told_before_anything_is_written(
    tmp_path: Path, settings: dict[str, object], code: str, names: tuple[str, ...]
) -> None:
    if settings["face"] == "dlib":
        pytest.importorskip("dlib")
    write_frames(tmp_path, {"a": scene([120])})
    with raises(code, *names):
        _make(tmp_path, **settings)
    assert not (tmp_path / "sketches").exists()


def test_dlib_through_the_stage(tmp_path: Path) -> None:
    pytest.importorskip("dlib")
    weights = train_dlib_predictor(tmp_path / "tiny.dat")
    write_frames(tmp_path / "work", {"a": [photo(), np.zeros((300, 320, 3), np.uint8)]})
    manifest = _make(tmp_path / "work", face="dlib", weights=str(weights))
    assert manifest.estimator["name"] == "dlib"
    assert manifest.estimator["weights"] == file_digest(weights)
    assert manifest.missing == {"no face": 1}
    config = SketchConfig(face="dlib", weights=str(weights))
    moved = weights.rename(tmp_path / "moved.dat")
    options = RunOptions(work=str(tmp_path / "work"))
    assert status(STAGE, config.model_copy(update={"weights": str(moved)}), options) == "done"
    data = bytearray(moved.read_bytes())
    data[-1] ^= 1
    moved.write_bytes(data)
    assert "face weights" in status(STAGE, config.model_copy(update={"weights": str(moved)}), options)


@pytest.mark.parametrize(("content", "code"), [(None, "weights-missing"), (b"others", "weights-mismatch")])
def test_rendering_needs_the_weights_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, code: str
) -> None:
    use_estimator(monkeypatch, "face", "dlib", f"{__name__}:FakeDlib")
    weights = tmp_path / "shape.dat"
    weights.write_bytes(b"weights")
    write_frames(tmp_path, {"a": scene([120])})
    manifest = _make(tmp_path, face="dlib", weights=str(weights))
    save_untrained(tmp_path, "face", maps=manifest.config, estimator=manifest.estimator)
    weights.unlink()
    if content is not None:
        weights.write_bytes(content)
    write_file(tmp_path / "in.mp4", moving_frames(3))
    with raises(code, "shape.dat"):
        render(tmp_path / "in.mp4", tmp_path / "out.mp4", tmp_path)


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "weights-damaged"), (b"no predictor", "weights-damaged"), (None, "weights-unsupported")],
    ids=["empty", "garbage", "five points"],
)
def test_dlib_refuses_other_files(tmp_path: Path, content: bytes | None, code: str) -> None:
    pytest.importorskip("dlib")
    path = tmp_path / "wrong.dat"
    if content is None:
        train_dlib_predictor(path, num_points=5)
    else:
        path.write_bytes(content)
    with raises(code, "wrong.dat"):
        open_estimator("face", "dlib", weights=str(path))


def test_mediapipe_finds_small_faces_in_tiles() -> None:
    pytest.importorskip("mediapipe")
    import cv2

    estimator = open_estimator("face", "mediapipe")
    large = photo()
    expected = estimator(large)
    small = cv2.resize(large, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    for left, top in ((10, 20), (460, 300), (260, 180)):
        canvas = np.full((480, 640, 3), 90, np.uint8)
        canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
        points = estimator(canvas)
        assert points is not None
        assert expected is not None
        np.testing.assert_allclose((points - (left, top)).mean(0), 0.5 * expected.mean(0), atol=1.5)


@pytest.mark.slow
def test_mediapipe_is_silent() -> None:
    """No environment variable stops its log lines, so the adapter does."""
    pytest.importorskip("mediapipe")
    code = (
        "from tests.faces import photo\n"
        "from v2vkit.estimators.registry import open_estimator\n"
        "face = open_estimator('face', 'mediapipe')\n"
        "import numpy, sys, time\n"
        "time.sleep(0.5)\n"
        "assert face(numpy.zeros((99, 99, 3), numpy.uint8)) is None and face(photo()) is not None\n"
        "assert face(photo(200, 260)) is not None\n"
        "from v2vkit.engine.threads import map_in_threads, pool_calls\n"
        "from v2vkit.estimators.registry import open_estimators\n"
        "faces = open_estimators('face', 'mediapipe')\n"
        "frames = [photo(dx=k) for k in range(8)]\n"
        "found = map_in_threads(pool_calls(faces), frames, threads=len(faces))\n"
        "assert all(face is not None for face in found)\n"
        "print('still there', file=sys.stderr)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["still there"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux tells of libraries' threads")
@pytest.mark.parametrize("task", ["face", "pose"])
def test_a_mediapipe_estimator_that_is_given_up_takes_its_threads_with_it(task: str) -> None:
    pytest.importorskip("mediapipe")
    open_estimator(task, "mediapipe")(photo())  # what the library keeps for good is there
    gc.collect()
    before = len(list(Path("/proc/self/task").iterdir()))
    for _ in range(3):
        open_estimator(task, "mediapipe")(photo())
        gc.collect()
    assert len(list(Path("/proc/self/task").iterdir())) <= before
