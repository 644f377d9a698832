"""`v2v check --against`: how the labels of two workspaces differ."""

from pathlib import Path

import numpy as np
import pytest

from tests.errors import raises
from tests.unit.ingesting import ingest, write_images
from tests.unit.video_files import moving_frames
from v2vkit.conditions.label_compare import statistics
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.check import COMMAND, CheckConfig


def blocks(side: int) -> np.ndarray:
    """Road (3), and two areas of cars (8) of that side, on 32x32."""
    ids = np.full((32, 32), 3, np.uint8)
    ids[2 : 2 + side, 2 : 2 + side] = 8
    ids[20 : 20 + side, 18 : 18 + side] = 8
    return ids


def workspace(folder: Path, ids: np.ndarray, **settings: object) -> Path:
    source = write_images(folder / "images", [frame[:32, :32] for frame in moving_frames(8)])
    labels = write_images(folder / "labels", [ids] * 8)
    ingest(folder / "work", source, labels=labels, cuts="none", **settings)
    return folder / "work"


def test_statistics_are_what_can_be_counted_by_hand() -> None:
    found = statistics([blocks(4), blocks(4)])
    assert found.share(8) == pytest.approx(2 * 16 / 1024)
    assert found.segment_size(8) == pytest.approx(16 / 1024)
    assert found.segment_size(3) == pytest.approx(1 - 32 / 1024)
    assert found.boundary_length == pytest.approx(2 * 16 / np.hypot(32, 32))


def test_like_workspaces_have_no_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = workspace(tmp_path / "a", blocks(8), classes="camvid")
    second = workspace(tmp_path / "b", blocks(8), classes="camvid")
    assert COMMAND.call(CheckConfig(against=str(second)), RunOptions(work=str(first))) == []
    output = capsys.readouterr().out
    assert "8 car" in output
    assert "12.50 %" in output


def test_differences_are_named(tmp_path: Path) -> None:
    first = workspace(tmp_path / "a", blocks(4), classes="camvid")
    other = blocks(10)
    other[0, 0] = 5
    second = workspace(tmp_path / "b", other, classes="camvid")
    only, share, segments, boundaries = COMMAND.call(CheckConfig(against=str(second)), RunOptions(work=str(first)))
    assert "5 tree" in only
    for problem in (share, segments):
        assert "8 car" in problem
        assert "3 road" not in problem
    assert str(second) in boundaries


def test_tables_that_name_an_id_otherwise_are_told(tmp_path: Path) -> None:
    first = workspace(tmp_path / "a", blocks(8), classes="camvid")
    second = workspace(tmp_path / "b", blocks(8), classes="cityscapes-train")
    problems = COMMAND.call(CheckConfig(against=str(second)), RunOptions(work=str(first)))
    assert len(problems) == 1
    assert "'sky'" in problems[0]
    assert "'road'" in problems[0]


def test_comparing_with_no_labels_or_sources_is_refused(tmp_path: Path) -> None:
    first = workspace(tmp_path / "a", blocks(8))
    with raises("artifact-missing", "labels"):
        COMMAND.call(CheckConfig(against=str(tmp_path / "none")), RunOptions(work=str(first)))
    with raises("setting-conflict", "--against"):
        COMMAND.call(CheckConfig(sources=("a.mp4",), against=str(first)), RunOptions(work=str(first)))
