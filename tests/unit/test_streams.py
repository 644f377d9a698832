"""Sources are opened and read once; what carries a frame from a file, a pipe or a folder to a sink stays with it."""

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tests.conditions import use_estimator
from tests.errors import raises
from tests.unit.pipes import standard_input
from tests.unit.rendering import conditioned, save_untrained
from tests.unit.video_files import moving_frames, read_packets, solid_frames, write_audio, write_file
from v2vkit.artifacts.images import encode_png
from v2vkit.conditions.smoothing import HOLD_FRAMES
from v2vkit.inference.sources import open_source, source_kind
from v2vkit.video.audio_feeds import PipedAudio
from v2vkit.video.encode import VideoWriter
from v2vkit.video.footage_source import open_picture_source, open_pipe_source, open_video_source
from v2vkit.video.pipes import PipeWriter, check_standard_input, check_standard_output
from v2vkit.video.sinks import PipeFormat, Sink, open_sink
from v2vkit.video.stream import Source, image_of

UNEVEN = [0, 40, 80, 100, 180, 300, 320, 400, 420, 500, 560, 600]


def _uneven(path: Path, **settings: object) -> Path:
    return write_file(path, moving_frames(12), stamps=UNEVEN, time_base=Fraction(1, 1000), **settings)


def _times(source: Source) -> list[tuple[int | None, int | None]]:
    return [(frame.pts, frame.duration) for frame in source.frames()]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that FFmpeg opens."""
    names: list[str] = []
    inner = av.open

    def note(file: object, *arguments: object, **settings: object) -> object:
        names.append(str(file))
        return inner(file, *arguments, **settings)  # type: ignore[call-overload]

    monkeypatch.setattr(av, "open", note)
    return names


@pytest.mark.parametrize("part", [{}, {"start": 0.1}, {"start": 0.1, "duration": 0.3}, {"duration": 0.2}])
@pytest.mark.parametrize("name", ["in.mkv", "in.mp4"])
def test_a_video_is_opened_once(tmp_path: Path, opened: list[str], name: str, part: dict) -> None:
    path = write_file(tmp_path / name, moving_frames(12), options={"g": "5"})
    opened.clear()
    source = open_video_source(str(path), **part)
    assert len(list(source.frames())) == (source.num_frames or 12)
    assert opened == [f"file:{path}"]
    list(source.frames())
    assert opened == [f"file:{path}"] * 2, "a file may be read a second time"


def test_a_folder_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for t, image in enumerate(moving_frames(3)):
        (tmp_path / f"{t}.png").write_bytes(encode_png(image))
    read: list[str] = []
    inner = Image.open

    def note(path: Path, **settings: Any) -> Image.Image:
        read.append(Path(path).name)
        return inner(path, **settings)

    images = moving_frames(3)
    monkeypatch.setattr(Image, "open", note)
    source = open_picture_source(str(tmp_path), fps=Fraction(10))
    assert (source.width, source.height, source.num_frames) == (64, 48, 3)
    for frame, image in zip(source.frames(), images, strict=True):
        np.testing.assert_array_equal(frame.image, image)
        assert frame.pts is None
    assert read == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize("part", [{}, {"start": 0.1}, {"start": 0.09, "duration": 0.3}, {"duration": 0.2}])
@pytest.mark.parametrize("name", ["in.mkv", "in.ts", "in.avi"])
def test_a_pipe_gives_what_the_file_gives(tmp_path: Path, name: str, part: dict) -> None:
    """Pictures, times and the sound; of an AVI, too, whose packets do not tell when frames are shown."""
    path = (
        write_file(tmp_path / name, moving_frames(12), rate=24, options={"bf": "3", "b-adapt": "0"}, audio="mp3")
        if name == "in.avi"
        else _uneven(tmp_path / name, audio="aac", options={"bf": "2", "g": "5"})
    )
    file = open_video_source(str(path), **part)
    with standard_input(path.read_bytes()):
        pipe = open_pipe_source(**part)
        assert not pipe.repeatable
        assert (pipe.fps, pipe.time_base, pipe.width) == (file.fps, file.time_base, file.width)
        frames = list(pipe.frames())
    for frame, other in zip(frames, file.frames(), strict=True):
        np.testing.assert_array_equal(frame.image, other.image)
        assert (frame.pts, frame.duration) == (other.pts, other.duration)
    for source, target in ((file, tmp_path / "file.mkv"), (pipe, tmp_path / "pipe.mkv")):
        assert source.audio is not None
        sound = {"audio_from": source.audio.origin, "audio_span": source.audio.span}
        with VideoWriter(target, fps=source.fps, time_base=source.time_base, **sound) as writer:
            for frame in frames:
                writer.write(image_of(frame), pts=frame.pts, duration=frame.duration)
        assert writer.problems == []
    packets, expected = read_packets(tmp_path / "pipe.mkv"), read_packets(tmp_path / "file.mkv")
    # The sound of a file's part goes on until its last frame ends, that of a pipe's until the seconds are over.
    assert packets == expected[: len(packets)]
    assert len(packets) >= (len(expected) - 2 if part else len(expected)) > 0


def test_the_last_frame_of_a_part_is_shown_until_the_next_begins(tmp_path: Path) -> None:
    source = open_video_source(str(_uneven(tmp_path / "in.mkv")), start=0.1, duration=0.3)
    assert source.num_frames == 4
    assert _times(source)[-1] == (220, 80)  # at 320 ms; the next one is shown at 400 ms


def test_y4m_is_read_from_a_pipe() -> None:
    images = solid_frames((200, 30, 90), 3, width=16, height=8)
    planes = b"".join(
        plane.tobytes()
        for plane in (
            np.full((8, 16), 90, np.uint8),
            np.full((4, 8), 120, np.uint8),
            np.full((4, 8), 190, np.uint8),
        )
    )
    with standard_input(b"YUV4MPEG2 W16 H8 F30000:1001 Ip A1:1 C420mpeg2\n" + (b"FRAME\n" + planes) * len(images)):
        source = open_pipe_source()
        frames = list(source.frames())
    assert source.fps == Fraction(30000, 1001)
    assert [frame.pts for frame in frames] == [0, 1, 2]


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", "stdin-empty"), (b"hello\n" * 100, "video-damaged"), (None, "video-stream-missing")],
)
def test_a_file_that_is_no_video_is_a_user_error(tmp_path: Path, data: bytes | None, code: str) -> None:
    given = write_audio(tmp_path / "a.mka", "aac").read_bytes() if data is None else data
    with standard_input(given), raises(code):
        open_pipe_source()


def test_a_part_that_a_pipe_does_not_have_is_a_user_error(tmp_path: Path) -> None:
    data = _uneven(tmp_path / "in.mkv").read_bytes()
    with standard_input(data), raises("time-range-empty", "standard input", "--start"):
        open_pipe_source(start=5)


def _write(sink: Sink, images: list[np.ndarray]) -> None:
    with sink:
        for image in images:
            sink.write(image)


@pytest.mark.parametrize("container", ["matroska", "y4m"])
def test_a_closed_output_pipe_is_not_a_user_error(container: PipeFormat) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with pytest.raises(BrokenPipeError):
            _write(open_sink("-", fps=Fraction(25), container=container, pipe=PipeWriter(writer)), moving_frames(9))
    finally:
        os.close(writer)


def test_a_terminal_as_standard_input_or_output_is_refused() -> None:
    controller, terminal = os.openpty()
    ours = os.dup(0), os.dup(1)
    try:
        os.dup2(terminal, 0)
        os.dup2(terminal, 1)
        with raises("pipe-required", "v2v render - "):
            check_standard_input()
        with raises("pipe-required", "v2v render in.mp4 -"):
            check_standard_output()
    finally:
        for descriptor, saved in enumerate(ours):
            os.dup2(saved, descriptor)
            os.close(saved)
        os.close(controller)
        os.close(terminal)


def test_the_memory_for_held_audio_is_limited(tmp_path: Path) -> None:
    """Whether it is taken or not; what is lost while somebody takes it is counted."""
    path = write_audio(tmp_path / "a.mka", "aac", seconds=3)
    with av.open(str(path)) as file:
        sound = PipedAudio("pipe", file.streams.audio, max_bytes=1000)
        packets = [packet for packet in file.demux(audio=0) if packet.dts is not None]
        for packet in packets:
            sound.put(packet)
        assert sound.num_lost == 0
        sound.choose([packets[0].stream_index])
        for packet in packets:
            sound.put(packet)
        held = []
        while (packet := sound.take()) is not None:
            held.append(packet)
        assert 0 < sum(packet.size for packet in held) <= 1000
        assert held == packets[-len(held) :], "the latest"
        assert sound.num_lost > 0


def test_a_pipe_is_a_source_for_models_that_take_videos(tmp_path: Path) -> None:
    info = save_untrained(tmp_path, "face")
    assert source_kind("-", info) == "pipe"
    with raises("folder-required", "--maps"):
        source_kind("-", info, maps=True)
    with standard_input(_uneven(tmp_path / "in.mkv").read_bytes()):
        assert len(list(open_source("-", info, start=0.1).frames())) == 9


@pytest.fixture
def white_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A white square is a face."""
    use_estimator(monkeypatch, "face", "mediapipe", "tests.faces:SquareFace")


