"""Writing: every frame once and at its time, right colours, audio untouched, and nothing left after a failure."""

import errno
import itertools
import os
import resource
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.errors import raises
from tests.unit.video_files import moving_frames, read_packets, read_raw, solid_frames, write_audio, write_file
from v2vkit.video.decode import decode
from v2vkit.video.encode import VideoWriter, write_video
from v2vkit.video.probe import probe

FPS = Fraction(25)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "A.MP4"])
@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(15, 2), Fraction(60)])
def test_every_frame_once_at_the_exact_rate(tmp_path, name, rate):
    images = moving_frames(33)
    assert write_video(tmp_path / name, images, fps=rate, crf=10) == []
    decoded, times = read_raw(tmp_path / name)
    assert len(decoded) == 33
    for ours, image in zip(decoded, images, strict=True):
        assert np.abs(ours.astype(int) - image).mean() < 8
    if name.endswith("mkv"):
        assert max(abs(time - i / rate) for i, time in enumerate(times)) <= Fraction(1, 2000)
        assert abs(probe(tmp_path / name).fps - rate) < 0.01
    else:
        assert times == [i / rate for i in range(33)]
        assert probe(tmp_path / name).fps == rate


@pytest.mark.parametrize("count", [1, 2, 5])
def test_very_short_videos_keep_their_frames(tmp_path, count):
    write_video(tmp_path / "a.mp4", moving_frames(count), fps=FPS)
    assert len(list(decode(tmp_path / "a.mp4"))) == count


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_variable_rate_is_kept_exactly(tmp_path, name):
    stamps = [0, 40, 45, 200, 210, 1000, 1001, 1500, 1600, 1610]
    with VideoWriter(tmp_path / name, fps=FPS, time_base=Fraction(1, 1000)) as writer:
        for image, stamp in zip(moving_frames(10), stamps, strict=True):
            writer.write(image, pts=stamp)
    assert read_raw(tmp_path / name)[1] == [Fraction(stamp, 1000) for stamp in stamps]


@pytest.mark.parametrize("time_base", [Fraction(1, 90000), Fraction(1, 15360), Fraction(1001, 30000), Fraction(1, 30)])
def test_decoded_time_stamps_go_straight_through(tmp_path, time_base):
    stamps = [i * i + 7 for i in range(12)]
    source = write_file(tmp_path / "in.mov", moving_frames(12), stamps=stamps, time_base=time_base)
    before = list(decode(source))
    with VideoWriter(tmp_path / "out.mp4", fps=probe(source).fps, time_base=before[0].time_base) as writer:
        for frame in before:
            writer.write(frame.image, pts=frame.pts)
    after = list(decode(tmp_path / "out.mp4"))
    assert [f.pts * f.time_base for f in after] == [f.pts * f.time_base for f in before]


UNEVEN = [0, 40, 80, 1000, 1040, 1080, 5000, 5040, 9000]


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
@pytest.mark.parametrize("last", [500, 4000])
def test_the_last_frame_is_shown_as_long_as_asked_for(tmp_path, name, last):
    """Although with B frames it is not the one that is encoded last."""
    rate = Fraction(9000, 9000 + last)
    with VideoWriter(tmp_path / name, fps=rate, time_base=Fraction(1, 1000)) as writer:
        for image, stamp in zip(moving_frames(9), UNEVEN, strict=True):
            writer.write(image, pts=stamp, duration=last)
    with av.open(str(tmp_path / name)) as container:
        assert container.duration == pytest.approx(1000 * (9000 + last), abs=1000)
        assert float(container.streams.video[0].average_rate) == pytest.approx(float(rate), rel=1e-3)
    frames = list(decode(tmp_path / name))
    assert [frame.pts * frame.time_base for frame in frames] == [Fraction(stamp, 1000) for stamp in UNEVEN]
    assert frames[-1].duration * frames[-1].time_base == Fraction(last, 1000)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
@pytest.mark.parametrize(("source", "codec"), [("in.mkv", "libx264"), ("in.webm", "libvpx-vp9")])
def test_milliseconds_of_matroska_keep_the_rate(tmp_path, source, codec, name):
    path = write_file(tmp_path / source, moving_frames(30), codec=codec, rate=24)
    with VideoWriter(tmp_path / name, fps=Fraction(24), time_base=Fraction(1, 1000)) as writer:
        for frame in decode(path):
            writer.write(frame.image, pts=frame.pts, duration=frame.duration)
    with av.open(str(tmp_path / name)) as container:
        assert container.streams.video[0].average_rate == 24
        assert container.duration == 1_250_000


