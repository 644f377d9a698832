"""Identity distance: what it compares, what it leaves out, and what it needs."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.conditions import use_estimator
from tests.errors import raises
from tests.faces import BrightIdentity, face_landmarks
from tests.flow_scenes import write_frames
from tests.stage_results import make
from tests.stored_weights import empty_store
from tests.unit.rendering import save_untrained
from tests.unit.test_make_sketches import FakeFace, scene
from v2vkit.evaluation.choose import Available, choose, list_metrics
from v2vkit.evaluation.metrics.contract import MISSED, OURS, REAL, REPEAT, Batch, Metric
from v2vkit.evaluation.metrics.identity_distance import SAME_PERSON, identity_distance
from v2vkit.evaluation.metrics.registry import open_metric, rows
from v2vkit.evaluation.metrics.setup import Setup
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.evaluate import COMMAND as EVALUATE
from v2vkit.stages.evaluate import EvaluateConfig
from v2vkit.stages.make_sketches import STAGE as SKETCHES
from v2vkit.stages.make_sketches import SketchConfig

needs_dlib = pytest.mark.skipif(find_spec("dlib") is None, reason="dlib is not installed")


class Counting:
    """Sees a face with irises in every image that is not black, and counts the images."""

    name, version = "counting", "1"

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        self.count += 1
        return np.concatenate([face_landmarks(), np.zeros((10, 2), np.float32)]) if image.any() else None


@pytest.fixture
def weights_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Weights in an otherwise empty store, with which `BrightIdentity` is opened."""
    put = empty_store(monkeypatch, tmp_path / "store")
    (tmp_path / "some.dat").write_bytes(b"some weights")
    use_estimator(monkeypatch, "identity", "dlib", f"{BrightIdentity.__module__}:BrightIdentity")
    return Path(put("dlib-face-id", tmp_path / "some.dat"))


def _metric(file: Path, face: Counting) -> Metric:
    (row,) = rows(("identity_distance",))
    return open_metric(row, Setup(8, 8, {"dlib-face-id": file}, face=face))


def _images(*levels: int) -> list[np.ndarray]:
    return [np.full((8, 8, 3), level, np.uint8) for level in levels]


def test_it_is_the_euclidean_distance_of_embeddings() -> None:
    one, other = np.zeros((2, 128), np.float32)
    one[5], other[7] = 0.3, 0.4
    assert identity_distance(one, other) == pytest.approx(0.5)
    assert identity_distance(one, one) == 0


def test_faces_are_compared_with_those_of_the_real_frames(weights_file: Path) -> None:
    """The same frame is at 0; an output without a face is missed, a real frame without one expects nothing."""
    metric = _metric(weights_file, Counting())
    images, real = _images(10, 60, 0, 50), _images(10, 10, 10, 0)
    assert metric.update(Batch(OURS, "c", "c", range(4), images, real)) == [0, pytest.approx(0.5), MISSED, None]
    assert metric.update(Batch(REAL, "c", "c", range(4), real, real)) == [None] * 4
    assert metric.update(Batch(OURS, "c", "c", range(4), images)) == [None] * 4, "without a counterpart"
    assert metric.about["same_person_below"] == SAME_PERSON == 0.6
    assert metric.about["backbone"] == "brightness 1"
    assert metric.about["estimator"] == "counting 1"


def test_a_real_frame_is_looked_at_once_for_all_methods(weights_file: Path) -> None:
    face = Counting()
    metric, real = _metric(weights_file, face), _images(10, 20, 30)
    for count, method in enumerate(("a", "b", "c"), 1):
        metric.update(Batch(method, "c", "c", range(3), _images(10, 20, 30), real))
        assert face.count == 3 + 3 * count


@needs_dlib
def test_without_weights_it_is_left_out_with_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    empty_store(monkeypatch, tmp_path / "store")
    available = Available({}, 64, 64, (10,))
    with raises("weights-missing", "identity_distance", "v2v weights add dlib-face-id"):
        choose(("identity_distance",), available)
    assert "dlib-face-id" in str(choose((), available).left_out["identity_distance"])
    (line,) = (line for line in list_metrics().splitlines() if line.startswith("identity_distance "))
    assert "dlib-face-id (missing), dlib " in line


def test_without_the_library_it_is_left_out_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, weights_file: Path
) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    available = Available({}, 64, 64, (10,))
    with raises("library-missing", "identity_distance", "pip install 'v2vkit[dlib]'"):
        choose(("identity_distance",), available)
    assert "identity_distance" in choose((), available).left_out
    assert "dlib (missing)" in list_metrics()


@needs_dlib
@pytest.mark.parametrize(
    "content", [b"", b"no network of dlib", bytes(range(256)) * 40], ids=["empty", "text", "bytes"]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    from v2vkit.estimators.dlib_identity import DlibIdentity

    (tmp_path / "other.dat").write_bytes(content)
    with raises("weights-damaged", "other.dat", "v2v weights add dlib-face-id"):
        DlibIdentity(str(tmp_path / "other.dat"))
    with raises("weights-missing", "none.dat", "v2v weights add dlib-face-id"):
        DlibIdentity(str(tmp_path / "none.dat"))


@needs_dlib
def test_evaluate_measures_it_where_real_frames_show_a_face(
    tmp_path: Path, weights_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_estimator(monkeypatch, "face", "mediapipe", f"{FakeFace.__module__}:FakeFace")
    levels = [120, 124, 0, 130, 136]
    write_frames(tmp_path / "data", {"a": scene(levels)})
    manifest = make(SKETCHES, SketchConfig(smooth=0), tmp_path / "data")
    save_untrained(tmp_path, "face", size=(90, 80), maps=manifest.config)
    config = EvaluateConfig(data=f"{tmp_path}/data", device="cpu", threads=1, metrics=("identity_distance",))
    assert EVALUATE.call(config, RunOptions(work=str(tmp_path))) == []
    report = json.loads((tmp_path / "evaluation/spatial-1/evaluation.json").read_text())
    repeated = [row.get("identity_distance") for row in report["frames"] if row["method"] == REPEAT]
    assert repeated == [pytest.approx(of) if of else None for of in (0.04, None, 0.1, 0.16)]
    entry = report["summary"][OURS]["identity_distance"]
    assert entry["num"] + entry["missed"] == 3, "of four frames one shows nobody"
    assert report["summary"][REAL].get("identity_distance") is None
    printed = capsys.readouterr().out
    assert "identity distance" in printed
    assert "0.6" in printed
