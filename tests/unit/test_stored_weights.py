"""Estimators use weights of the store where no file is given."""

from pathlib import Path

import pytest

from tests.networks import brightness_weights
from v2vkit import weights
from v2vkit.artifacts.folder import Folder
from v2vkit.estimators.registry import ESTIMATORS, with_stored_weights
from v2vkit.stages.ingest import STAGE as INGEST
from v2vkit.stages.ingest import IngestConfig
from v2vkit.stages.make_sketches import SketchConfig
from v2vkit.stages.segment import STAGE as SEGMENT
from v2vkit.stages.segment import SegmentConfig
from v2vkit.weights.registry import registry


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Path]:
    """Name -> file of what the store has."""
    found: dict[str, Path] = {}
    monkeypatch.setattr(weights, "find", lambda name: found.get(registry()[name].name))
    return found


def test_every_name_in_the_table_of_estimators_is_in_the_registry() -> None:
    assert {name for row in ESTIMATORS for name in row.weights} <= registry().keys()


def test_the_first_file_that_is_there_is_taken_and_printed(
    stored: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config = SegmentConfig()
    assert with_stored_weights("segment", config) == config
    assert capsys.readouterr().out == ""
    stored["lraspp"] = Path("/store/lraspp.pth")
    assert with_stored_weights("segment", config).weights == "/store/lraspp.pth"
    assert capsys.readouterr().out == "weights: lraspp, /store/lraspp.pth\n"
    stored["deeplabv3"] = Path("/store/deeplabv3.pth")
    assert with_stored_weights("segment", config).weights == "/store/deeplabv3.pth"


def test_a_given_file_and_estimators_that_need_none_are_left_alone(stored: dict[str, Path]) -> None:
    stored.update({"deeplabv3": Path("/store/a.pth"), "dlib-68": Path("/store/b.dat")})
    given = SegmentConfig(weights="/mine.pth")
    assert with_stored_weights("segment", given) == given
    assert with_stored_weights("face", SketchConfig()).weights is None
    assert with_stored_weights("face", SketchConfig(face="dlib")).weights == "/store/b.dat"


@pytest.mark.slow
def test_segment_and_ingest_use_them(stored: dict[str, Path], tmp_path: Path) -> None:
    stored["lraspp"] = brightness_weights(tmp_path / "lraspp.pth")
    stored["dlib-68"] = tmp_path / "shape.dat"
    assert SEGMENT.resolve is not None
    assert INGEST.resolve is not None
    found = SEGMENT.resolve(SegmentConfig(), Folder(str(tmp_path)))
    assert found.weights == str(stored["lraspp"])
    face = IngestConfig(sources=("a.mp4",), face="dlib", crop="face", size="64x64")
    assert INGEST.resolve(face, Folder(str(tmp_path))).face_weights == str(stored["dlib-68"])
    whole = IngestConfig(sources=("a.mp4",))
    assert INGEST.resolve(whole, Folder(str(tmp_path))) == whole