def test_a_constant_rate_given_by_time_stamps_is_stated_exactly(tmp_path):
    rate = Fraction(30000, 1001)
    with VideoWriter(tmp_path / "a.mp4", fps=rate, time_base=Fraction(1, 90000)) as writer:
        for i, image in enumerate(moving_frames(40)):
            writer.write(image, pts=3003 * i)
    info = probe(tmp_path / "a.mp4", scan=True)
    assert info.fps == rate
    assert info.variable_rate is False


COLOURS = [(200, 40, 60), (20, 180, 90), (30, 60, 200), (255, 255, 255), (0, 0, 0), (128, 128, 128), (250, 230, 20)]


@pytest.mark.parametrize("colour", COLOURS)
def test_colours_are_converted_and_tagged(tmp_path, colour):
    path = tmp_path / "a.mp4"
    write_video(path, solid_frames(colour, 3), fps=FPS, crf=1)
    for image in (next(decode(path)).image, read_raw(path)[0][0]):  # ours, and PyAV's default as a foreign reader
        assert np.abs(image.astype(int) - colour).max() <= 3
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == (1, 1, 1, 1)
        assert frame.format.name == "yuv420p"
        # The stored numbers are BT.709's (ITU-R BT.709-6, section 3.4), whatever a reader makes of the tags.
        red, green, blue = (value / 255 for value in colour)
        luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        planes = frame.to_ndarray(format="yuv420p")
        assert abs(planes[10, 10] - (16 + 219 * luma)) <= 2
        assert abs(planes[48 + 6, 10] - (128 + 224 * (blue - luma) / 1.8556)) <= 2


@pytest.mark.parametrize(("width", "height"), [(65, 48), (64, 49), (65, 49), (1, 1)])
def test_odd_sizes_repeat_the_last_row_and_column(tmp_path, width, height):
    images = moving_frames(4, width, height)
    path = tmp_path / "odd.mkv"
    write_video(path, images, fps=FPS, crf=4)
    decoded = list(decode(path))
    assert len(decoded) == 4
    for frame, image in zip(decoded, images, strict=True):
        assert frame.image.shape == (height + height % 2, width + width % 2, 3)
        expected = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        assert np.abs(frame.image.astype(int) - expected).mean() < 6


def test_the_index_of_an_mp4_stands_before_its_frames(tmp_path):
    write_video(tmp_path / "a.mp4", moving_frames(5), fps=FPS)
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_the_same_frames_make_the_same_file(tmp_path):
    """Also after other work has left its bytes in freed memory, of which x264's AVX-512 code reads some."""
    images = moving_frames(50)
    files = set()
    for _ in range(40):
        write_video(tmp_path / "a.mp4", images, fps=FPS)
        files.add((tmp_path / "a.mp4").read_bytes())
        list(decode(tmp_path / "a.mp4"))
    assert len(files) == 1


def test_crf_and_codec_are_obeyed(tmp_path):
    images = moving_frames(20, 128, 96)
    sizes = []
    for crf in (10, 40):
        write_video(tmp_path / f"{crf}.mp4", images, fps=FPS, crf=crf)
        sizes.append((tmp_path / f"{crf}.mp4").stat().st_size)
    assert sizes[0] > 3 * sizes[1]
    write_video(tmp_path / "hevc.mp4", images, fps=FPS, codec="libx265")
    assert probe(tmp_path / "hevc.mp4").codec == "hevc"
    assert len(list(decode(tmp_path / "hevc.mp4"))) == 20


@pytest.mark.parametrize(
    ("source", "codec", "target"),
    [
        ("in.mp4", "aac", "out.mp4"),
        ("in.mp4", "aac", "out.mkv"),
        ("in.mkv", "libopus", "out.mp4"),
        ("in.mkv", "pcm_s16le", "out.mkv"),
        ("in.mkv", "flac", "out.mp4"),
        ("in.mov", "pcm_s24le", "out.mov"),
        ("in.avi", "libmp3lame", "out.mp4"),
    ],
)
def test_audio_packets_are_copied_bit_for_bit(tmp_path, source, codec, target):
    video = "mpeg4" if source.endswith("avi") else "libx264"
    path = write_file(tmp_path / source, moving_frames(25), codec=video, audio=codec)
    problems = write_video(tmp_path / target, moving_frames(25), fps=FPS, audio_from=path)
    assert problems == []
    packets = read_packets(path)
    assert len(packets) > 5
    assert read_packets(tmp_path / target) == packets
    assert len(list(decode(tmp_path / target))) == 25


