"""`render --align`: other people's faces and bodies where those of the training were."""

from pathlib import Path

import numpy as np
import pytest
from skimage import data

from tests.errors import raises
from tests.faces import photo
from tests.networks import torchvision_weights
from tests.unit.rendering import conditioned, render, save_untrained
from tests.unit.video_files import read_raw, write_file
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.alignment import Placement, place_face, place_people
from v2vkit.conditions.people import estimated_people
from v2vkit.estimators.registry import open_estimator

pytest.importorskip("mediapipe")

WANTED = Placement(x=70, y=52, size=16)
POSE_MAPS = {"pose": "mediapipe", "openpose": None, "min_score": None, "smooth": 0, "stroke": 0, "missing": "hold"}


def _images(source: Path, info: ModelInfo, *, align: bool) -> list[np.ndarray]:
    images = [frame.frame.image for frame in conditioned(source, info, align=align)]
    assert all(image is not None and image.shape == (info.height, info.width, 3) for image in images)
    return images


def _near(placed: Placement | None, wanted: Placement = WANTED, *, off: float = 0.12) -> bool:
    """Whether a subject is there, up to a share of its size."""
    assert placed is not None
    distances = abs(placed.x - wanted.x), abs(placed.y - wanted.y), abs(placed.size - wanted.size)
    return max(distances) < off * wanted.size


@pytest.mark.parametrize("frames", [{"crop": "none"}, {"crop": "center"}, {"crop": "face", "face": "mediapipe"}])
@pytest.mark.parametrize("side", [220, 440])
def test_a_face_comes_where_those_of_training_were(tmp_path: Path, frames: dict, side: int) -> None:
    info = save_untrained(tmp_path, "face", size=(128, 96), frames=frames, placement=WANTED)
    source = write_file(tmp_path / "in.mp4", [photo(side, side, dx=18)] * 3)
    face = open_estimator("face", "mediapipe")
    assert not any(_near(place_face(face(image))) for image in _images(source, info, align=False))
    assert all(_near(place_face(face(image))) for image in _images(source, info, align=True))


def test_a_body_comes_where_those_of_training_were(tmp_path: Path) -> None:
    wanted = Placement(x=170, y=70, size=24)
    info = save_untrained(tmp_path, "pose", size=(256, 192), maps=POSE_MAPS, placement=wanted)
    source = write_file(tmp_path / "in.mp4", [data.astronaut()] * 2, options={"qp": "0"})
    estimate = open_estimator("pose", "mediapipe")
    unaligned, aligned = (_images(source, info, align=align)[0] for align in (False, True))
    # mediapipe sees the same body differently by a tenth of its size, wherever it stands.
    assert not _near(place_people(estimated_people(estimate(unaligned), 0.2)), wanted, off=0.25)
    assert _near(place_people(estimated_people(estimate(aligned), 0.2)), wanted, off=0.25)


def test_every_shot_is_aligned_by_itself(tmp_path: Path) -> None:
    info = save_untrained(tmp_path, "face", size=(128, 96), placement=WANTED, frames={"cuts": "content"})
    negative = 255 - photo(240, 320)
    negative[20:220, 60:260] = photo(200, 200)
    source = write_file(tmp_path / "in.mp4", [photo(240, 320, dx=-40)] * 8 + [negative] * 8)
    frames = list(conditioned(source, info, align=True))
    assert [frame.frame.shot for frame in frames] == [0] * 8 + [1] * 8
    face = open_estimator("face", "mediapipe")
    assert all(_near(place_face(face(frame.frame.image))) for frame in frames)
    assert render(source, tmp_path / "out.mp4", tmp_path, align=True) == []
    assert len(read_raw(tmp_path / "out.mp4")[0]) == 16


def test_models_that_cannot_align_are_refused_before_work_starts(tmp_path: Path) -> None:
    source, target = write_file(tmp_path / "in.mp4", [photo()] * 2), tmp_path / "out.mp4"
    labels = tmp_path / "labels"
    labels.mkdir()
    save_untrained(tmp_path, "face")
    with raises("alignment-unsupported"):
        render(source, target, tmp_path, align=True)
    save_untrained(tmp_path, "street")
    with raises("setting-unused", "--align", "labels"):
        render(labels, target, tmp_path, align=True)
    with raises("setting-unused", "--align"):
        render(tmp_path, target, tmp_path, align=True, maps=True)
    save_untrained(tmp_path, "face", placement=WANTED)
    nobody = write_file(tmp_path / "nobody.mp4", [np.zeros((64, 64, 3), np.uint8)] * 3)
    with raises("subject-missing", "nobody.mp4"):
        render(nobody, target, tmp_path, align=True)
    segmented = {"segment": "torchvision", "weights": str(torchvision_weights(tmp_path / "w.pth"))}
    save_untrained(tmp_path, "street", maps_stage="segment", maps=segmented, placement=WANTED)
    with raises("alignment-unsupported", "--align"):
        render(source, target, tmp_path, align=True)
    assert not target.exists()
