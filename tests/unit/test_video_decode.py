"""Probing and decoding: geometry, colour, time, exact seeking, and every kind of file that is no video."""

import itertools
from collections import Counter
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from tests.errors import raises
from tests.shared_data import SHARED, needs_shared
from tests.unit.video_files import (
    moving_frames,
    read_raw,
    set_display_matrix,
    solid_frames,
    write_audio,
    write_file,
    write_tone,
)
from v2vkit.config import MAX_PIXELS
from v2vkit.video.container import demux, open_video
from v2vkit.video.decode import decode
from v2vkit.video.encode import VideoWriter
from v2vkit.video.footage_source import open_video_source
from v2vkit.video.probe import probe

RED, GREEN, BLUE, WHITE = (220, 20, 20), (20, 200, 20), (20, 20, 220), (240, 240, 240)


def corners(width: int = 64, height: int = 48) -> np.ndarray:
    """Red top left, green top right, blue bottom left, white bottom right."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = RED, GREEN
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = BLUE, WHITE
    return image


def name_corners(image: np.ndarray) -> str:
    """The colours of the four corners, as letters: top left, top right, bottom left, bottom right."""
    colours = {"r": RED, "g": GREEN, "b": BLUE, "w": WHITE}

    def name(pixel: np.ndarray) -> str:
        return min(colours, key=lambda key: float(np.abs(pixel.astype(int) - colours[key]).sum()))

    return "".join(name(image[y, x]) for y in (4, -5) for x in (4, -5))


@pytest.mark.parametrize(
    ("matrix", "expected", "rotation"),
    [
        ((1, 0, 0, 1), "rgbw", 0),
        ((0, -1, 1, 0), "gwrb", 90),
        ((-1, 0, 0, -1), "wbgr", 180),
        ((0, 1, -1, 0), "brwg", 270),
        ((-1, 0, 0, 1), "grwb", None),
        ((1, 0, 0, -1), "bwrg", None),
        ((0, 1, 1, 0), "rbgw", None),
        ((0, -1, -1, 0), "wgbr", None),
    ],
)
def test_the_eight_orientations_become_upright(tmp_path, matrix, expected, rotation):
    path = write_file(tmp_path / "phone.mp4", [corners()] * 3)
    set_display_matrix(path, *matrix)
    frames = list(decode(path))
    assert [name_corners(frame.image) for frame in frames] == [expected] * 3
    info = probe(path)
    assert (info.height, info.width) == frames[0].image.shape[:2]
    assert (info.width, info.height) == ((48, 64) if matrix[0] == 0 else (64, 48))
    if rotation is not None:
        assert info.rotation == rotation


def test_sample_aspect_ratio_widens_to_square_pixels(tmp_path):
    path = write_file(tmp_path / "pal.mp4", [corners()] * 2, aspect=Fraction(4, 3))
    frame = next(decode(path))
    assert frame.image.shape == (48, 85, 3)
    assert name_corners(frame.image) == "rgbw"
    assert (probe(path).width, probe(path).height) == (85, 48)


def test_a_picture_that_wide_pixels_make_too_large_is_refused(tmp_path):
    assert 2048 * 2048 * 15 < MAX_PIXELS <= 2048 * 2048 * 16
    image = corners(2048, 2048)
    with open_video(write_file(tmp_path / "a.mp4", [image], aspect=Fraction(15))):
        pass
    path = write_file(tmp_path / "b.mp4", [corners(2048, 2052)], aspect=Fraction(16))
    with raises("image-too-large", "b.mp4", "32768x2052"), open_video(path):
        pass


def test_aspect_ratio_is_applied_before_rotation(tmp_path):
    path = write_file(tmp_path / "both.mp4", [corners()] * 2, aspect=Fraction(2, 1))
    set_display_matrix(path, 0, -1, 1, 0)
    assert next(decode(path)).image.shape == (128, 48, 3)


def test_long_side_shrinks_without_moving_anything(tmp_path):
    path = write_file(tmp_path / "a.mp4", [corners(128, 96)] * 2)
    small = next(decode(path, long_side=32)).image
    assert small.shape == (24, 32, 3)
    assert name_corners(small) == "rgbw"


@pytest.mark.parametrize(("matrix", "tag"), [((0.2126, 0.7152), 1), ((0.299, 0.587), 6)])
@pytest.mark.parametrize("full", [False, True])
def test_colours_follow_the_tags_of_the_file(tmp_path, matrix, tag, full):
    """The YUV numbers are made here from the standards' own formulae (ITU-R BT.709 and BT.601)."""
    colour = np.array([200, 40, 60]) / 255
    red, green = matrix
    luma = red * colour[0] + green * colour[1] + (1 - red - green) * colour[2]
    blue_difference = (colour[2] - luma) / (2 * (red + green))
    red_difference = (colour[0] - luma) / (2 * (1 - red))
    if full:
        yuv = [255 * luma, 128 + 255 * blue_difference, 128 + 255 * red_difference]
    else:
        yuv = [16 + 219 * luma, 128 + 224 * blue_difference, 128 + 224 * red_difference]
    planes = np.zeros((72, 64), np.uint8)
    planes[:48], planes[48:60], planes[60:] = (round(value) for value in yuv)
    path = tmp_path / "colour.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = tag
        context.color_range = 2 if full else 1
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base, frame.colorspace, frame.color_range = 0, Fraction(1, 25), tag, 2 if full else 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    decoded = next(decode(path)).image
    assert np.abs(decoded.astype(int) - [200, 40, 60]).max() <= 2


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(15, 2), Fraction(25)])
def test_rate_and_times_are_exact(tmp_path, rate):
    path = write_file(tmp_path / "rate.mp4", moving_frames(20), rate=rate)
    info = probe(path, scan=True)
    assert info.fps == rate
    assert info.variable_rate is False
    assert info.num_frames == 20
    frames = list(decode(path))
    assert [frame.pts * frame.time_base for frame in frames] == [i / rate for i in range(20)]
    assert [frame.index for frame in frames] == list(range(20))
    assert not any(frame.repaired for frame in frames)


