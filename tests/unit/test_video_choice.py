"""Of several video streams the right one is read, and it is told which; frame rates of raw streams and AVI."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
from click.testing import CliRunner

from tests.errors import raises
from tests.unit.ingesting import clips, ingest
from tests.unit.rendering import render, save_untrained
from tests.unit.video_files import moving_frames, read_raw, write_file
from v2vkit.cli.main import cli
from v2vkit.video.decode import decode
from v2vkit.video.footage_source import open_video_source
from v2vkit.video.options import VideoOptions
from v2vkit.video.probe import probe
from v2vkit.video.subsampling import kept_rate


def two_streams(path: Path, *, still_first: bool = False) -> Path:
    """A cover picture or a video of 64x48, then a video of 32x32 with 12 frames."""
    with av.open(str(path), "w") as container:
        first = container.add_stream("mjpeg" if still_first else "libx264", rate=25)
        second = container.add_stream("libx264", rate=25)
        first.width, first.height, first.pix_fmt = 64, 48, "yuvj420p" if still_first else "yuv420p"
        second.width, second.height, second.pix_fmt = 32, 32, "yuv420p"
        for stream, images in (
            (first, moving_frames(1 if still_first else 10)),
            (second, moving_frames(12, 32, 32)),
        ):
            for i, image in enumerate(images):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def test_a_single_picture_is_not_the_video(tmp_path: Path) -> None:
    path = two_streams(tmp_path / "in.mp4", still_first=True)
    assert len(list(decode(path))) == 12
    (remark,) = probe(path).remarks
    assert remark.startswith("of its 2 video streams, 0 (a single picture), 1 (32x32, 0.48 s), 1 is used")


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.ts"])
def test_of_two_videos_one_is_named_and_the_other_can_be_chosen(tmp_path: Path, name: str) -> None:
    path = two_streams(tmp_path / name)
    chosen = 0 if len(list(decode(path))) == 10 else 1  # by FFmpeg
    assert f", {chosen} is used (--stream chooses)." in probe(path).remarks[0]
    other = VideoOptions(stream=1)
    assert (probe(path, options=VideoOptions(stream=0)).width, probe(path, options=other).width) == (64, 32)
    assert len(list(decode(path, options=VideoOptions(stream=0)))) == 10
    assert len(list(decode(path, options=other))) == 12
    assert len(list(decode(path, 6, 9, options=other))) == 3
    with raises("stream-unknown", name, "2: 0 "):
        probe(path, options=VideoOptions(stream=2))


def test_a_video_with_one_stream_has_no_remarks(tmp_path: Path) -> None:
    assert probe(write_file(tmp_path / "in.mp4", moving_frames(3), audio="aac")).remarks == ()


def test_ingest_and_render_take_the_stream_that_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = two_streams(tmp_path / "in.mp4")
    ingest(tmp_path / "work", path, stream=1, cuts="none")
    assert "1 is used (--stream chooses)" in capsys.readouterr().err
    ((_, clip),) = clips(tmp_path / "work").items()
    assert (clip["width"], clip["num_frames"]) == (32, 12)
    pytest.importorskip("mediapipe")
    save_untrained(tmp_path, "face")
    render(path, tmp_path / "out.mp4", tmp_path, stream=1)
    assert len(read_raw(tmp_path / "out.mp4")[0]) == 12


RAW = [("in.264", "libx264"), ("in.hevc", "libx265"), ("in.m2v", "mpeg2video")]


@pytest.mark.parametrize(("name", "codec"), RAW)
def test_the_rate_of_a_raw_stream_is_its_own_or_the_one_that_is_given(tmp_path: Path, name: str, codec: str) -> None:
    options = {"x265-params": "log-level=error"} if codec == "libx265" else {}
    path = write_file(tmp_path / name, moving_frames(12), codec=codec, rate=30, options=options)
    assert probe(path).fps == 30
    times = [frame.pts * frame.time_base for frame in decode(path)]
    assert times == [Fraction(i, 30) for i in range(12)]
    assert probe(path).remarks == (
        "a raw stream has no time stamps; it is taken at 30 frames/s (--fps gives another rate).",
    )
    slow = VideoOptions(raw_rate=Fraction(24))
    assert probe(path, options=slow).fps == 24
    assert [frame.pts * frame.time_base for frame in decode(path, options=slow)] == [Fraction(i, 24) for i in range(12)]
    assert open_video_source(str(path), options=slow).fps == 24


def test_fps_of_a_raw_stream_keeps_every_frame(tmp_path: Path) -> None:
    path = write_file(tmp_path / "in.264", moving_frames(12), rate=30)
    for rate in ("15", "60"):
        ingest(tmp_path / rate, path, fps=rate, cuts="none")
        ((_, clip),) = clips(tmp_path / rate).items()
        assert (clip["fps"], clip["num_frames"]) == (rate, 12)


def test_render_takes_fps_for_a_raw_stream_alone(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    save_untrained(tmp_path, "face")
    raw = write_file(tmp_path / "in.264", moving_frames(6), rate=30)
    render(raw, tmp_path / "out.mp4", tmp_path, fps="24")
    assert read_raw(tmp_path / "out.mp4")[1] == [Fraction(i, 24) for i in range(6)]
    timed = write_file(tmp_path / "in.mp4", moving_frames(6))
    with raises("setting-unused", "--fps", "in.mp4"):
        render(timed, tmp_path / "out.mp4", tmp_path, fps="24")


def doubled_ticks(path: Path) -> Path:
    """H.264 copied into AVI of 50 ticks per second, of which each frame takes two."""
    intact = write_file(path.with_suffix(".ts"), moving_frames(12), options={"bf": "0"})
    with av.open(str(intact)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.time_base = Fraction(1, 50)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return path


def test_avi_that_counts_two_ticks_a_frame(tmp_path: Path) -> None:
    path = doubled_ticks(tmp_path / "in.avi")
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 50
    info = probe(path)
    assert (info.fps, info.num_frames) == (25, None)
    frames = list(decode(path))
    assert len(frames) == 12
    assert {b.pts - a.pts for a, b in pairwise(frames)} == {2}
    ingest(tmp_path / "work", path, cuts="none")
    ((_, clip),) = clips(tmp_path / "work").items()
    assert (clip["fps"], clip["num_frames"]) == ("25", 12)
    result = CliRunner().invoke(cli, ["check", str(path)])
    assert f"{path}: 12 frames, 64x48, 25 frames per second" in result.output


def test_ntsc_rates_count_as_the_round_ones(tmp_path: Path) -> None:
    path = write_file(tmp_path / "in.mp4", moving_frames(24), rate=Fraction(30000, 1001))
    ingest(tmp_path / "work", path, fps="30", cuts="none")
    ((_, clip),) = clips(tmp_path / "work").items()
    assert (clip["fps"], clip["num_frames"]) == ("30", 24)
    with raises("frame-rate-mismatch", "in.mp4", "--fps 31"):
        ingest(tmp_path / "other", path, fps="31")


@pytest.mark.parametrize(
    ("own", "wanted", "kept"),
    [
        ("30000/1001", "30", None),
        ("24", "24000/1001", None),
        ("60000/1001", "30", "30000/1001"),
        ("60", "30", "30"),
        ("50", "30", "30"),
        ("25", "25", None),
        ("30", "29", "29"),
    ],
)
def test_rates_that_differ_by_less_than_two_in_a_thousand_are_equal(own: str, wanted: str, kept: str | None) -> None:
    assert kept_rate(Fraction(own), Fraction(wanted)) == (None if kept is None else Fraction(kept))