def _with_face_from(first: int, count: int) -> list[np.ndarray]:
    frames = solid_frames((90, 40, 20), count)
    for frame in frames[first:]:
        frame[16:32, 6:22] = 255
    return frames


@pytest.mark.usefixtures("white_faces")
def test_a_pipe_is_cropped_like_a_file_once_a_face_is_found(tmp_path: Path) -> None:
    """A file is searched for it; a pipe keeps the middle until then."""
    info = save_untrained(tmp_path, "face", size=(32, 32), frames={"crop": "face", "face": "mediapipe", "cuts": "none"})
    for late in (HOLD_FRAMES - 1, HOLD_FRAMES + 5):
        path = write_file(tmp_path / "in.mkv", _with_face_from(late, 30), options={"qp": "0"})
        file = [frame.frame.image for frame in conditioned(path, info)]
        with standard_input(path.read_bytes()):
            pipe = [frame.frame.image for frame in conditioned(Path("-"), info)]
        np.testing.assert_array_equal(pipe[late:], file[late:])
        assert len(pipe) == len(file) == 30


@pytest.mark.usefixtures("white_faces")
def test_a_pipe_without_any_face_is_a_user_error(tmp_path: Path) -> None:
    info = save_untrained(tmp_path, "face", size=(32, 32), frames={"crop": "face", "face": "mediapipe", "cuts": "none"})
    path = write_file(tmp_path / "in.mkv", _with_face_from(30, 30))
    with standard_input(path.read_bytes()), raises("subject-missing", "standard input"):
        list(conditioned(Path("-"), info))