def test_variable_rate_keeps_every_frame_and_its_time(tmp_path):
    stamps = [0, 40, 45, 200, 210, 1000, 1001, 1500, 1600, 1610]
    images = moving_frames(len(stamps))
    path = write_file(tmp_path / "vfr.mp4", images, stamps=stamps, time_base=Fraction(1, 1000))
    frames = list(decode(path))
    assert [frame.pts * frame.time_base for frame in frames] == [Fraction(stamp, 1000) for stamp in stamps]
    for frame, image in zip(frames, images, strict=True):
        assert np.abs(frame.image.astype(int) - image).mean() < 12
    assert probe(path, scan=True).variable_rate is True


B_FRAMES = {"bf": "3", "g": "12", "b-pyramid": "normal"}
SEEKABLE = {
    "b-frames.mp4": {"options": B_FRAMES},
    "b-frames.mkv": {"options": B_FRAMES},
    "open-gop.mp4": {"options": B_FRAMES | {"x264-params": "open-gop=1:scenecut=0"}},
    "open-gop.mkv": {"options": B_FRAMES | {"x264-params": "open-gop=1:scenecut=0"}},
    "intra-refresh.mkv": {"options": {"x264-params": "intra-refresh=1:keyint=12"}},
    "one-key-frame.mp4": {"options": {"g": "1000", "x264-params": "scenecut=0"}},
    "hevc-open-gop.mp4": {"codec": "libx265", "options": {"x265-params": "keyint=12:open-gop=1:log-level=error"}},
    "stream.ts": {"options": B_FRAMES},
    "open-gop.ts": {"options": B_FRAMES | {"x264-params": "open-gop=1:scenecut=0"}},
    "intra-refresh.ts": {"options": {"x264-params": "intra-refresh=1:keyint=12"}},
    "one-key-frame.ts": {"options": {"g": "1000", "x264-params": "scenecut=0"}},
    "hevc-open-gop.ts": {"codec": "libx265", "options": {"x265-params": "keyint=12:open-gop=1:log-level=error"}},
    "mpeg2.m2ts": {"codec": "mpeg2video", "options": {"bf": "2", "g": "12"}},
    "old.avi": {"codec": "mpeg4", "options": {"g": "12"}},
    "b-frames.avi": {"options": B_FRAMES},
    "program.mpg": {"codec": "mpeg2video", "options": {"bf": "2", "g": "12"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "10"}},
    "motion.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "raw.h264": {"options": B_FRAMES},
    "rate.mp4": {"options": B_FRAMES, "rate": Fraction(30000, 1001)},
}