@pytest.mark.parametrize("name", ["in.mkv", "in.avi"])
def test_audio_without_a_channel_layout_is_copied(tmp_path, name):
    video = "mpeg4" if name.endswith("avi") else "libx264"
    path = write_file(tmp_path / name, moving_frames(25), codec=video, audio="pcm_s16le", layout="stereo")
    assert write_video(tmp_path / "out.mov", moving_frames(25), fps=FPS, audio_from=path) == []
    assert read_packets(tmp_path / "out.mov") == read_packets(path)
    with av.open(str(tmp_path / "out.mov")) as container:
        assert container.streams.audio[0].layout.name == "stereo"


def test_audio_from_a_transport_stream_stays_in_step(tmp_path):
    source = write_file(tmp_path / "in.ts", moving_frames(25), audio="aac")  # starts at 1.4 s
    write_video(tmp_path / "out.mp4", moving_frames(25), fps=FPS, audio_from=source)

    def lag(path):
        """Time of the last audio packet after the first picture."""
        with av.open(str(path)) as container:
            times = [p.pts * p.time_base for p in container.demux(audio=0) if p.pts is not None]
        return float(times[-1] - read_raw(path)[1][0])

    assert 0.8 < lag(source) < 1.1
    assert lag(tmp_path / "out.mp4") == pytest.approx(lag(source), abs=0.002)
    assert len(list(decode(tmp_path / "out.mp4"))) == 25


def sound(path: Path) -> np.ndarray:
    """The samples of the first channel in [-1, 1]."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=16000)
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        return np.concatenate([frame.to_ndarray()[0] for frame in frames])


@pytest.mark.parametrize(
    ("codec", "name", "target"),
    [
        ("pcm_s24le", "in.mov", "out.mp4"),
        ("pcm_f32le", "in.mkv", "out.mp4"),
        ("pcm_mulaw", "in.mov", "out.mp4"),
        ("pcm_u8", "in.mkv", "out.mp4"),
        ("adpcm_ima_qt", "in.mov", "out.mkv"),
        ("flac", "in.mkv", "out.mov"),
    ],
)
def test_audio_that_players_do_not_accept_is_converted_and_reported(tmp_path, codec, name, target):
    source = write_file(tmp_path / name, moving_frames(25), audio=codec)
    with VideoWriter(tmp_path / target, fps=FPS, audio_from=source) as writer:
        for image in moving_frames(25):
            writer.write(image)
    assert writer.problems == []
    (note,) = writer.notes
    assert name in note
    assert codec in note
    with av.open(str(tmp_path / target)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
    before, after = sound(source), sound(tmp_path / target)
    if target != "out.mkv":  # which says nothing of the samples that the encoder puts in front
        assert abs(len(after) - len(before)) <= 1024
        same = slice(2000, 12000)
        assert np.corrcoef(before[same], after[same])[0, 1] > 0.99, "neither noise nor late"
    assert np.std(after[4000:8000]) == pytest.approx(np.std(before[4000:8000]), rel=0.05)
    assert len(list(decode(tmp_path / target))) == 25


def test_audio_that_can_neither_be_copied_nor_converted_is_reported_and_the_video_written(tmp_path):
    source = write_file(tmp_path / "in.mov", moving_frames(25), audio="pcm_s24le", layout="hexadecagonal")
    problems = write_video(tmp_path / "out.mp4", moving_frames(25), fps=FPS, audio_from=source)
    assert len(problems) == 1
    assert "in.mov" in problems[0]
    assert "Write to .mkv, which can" in problems[0]
    assert len(list(decode(tmp_path / "out.mp4"))) == 25
    assert not probe(tmp_path / "out.mp4").has_audio


def test_damaged_audio_is_reported_and_the_video_written(tmp_path):
    (tmp_path / "in.mp4").write_bytes(b"no media at all" * 100)
    problems = write_video(tmp_path / "out.mp4", moving_frames(5), fps=FPS, audio_from=tmp_path / "in.mp4")
    assert len(problems) == 1
    assert "in.mp4" in problems[0]
    assert len(list(decode(tmp_path / "out.mp4"))) == 5


def test_a_silent_or_audio_only_source_is_no_problem(tmp_path):
    silent = write_file(tmp_path / "silent.mp4", moving_frames(3))
    assert write_video(tmp_path / "a.mp4", moving_frames(5), fps=FPS, audio_from=silent) == []
    song = write_audio(tmp_path / "song.m4a", "aac")
    assert write_video(tmp_path / "b.mp4", moving_frames(5), fps=FPS, audio_from=song) == []
    assert read_packets(tmp_path / "b.mp4") == read_packets(song)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_target_may_be_the_source(tmp_path):
    path = write_file(tmp_path / "a.mp4", moving_frames(10), audio="aac")
    packets = read_packets(path)
    with VideoWriter(path, fps=FPS, audio_from=path) as writer:
        for frame in decode(path):
            writer.write(255 - frame.image)
    assert names(tmp_path) == ["a.mp4"]
    assert read_packets(path) == packets
    assert len(list(decode(path))) == 10


def write_and_fail(path, after):
    with VideoWriter(path, fps=FPS) as writer:
        for image in moving_frames(after):
            writer.write(image)
        raise KeyError


@pytest.mark.parametrize("after", [0, 1, 30])
def test_an_exception_leaves_nothing(tmp_path, after):
    with pytest.raises(KeyError):
        write_and_fail(tmp_path / "a.mp4", after)
    assert names(tmp_path) == []


def test_a_failure_keeps_the_old_file(tmp_path):
    path = write_file(tmp_path / "a.mp4", moving_frames(3))
    before = path.read_bytes()
    with pytest.raises(KeyError):
        write_and_fail(path, 1)
    assert names(tmp_path) == ["a.mp4"]
    assert path.read_bytes() == before


def test_no_frames_is_a_user_error(tmp_path):
    with raises("frames-missing", "a.mp4"):
        write_video(tmp_path / "a.mp4", [], fps=FPS)
    assert names(tmp_path) == []


def test_a_full_disk_is_a_user_error_and_leaves_nothing(tmp_path):
    """The limit on the size of a file stands in for the full disk: the same write calls fail."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 96, 128, 3), dtype=np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 4096, 200_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with raises("disk-full", "a.mp4"):
                write_video(tmp_path / "a.mp4", noise, fps=FPS, crf=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["a.avi", "a.gif", "a", "a.mp4.part"])
