"""The benchmark of transfer: annotations as the network sees them, and the output measured against them."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.transfer import Target, annotated, find_target, line, measure
from tests.conditions import use_estimator
from tests.faces import BrightIdentity, face_landmarks
from tests.flow_scenes import write_frames
from tests.stored_weights import empty_store
from tests.unit.rendering import FACES, save_untrained
from tests.unit.video_files import moving_frames, write_file
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import load_model
from v2vkit.conditions.face_proportions import measure_face
from v2vkit.evaluation.metrics.contract import MISSED
from v2vkit.inference.session import Session


class Face:
    """Sees a face in every image that is wider than it is high, with irises on request."""

    name, version = "face", "1"

    def __init__(self, *, gaze: bool = False):
        self._gaze = gaze

    def __call__(self, image: np.ndarray) -> np.ndarray:
        points = face_landmarks(32, 20, 30)
        return np.concatenate([points, np.repeat(points[[36, 42]], 5, 0)]) if self._gaze else points


def test_a_driver_is_rendered_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_estimator(monkeypatch, "face", "mediapipe", f"{__name__}:Face")
    source = write_file(tmp_path / "in.mp4", moving_frames(4))
    own = measure_face([face_landmarks(24, 22, 20)])
    info = save_untrained(tmp_path, "face", size=(64, 48), maps=FACES, proportions=own)
    generator, info = load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))
    errors = {}
    target = Target(
        lambda images: [None if image is images[0] else np.zeros(128, np.float32) for image in images],
        [np.ones(128, np.float32)],
    )
    for retarget in (False, True):
        driver = [*annotated(info, Folder(str(tmp_path)), str(source), align=False, retarget=retarget, num_frames=3)]
        assert len(driver) == 3
        values, sheet = measure(Session(generator, precision="fp32"), info, driver, 2, target)
        assert values["identity"] == values["driver's identity"] == [MISSED, *[pytest.approx(np.sqrt(128))] * 2]
        assert MISSED not in values["landmark_error"]
        assert values["iris_error"] == [0] * 3, "the fake eyes look the same everywhere"
        assert sheet.shape == (3 * 48, 2 * 64, 3)
        errors[retarget] = np.mean(values["landmark_error"])
    assert errors[False] == pytest.approx(0, abs=0.01), "seen where it was asked for"
    assert errors[True] > 0.1, "asked for elsewhere"


class BrightFace:
    """Sees a face in every image that is not black."""

    name, version = "bright", "1"

    def __init__(self, *, gaze: bool = False):
        pass

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        return face_landmarks(32, 20, 30) if image.any() else None


def _grey(*levels: int) -> list[np.ndarray]:
    return [np.full((48, 64, 3), level, np.uint8) for level in levels]


def test_identities_are_medians_of_the_distances_to_the_targets_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("dlib")
    put = empty_store(monkeypatch, tmp_path / "store")
    (tmp_path / "some.dat").write_bytes(b"some weights")
    put("dlib-face-id", tmp_path / "some.dat")
    use_estimator(monkeypatch, "identity", "dlib", f"{BrightIdentity.__module__}:BrightIdentity")
    use_estimator(monkeypatch, "face", "mediapipe", f"{__name__}:BrightFace")
    info, work = save_untrained(tmp_path, "face"), Folder(str(tmp_path))
    write_frames(tmp_path, {"a": _grey(10, 0, 20), "b": _grey(40)})
    target = find_target(info, work)
    assert target is not None
    assert target.identities(_grey(110, 0)) == [pytest.approx(0.9), MISSED]
    assert target.own() == [pytest.approx(0.2), MISSED, pytest.approx(0.15), pytest.approx(0.25)]
    assert " ".join(capsys.readouterr().out.split()) == "target's frames identity 0.2000 missed 1 of 4"
    write_frames(tmp_path / "dark", {"a": _grey(10, 0)})
    assert find_target(info, Folder(f"{tmp_path}/dark")) is None
    assert "dark" in capsys.readouterr().out


def test_without_weights_a_line_says_why_there_is_no_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    empty_store(monkeypatch, tmp_path / "store")
    info = save_untrained(tmp_path, "face")
    assert find_target(info, Folder(str(tmp_path))) is None
    printed = capsys.readouterr().out
    assert printed.split()[:3] == ["all", "identity", "-"]
    assert "v2v weights add dlib-face-id FILE" in printed
    assert find_target(save_untrained(tmp_path, "pose"), Folder(str(tmp_path))) is None
    assert capsys.readouterr().out == "", "bodies have no identity"


def test_a_line_has_the_mean_and_what_was_missed() -> None:
    some, none = line("both", "identity", [0.25, MISSED, 0.75, None]), line("both", "identity", [MISSED])
    assert " ".join(some.split()) == "both identity 0.5000 missed 1 of 4"
    assert " ".join(none.split()) == "both identity - missed 1 of 1"