@pytest.mark.parametrize("name", SEEKABLE)
def test_decoding_from_the_middle_equals_decoding_from_the_start(tmp_path, name):
    count = 50
    path = write_file(tmp_path / name, moving_frames(count, step=5), **SEEKABLE[name])
    whole = list(decode(path))
    assert len(whole) == count
    assert [frame.pts for frame in whole] == sorted({frame.pts for frame in whole})
    known = not any(frame.repaired for frame in whole)
    for start, stop in [(0, 4), (1, 3), (11, 14), (12, 13), (13, 20), (23, 26), (36, 50), (49, None), (30, 99)]:
        for start_pts in {None, whole[start].pts if known else None}:
            part = list(decode(path, start, stop, threads=False, start_pts=start_pts))
            assert [frame.index for frame in part] == list(range(count))[start:stop]
            for ours, theirs in zip(part, whole[start:stop], strict=True):
                assert np.array_equal(ours.image, theirs.image)
                assert ours.pts == theirs.pts


def test_a_seek_does_not_decode_from_the_start(tmp_path, monkeypatch):
    path = write_file(tmp_path / "long.mp4", moving_frames(60), options={"g": "10", "x264-params": "scenecut=0"})
    content = bytearray(path.read_bytes())
    at = content.index(b"mdat")
    content[at + 1200 : at + 1400] = bytes(200)  # ruins the first group of pictures
    path.write_bytes(content)
    intact = write_file(tmp_path / "intact.mp4", moving_frames(60), options={"g": "10", "x264-params": "scenecut=0"})
    part, expected = list(decode(path, 45, 50)), list(decode(intact, 45, 50))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(part, expected, strict=True))


def test_a_seek_in_a_transport_stream_finds_the_key_frame_before(tmp_path, monkeypatch):
    """It lands amid a group of pictures; every part was decoded from frame 0."""
    options = {"bf": "2", "g": "25", "x264-params": "scenecut=0"}
    path = write_file(tmp_path / "long.ts", moving_frames(200, step=5), options=options)
    whole = list(decode(path))
    read = Counter()

    def counted(*video):
        for packet in demux(*video):
            read["packets"] += 1
            yield packet

    monkeypatch.setattr("v2vkit.video.seeking.demux", counted)
    monkeypatch.setattr("v2vkit.video.container.demux", counted)
    for start in (30, 64, 100, 128, 175, 190):
        read.clear()
        part = list(decode(path, start, start + 4, threads=False, start_pts=whole[start].pts))
        assert read["packets"] < 100, f"frames {start} to {start + 3} need at most a group before them, and not all"
        assert [frame.pts for frame in part] == [frame.pts for frame in whole[start : start + 4]]
        assert all(np.array_equal(a.image, b.image) for a, b in zip(part, whole[start : start + 4], strict=True))


def test_nothing_after_the_end_and_nothing_in_an_empty_range(tmp_path):
    path = write_file(tmp_path / "a.mp4", moving_frames(10))
    assert list(decode(path, 10)) == []
    assert list(decode(path, 5, 5)) == []
    assert len(list(decode(path, 8, 100))) == 2
    with pytest.raises(ValueError):
        list(decode(path, 5, 3))


def test_closing_early_leaves_the_file_usable(tmp_path):
    path = write_file(tmp_path / "a.mp4", moving_frames(10))
    assert len(list(itertools.islice(decode(path), 3))) == 3
    path.unlink()


def test_stored_gaps_in_time_stamps_are_continued(tmp_path):
    path = write_file(tmp_path / "raw.h264", moving_frames(12), rate=25)  # a raw stream has no time stamps
    frames = list(decode(path))
    assert len(frames) == 12
    assert all(later.pts > earlier.pts for earlier, later in itertools.pairwise(frames))


