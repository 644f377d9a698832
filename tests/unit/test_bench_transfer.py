"""The benchmark of transfer: annotations as the network sees them, and the output measured against them."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.transfer import annotated, measure
from tests.conditions import use_estimator
from tests.faces import face_landmarks
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
    for retarget in (False, True):
        driver = [*annotated(info, Folder(str(tmp_path)), str(source), align=False, retarget=retarget, num_frames=3)]
        assert len(driver) == 3
        values, sheet = measure(Session(generator, precision="fp32"), info, driver, 2)
        assert MISSED not in values["landmark_error"]
        assert values["iris_error"] == [0] * 3, "the fake eyes look the same everywhere"
        assert sheet.shape == (3 * 48, 2 * 64, 3)
        errors[retarget] = np.mean(values["landmark_error"])
    assert errors[False] == pytest.approx(0, abs=0.01), "seen where it was asked for"
    assert errors[True] > 0.1, "asked for elsewhere"
