"""Estimators use weights of the store where no file is given."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.networks import brightness_weights
from tests.stored_weights import empty_store
from v2vkit.artifacts.folder import Folder
from v2vkit.estimators.registry import ESTIMATORS, with_stored_weights
from v2vkit.stages.ingest import STAGE as INGEST
from v2vkit.stages.ingest import IngestConfig
from v2vkit.stages.make_sketches import SketchConfig
from v2vkit.stages.segment import STAGE as SEGMENT
from v2vkit.stages.segment import SegmentConfig
from v2vkit.weights.registry import registry

Put = Callable[[str], str]
"""Puts a network into the store under a name; gives its path there."""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Put:
    """An empty store."""
    put = empty_store(monkeypatch, tmp_path / "store")
    file = brightness_weights(tmp_path / "some.pth")
    return lambda name: put(name, file)


def test_every_name_in_the_table_of_estimators_is_in_the_registry() -> None:
    assert {name for row in ESTIMATORS for name in row.weights} <= registry().keys()


def test_the_first_file_that_is_there_is_taken_and_printed(store: Put, capsys: pytest.CaptureFixture[str]) -> None:
    config = SegmentConfig()
    assert with_stored_weights("segment", config) == config
    assert capsys.readouterr().out == ""
    lraspp = store("lraspp")
    assert with_stored_weights("segment", config).weights == lraspp
    assert capsys.readouterr().out == f"weights: lraspp, {lraspp}\n"
    deeplabv3 = store("deeplabv3")
    assert with_stored_weights("segment", config).weights == deeplabv3


def test_a_given_file_and_estimators_that_need_none_are_left_alone(store: Put) -> None:
    store("deeplabv3")
    dlib = store("dlib-68")
    given = SegmentConfig(weights="/mine.pth")
    assert with_stored_weights("segment", given) == given
    assert with_stored_weights("face", SketchConfig()).weights is None
    assert with_stored_weights("face", SketchConfig(face="dlib")).weights == dlib


@pytest.mark.slow
def test_segment_and_ingest_use_them(store: Put, tmp_path: Path) -> None:
    lraspp, dlib = store("lraspp"), store("dlib-68")
    assert SEGMENT.resolve is not None
    assert INGEST.resolve is not None
    found = SEGMENT.resolve(SegmentConfig(), Folder(str(tmp_path)))
    assert found.weights == lraspp
    face = IngestConfig(sources=("a.mp4",), face="dlib", crop="face", size="64x64")
    assert INGEST.resolve(face, Folder(str(tmp_path))).face_weights == dlib
    whole = IngestConfig(sources=("a.mp4",))
    assert INGEST.resolve(whole, Folder(str(tmp_path))) == whole