def test_an_unknown_ending_is_refused(tmp_path, name):
    with raises("format-unsupported", name, ".mp4, .mov, .mkv"):
        VideoWriter(tmp_path / name, fps=FPS)


def test_a_missing_folder_and_a_folder_as_target_are_refused(tmp_path):
    with raises("folder-missing", str(tmp_path / "no")):
        VideoWriter(tmp_path / "no" / "a.mp4", fps=FPS)
    (tmp_path / "b.mp4").mkdir()
    with raises("file-required", "b.mp4"):
        VideoWriter(tmp_path / "b.mp4", fps=FPS)


def test_an_unknown_codec_names_the_known_ones(tmp_path):
    with raises("codec-unknown", "divx", "libx264"):
        VideoWriter(tmp_path / "a.mp4", fps=FPS, codec="divx")


def test_frames_of_two_sizes_and_repeated_times_are_refused(tmp_path):
    with raises("size-mismatch", "32x48", "64x48"):
        write_video(tmp_path / "a.mp4", [*moving_frames(2), *moving_frames(1, 32, 48)], fps=FPS)
    images = moving_frames(3)
    with VideoWriter(tmp_path / "a.mp4", fps=FPS, time_base=Fraction(1, 1000)) as writer:
        writer.write(images[0], pts=0)
        writer.write(images[1], pts=40)
        with raises("timestamp-out-of-order", "a.mp4"):
            writer.write(images[2], pts=40)
    assert len(list(decode(tmp_path / "a.mp4"))) == 2


def test_frames_are_taken_one_at_a_time(tmp_path):
    """A generator is never run ahead of: constant memory."""
    taken = itertools.count()

    def images():
        for image in moving_frames(30):
            next(taken)
            yield image

    with VideoWriter(tmp_path / "a.mp4", fps=FPS) as writer:
        for i, image in enumerate(images()):
            writer.write(image)
            assert writer.num_frames == i + 1
    assert next(taken) == 30