@pytest.mark.parametrize("count", [2, 9, 30])
@pytest.mark.parametrize(
    ("codec", "bf", "exact"), [("libx264", 0, True), ("libx264", 1, False), ("libx264", 3, False), ("mpeg4", 2, True)]
)
def test_frames_of_avi_come_at_a_constant_rate(tmp_path, codec, bf, exact, count):
    """With B frames FFmpeg gives them the stamps of others, and after the end of the file none."""
    options = {"bf": str(bf)} | ({"b-adapt": "0"} if codec == "libx264" else {})
    path = write_file(tmp_path / "in.avi", moving_frames(count), codec=codec, rate=24, options=options)
    frames = list(decode(path))
    times = [frame.pts * frame.time_base for frame in frames]
    assert times == [times[0] + Fraction(i, 24) for i in range(count)]
    assert times[0] <= Fraction(1, 24)
    if exact:
        assert not any(frame.repaired for frame in frames), "parts can be sought by their time stamps"
    assert [frame.pts * frame.time_base for frame in decode(path, 1)] == times[1:]
    if count > 1:
        part = open_video_source(str(path), start=1 / 24)
        assert part.time_base is not None
        assert [(frame.pts or 0) * part.time_base for frame in part.frames()] == [time - times[1] for time in times[1:]]


