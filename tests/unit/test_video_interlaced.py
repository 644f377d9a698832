"""Interlaced video is deinterlaced, a part of it as the whole; it may be left as it is."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.unit.ingesting import contents, ingest
from tests.unit.rendering import render, save_untrained
from tests.unit.video_files import moving_frames, read_raw, write_file
from v2vkit.video.decode import decode
from v2vkit.video.footage_source import open_video_source
from v2vkit.video.options import VideoOptions
from v2vkit.video.probe import probe


def woven(count: int) -> list[NDArray[np.uint8]]:
    """Frames whose odd rows were taken half a frame later than the even ones."""
    fields = moving_frames(2 * count, 96, 64, step=4)
    frames = [frame.copy() for frame in fields[::2]]
    for frame, later in zip(frames, fields[1::2], strict=True):
        frame[1::2] = later[1::2]
    return frames


def interlaced(path: Path, count: int = 20) -> Path:
    return write_file(path, woven(count), options={"x264-params": "tff=1", "g": "5", "crf": "5"})


def combing(images: list[NDArray[np.uint8]]) -> float:
    """How much more neighbouring rows differ than the next but one."""
    rows = np.stack(images).astype(float)
    return float(np.abs(np.diff(rows, axis=1)).mean() / np.abs(rows[:, 2:] - rows[:, :-2]).mean())


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.ts", "in.avi"])
def test_deinterlacing_keeps_the_number_of_frames_and_removes_combs(tmp_path: Path, name: str) -> None:
    path = interlaced(tmp_path / name)
    kept = list(decode(path, options=VideoOptions(deinterlace=False)))
    frames = list(decode(path))
    assert combing([frame.image for frame in kept]) > 1.2
    assert combing([frame.image for frame in frames]) < 0.8
    assert [(f.pts, f.index, f.duration) for f in frames] == [(f.pts, f.index, f.duration) for f in kept]
    assert probe(path).remarks == ("interlaced video is deinterlaced (--keep-interlaced leaves it).",)
    assert probe(path, options=VideoOptions(deinterlace=False)).remarks == ("interlaced video is left as it is.",)


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.ts", "in.avi"])
@pytest.mark.parametrize(("start", "stop"), [(0, 4), (5, 9), (7, 12), (15, 20)])
def test_a_part_is_as_in_the_whole(tmp_path: Path, name: str, start: int, stop: int) -> None:
    path = interlaced(tmp_path / name)
    whole = list(decode(path))
    known = [] if any(frame.repaired for frame in whole) else [whole[start].pts]
    for pts in (None, *known):
        part = list(decode(path, start, stop, start_pts=pts))
        assert [frame.index for frame in part] == list(range(start, stop))
        for ours, theirs in zip(part, whole[start:stop], strict=True):
            assert ours.pts == theirs.pts
            np.testing.assert_array_equal(ours.image, theirs.image)


def test_a_part_that_is_rendered_is_as_in_the_whole(tmp_path: Path) -> None:
    path = interlaced(tmp_path / "in.mp4")
    whole = [frame.image for frame in open_video_source(str(path)).frames()]
    part = [frame.image for frame in open_video_source(str(path), start=0.28, duration=0.2).frames()]
    np.testing.assert_array_equal(np.stack(part), np.stack(whole[7:12]))


def test_a_single_interlaced_frame_and_progressive_video_are_read(tmp_path: Path) -> None:
    assert len(list(decode(interlaced(tmp_path / "one.mp4", count=1)))) == 1
    path = write_file(tmp_path / "in.mp4", moving_frames(5))
    assert probe(path).remarks == ()


def test_ingest_and_render_report_deinterlacing_and_can_skip_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = interlaced(tmp_path / "in.mp4")
    ingest(tmp_path / "work", path, lossless=True, cuts="none")
    assert "interlaced video is deinterlaced" in capsys.readouterr().err
    ingest(tmp_path / "kept", path, lossless=True, cuts="none", keep_interlaced=True)
    assert "interlaced video is left as it is" in capsys.readouterr().err
    ours, theirs = contents(tmp_path / "work"), contents(tmp_path / "kept")
    assert combing(list(ours.values())) < 0.8 < 1.2 < combing(list(theirs.values()))
    save_untrained(tmp_path, "face")
    pytest.importorskip("mediapipe")
    render(path, tmp_path / "out.mp4", tmp_path, cuts="none")
    assert f"{path}: interlaced video is deinterlaced" in capsys.readouterr().out
    assert read_raw(tmp_path / "out.mp4")[1] == [Fraction(t, 25) for t in range(20)]