WRAP = [2**33 - 45000 + i * 3600 for i in range(30)]
"""Half a second before a transport stream's clock of 33 bits begins anew: the times before it are read as negative."""


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv"])
def test_time_stamps_before_zero_lose_no_frame(tmp_path, name):
    source = write_file(tmp_path / "in.ts", moving_frames(30), stamps=WRAP, time_base=Fraction(1, 90000))
    frames = list(decode(source))
    assert frames[0].pts < 0
    with VideoWriter(tmp_path / name, fps=FPS, time_base=frames[0].time_base) as writer:
        for frame in frames:
            writer.write(frame.image, pts=frame.pts)
    assert read_raw(tmp_path / name)[1] == [i / FPS for i in range(30)]


def test_sound_moves_with_time_stamps_before_zero(tmp_path):
    source = write_file(tmp_path / "in.mkv", moving_frames(30), audio="libmp3lame")
    with VideoWriter(tmp_path / "out.mp4", fps=FPS, time_base=Fraction(1, 1000), audio_from=source) as writer:
        for i, image in enumerate(moving_frames(30)):
            writer.write(image, pts=40 * i - 500)

    def first(path):
        with av.open(str(path)) as container:
            return next(p.pts * p.time_base for p in container.demux(audio=0) if p.pts is not None)

    assert len(read_raw(tmp_path / "out.mp4")[0]) == 30
    assert float(first(tmp_path / "out.mp4") - first(source)) == pytest.approx(0.5, abs=0.01)


def test_a_name_with_a_colon_is_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video("a:b.mp4", moving_frames(3), fps=FPS)
    assert names(tmp_path) == ["a:b.mp4"]
    assert len(list(decode("a:b.mp4"))) == 3


@pytest.mark.parametrize("length", [245, 300])
def test_a_name_that_is_too_long_is_a_user_error(tmp_path, length):
    with raises("target-unwritable", "aaa.mp4"):
        VideoWriter(tmp_path / f"{'a' * length}.mp4", fps=FPS)


def test_a_folder_that_may_not_be_looked_into_is_a_user_error(tmp_path, monkeypatch):
    def refuse(self, **_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    with raises("target-unwritable", "a.mp4"):
        VideoWriter(tmp_path / "a.mp4", fps=FPS)


@pytest.mark.parametrize("path", ["memory://x/out.mp4", "s3://bucket/out.mp4"])
def test_a_url_is_refused(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with raises("url-unsupported", path):
        VideoWriter(path, fps=FPS)


def test_temporary_files_of_killed_writers_of_the_same_target_are_removed(tmp_path):
    with subprocess.Popen(["true"]) as gone:
        pass
    kept = [f".out.{os.getppid()}.part.mp4", f".out.2.{gone.pid}.part.mp4", f".out.{gone.pid}.part.mkv", "out.mkv"]
    for name in (f".out.{gone.pid}.part.mp4", *kept):
        (tmp_path / name).write_bytes(b"half a video")
    write_video(tmp_path / "out.mp4", moving_frames(2), fps=FPS)
    assert names(tmp_path) == sorted([*kept, "out.mp4"])


@pytest.mark.parametrize(("codec", "tag"), [("libx265", "hvc1"), ("libx264", "avc1")])
def test_hevc_has_the_tag_that_every_player_knows(tmp_path, codec, tag):
    write_video(tmp_path / "a.mp4", moving_frames(5), fps=FPS, codec=codec)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.codec_tag == tag


def test_a_link_as_target_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out.mp4").symlink_to(tmp_path / "disk/film.mp4")
    for count in (3, 5):
        write_video(tmp_path / "out.mp4", moving_frames(count), fps=FPS)
        assert (tmp_path / "out.mp4").is_symlink()
        assert len(read_raw(tmp_path / "disk/film.mp4")[0]) == count
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["film.mp4"]
    (tmp_path / "lost.mp4").symlink_to(tmp_path / "gone/film.mp4")
    with raises("folder-missing", "gone"):
        write_video(tmp_path / "lost.mp4", moving_frames(3), fps=FPS)


@pytest.mark.parametrize("base", [Fraction(1, 1_000_000_000), Fraction(1, 1_000_000)])
def test_ticks_that_overflow_32_bits_are_rounded(tmp_path, base):
    times = [Fraction(0), Fraction(1, 25), Fraction(3000), Fraction(3001)]
    with VideoWriter(tmp_path / "a.mp4", fps=FPS, time_base=base) as writer:
        for image, time in zip(moving_frames(4), times, strict=True):
            writer.write(image, pts=int(time / base), duration=int(Fraction(1, 25) / base))
    assert read_raw(tmp_path / "a.mp4")[1] == times
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.duration < 2**31
        assert stream.duration * stream.time_base == times[-1] + Fraction(1, 25)