@pytest.mark.parametrize("name", ["whole.mp4", "end.mp4", "a.mkv", "a.webm", "a.avi", "a.mov"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_file_is_reported(tmp_path, name, share):
    codec = {"webm": "libvpx", "avi": "mpeg4"}.get(name.split(".")[1], "libx264")
    flags = "+faststart" if name == "whole.mp4" else ""
    path = write_file(tmp_path / name, moving_frames(60, 128, 96), codec=codec, movflags=flags)
    assert len(list(decode(path))) == 60
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with raises("video-damaged", name):
        list(decode(path))


def _empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def _garbage(path: Path) -> Path:
    path.write_bytes(np.random.default_rng(0).bytes(20000))
    return path


def _text(path: Path) -> Path:
    path.write_text("This is a letter, not a video.\n" * 100)
    return path


def _script(path: Path) -> Path:
    other = write_file(path.parent / "other.mp4", moving_frames(3))
    path.write_text(f"ffconcat version 1.0\nfile {other.name}\n")
    return path


def _play_list(path: Path) -> Path:
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nother.ts\n#EXT-X-ENDLIST\n")
    return path


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _no_frames(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    return path


@pytest.mark.parametrize(
    ("name", "make", "code"),
    [
        ("missing.mp4", lambda path: path, "file-missing"),
        ("empty.mp4", _empty, "file-empty"),
        ("garbage.mp4", _garbage, "video-damaged"),
        ("letter.txt", _text, "video-damaged"),
        ("letter.mp4", _text, "video-damaged"),
        ("script.mp4", _script, "video-damaged"),
        ("list.m3u8", _play_list, "video-damaged"),
        ("folder.mp4", _folder, "file-required"),
        ("sound.m4a", lambda path: write_audio(path, "aac"), "video-stream-missing"),
        ("sound.wav", lambda path: write_audio(path, "pcm_s16le"), "video-stream-missing"),
        ("nothing.mp4", _no_frames, "video-stream-missing"),
    ],
)
@pytest.mark.parametrize("call", [probe, lambda path: list(decode(path)), lambda path: list(decode(path, 3, 5))])
def test_a_file_that_is_no_video_is_a_user_error_with_its_name(tmp_path, name, make, code, call):
    path = make(tmp_path / name)
    with raises(code, name) as caught:
        call(path)
    assert caught.error.hint


def test_an_audio_file_with_a_cover_picture_is_audio(tmp_path):
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("libmp3lame", rate=16000, layout="mono")
        cover = container.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = 0x0400  # attached picture
        frame = av.VideoFrame.from_ndarray(corners(), format="rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        pictures = [*cover.encode(frame), *cover.encode(None)]
        container.start_encoding()
        for packet in pictures:
            container.mux(packet)
        write_tone(container, sound, seconds=0.5)
    with raises("video-stream-missing", "song.mp3"):
        probe(path)


def test_a_file_name_like_a_protocol_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_file(tmp_path / "plain.mp4", moving_frames(3))
    path.rename(tmp_path / "http:clip.mp4")
    assert probe("http:clip.mp4").width == 64


def test_probe_reports_audio_and_codec(tmp_path):
    silent = probe(write_file(tmp_path / "a.mp4", moving_frames(5)))
    assert (silent.has_audio, silent.codec, silent.num_frames) == (False, "h264", 5)
    assert silent.duration == pytest.approx(0.2)
    assert probe(write_file(tmp_path / "b.mp4", moving_frames(5), audio="aac")).has_audio


def test_packets_of_streams_that_begin_late_are_left_out():
    """PyAV gives them, or an IndexError after the last packet, as the memory behind its table happens to be."""

    class Container:
        ours, late = object(), object()
        format = SimpleNamespace(name="flv")

        def __init__(self, *, flushes: bool):
            self.packets = [(self.ours, 9), (self.late, 5), (self.ours, 7)] + [(self.ours, 0), (self.late, 0)] * flushes

        def demux(self, *streams):
            yield from (SimpleNamespace(stream=stream, size=size) for stream, size in self.packets)
            raise IndexError

    packets = list(demux(Container(flushes=True), Container.ours))
    assert [(packet.stream, packet.size) for packet in packets] == [(Container.ours, size) for size in (9, 7, 0)]
    with pytest.raises(IndexError):  # before the flush it would mean lost frames
        list(demux(Container(flushes=False), Container.ours))


def test_a_change_of_picture_size_is_reported(tmp_path):
    small = write_file(tmp_path / "small.ts", solid_frames(RED, 10, 64, 48))
    large = write_file(tmp_path / "large.ts", solid_frames(RED, 10, 128, 96))
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    with raises("size-mismatch", "both.ts", "64x48", "128x96"):
        list(decode(path))


@needs_shared
def test_real_clips_decode_the_same_from_anywhere():
    path = SHARED / "real/face/expr_c.mp4"
    whole = [frame.image for frame in decode(path, long_side=128)]
    assert len(whole) == 236
    images, _ = read_raw(path)
    assert len(images) == 236
    part = [frame.image for frame in decode(path, 100, 110, long_side=128)]
    assert all(np.array_equal(a, b) for a, b in zip(part, whole[100:110], strict=True))


def test_a_recording_without_a_rate_has_that_of_its_time_stamps(tmp_path: Path) -> None:
    """As browsers write them: Matroska in milliseconds, 20 frames in 1.25 s."""
    stamps = [round(1000 * (i / 16 + 0.01 * (i % 3))) for i in range(20)]
    path = write_file(
        tmp_path / "in.webm",
        moving_frames(20),
        codec="libvpx",
        rate=1000,
        stamps=stamps,
        time_base=Fraction(1, 1000),
    )
    assert float(probe(path).fps) == pytest.approx(16, rel=0.02)
    told = write_file(tmp_path / "told.mkv", moving_frames(20), rate=Fraction(30000, 1001))
    assert probe(told).fps == Fraction(30000, 1001)


def test_the_last_frame_of_matroska_ends_with_the_track(tmp_path):
    """The one duration that it states for all frames is that of their average rate."""
    path = tmp_path / "a.mkv"
    with VideoWriter(path, fps=Fraction(3, 2), time_base=Fraction(1, 1000)) as writer:
        for image, pts in zip(moving_frames(12), [*range(0, 440, 40), 8000], strict=True):
            writer.write(image, pts=pts, duration=40)
    content = path.read_bytes()
    assert b"\x9b\x81\x28" in content  # BlockDuration, one byte, 40; made Void, because other programs drop it
    path.write_bytes(content.replace(b"\x9b\x81\x28", b"\xec\x81\x28"))
    *_, last = decode(path)
    assert (last.pts, last.duration) == (8000, 40)
