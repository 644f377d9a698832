"""`v2v render` from standard input and to standard output, in processes of its own with real pipes at both ends."""

import io
import signal
import threading
import time
from fractions import Fraction
from itertools import count
from pathlib import Path

import av
import numpy as np
import pytest

from tests.errors import raises
from tests.faces import photo
from tests.unit.pipes import Ahead, Behind, decoded, finished, standard_input, started, stream_frames
from tests.unit.rendering import render, save_untrained
from tests.unit.video_files import read_packets, read_raw, write_file
from v2vkit.cli.main import EXIT_PIPE, EXIT_PROBLEMS, EXIT_STOPPED
from v2vkit.stages.render import COMMAND, RenderConfig

pytest.importorskip("mediapipe")

UNEVEN = [0, 40, 80, 100, 180, 300, 320, 400, 420, 500, 560, 600]


def _faces(number: int = 12) -> list[np.ndarray]:
    return [photo(200, 240, dx=2 * t) for t in range(number)]


def _uneven(path: Path) -> Path:
    return write_file(path, _faces(), stamps=UNEVEN, time_base=Fraction(1, 1000), audio="aac")


def test_a_video_goes_through_from_pipe_to_pipe(tmp_path: Path) -> None:
    """With its times and its sound; nothing but the video comes out."""
    save_untrained(tmp_path, "face")
    source = _uneven(tmp_path / "in.mkv")
    done = finished("-", "-", "--work", str(tmp_path), data=source.read_bytes())
    assert done.returncode == 0, done.stderr
    images, times = decoded(done.stdout, tmp_path / "out.mkv")
    assert [image.shape for image in images] == [(48, 64, 3)] * 12
    assert times == [Fraction(stamp, 1000) for stamp in UNEVEN]
    assert read_packets(tmp_path / "out.mkv") == read_packets(source)
    assert b"standard output: 12 frames" in done.stderr
    assert done.stdout[:4] == b"\x1a\x45\xdf\xa3", "Matroska, from its first byte on"


def test_a_pipe_is_rendered_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_untrained(tmp_path, "face")
    source = _uneven(tmp_path / "in.mkv")
    with standard_input(source.read_bytes()):
        assert render(Path("-"), tmp_path / "out.mp4", tmp_path, start=0.1, duration=0.3) == []
    assert read_raw(tmp_path / "out.mp4")[1] == [Fraction(stamp, 1000) for stamp in (0, 80, 200, 220)]
    assert "4 frames" in capsys.readouterr().out


def test_frames_come_out_before_the_input_ends(tmp_path: Path) -> None:
    """The input goes on until 20 frames have come out; then it ends, and all the others come."""
    save_untrained(tmp_path, "face")
    enough = threading.Event()
    sent: list[int] = []
    with started("-", "-", "--work", str(tmp_path)) as process:

        def feed() -> None:
            frames = (photo(200, 240, dx=2 * (t % 40)) for t in count())
            pipe = Ahead(process)
            for t in stream_frames(pipe, _until(enough, frames)):
                sent.append(t)
            assert process.stdin is not None
            process.stdin.close()

        feeder = threading.Thread(target=feed)
        feeder.start()
        received = 0
        with av.open(Behind(process), options={"analyzeduration": "0", "fpsprobesize": "0"}) as container:
            for packet in container.demux(video=0):
                received += packet.size > 0
                if received == 20:
                    enough.set()
        feeder.join()
        assert process.wait() == 0
    assert received == len(sent) > 20


def _until(stop: threading.Event, frames):
    """The frames until somebody has had enough, a few every tenth of a second."""
    for frame in frames:
        yield frame
        if stop.wait(0.02):
            return


@pytest.mark.slow
def test_raw_video_comes_out_and_goes_in(tmp_path: Path) -> None:
    """It tells that it loses times and sound."""
    save_untrained(tmp_path, "face")
    first = finished(str(_uneven(tmp_path / "in.mkv")), "-", "--container", "y4m", "--work", str(tmp_path))
    assert first.returncode == EXIT_PROBLEMS
    assert first.stdout.startswith(b"YUV4MPEG2 W64 H48 F25:1 ")
    assert first.stdout.count(b"FRAME\n") == 12
    assert b"y4m has no time stamps" in first.stderr
    assert b"The sound is left out: y4m has none" in first.stderr
    images, _ = decoded(first.stdout, tmp_path / "out.y4m")
    assert np.stack(images).std() > 5
    with standard_input(first.stdout):
        assert render(Path("-"), tmp_path / "out.mp4", tmp_path), "nobody's face is in noise"
    assert read_raw(tmp_path / "out.mp4")[1] == [Fraction(t, 25) for t in range(12)]


@pytest.mark.slow
def test_a_closed_output_pipe_ends_the_command_without_a_traceback(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face")
    source = write_file(tmp_path / "in.mp4", _faces(60))
    with started(str(source), "-", "--work", str(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(100)
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait() == EXIT_PIPE
    assert b"Traceback" not in said
    assert b"error" not in said.lower()


def _waits(process: int) -> bool:
    """Whether all threads of a process sleep."""
    states = [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{process}/task").glob("*/stat")]
    return set(states) == {"S"}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's states of threads")
def test_ctrl_c_twice_ends_a_rendering_whose_source_has_stalled(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face")
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")
    stream = io.BytesIO()
    assert len(list(stream_frames(stream, _faces(60)))) == 60
    with started("-", str(target), "--work", str(tmp_path)) as process:
        assert process.stdin is not None
        process.stdin.write(stream.getvalue()[:-1000])  # and nothing more, but the pipe stays open
        process.stdin.flush()
        idle = 0  # looks in a row at which it has begun to write, and every thread waited
        while idle < 10:
            assert process.poll() is None
            idle = idle + 1 if list(tmp_path.glob(".out.*")) and _waits(process.pid) else 0
            time.sleep(0.05)
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        while b"Ctrl-C again" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait() == EXIT_STOPPED
    assert target.read_bytes() == b"old"
    assert not list(tmp_path.glob(".out.*"))


@pytest.mark.parametrize(
    ("data", "code"), [(b"", "stdin-empty"), (b"text\n" * 99, "video-damaged"), (None, "video-damaged")]
)
def test_a_damaged_or_incomplete_video_is_reported(tmp_path: Path, data: bytes | None, code: str) -> None:
    """And leaves no file. A cut file's header tells how long it should be."""
    save_untrained(tmp_path, "face")
    if data is None:
        whole = write_file(tmp_path / "in.mkv", _faces(40), options={"g": "10"}).read_bytes()
        data = whole[: len(whole) * 2 // 3]
    with standard_input(data), raises(code):
        render(Path("-"), tmp_path / "out.mp4", tmp_path)
    assert not list(tmp_path.glob("*out*"))


def test_fps_of_a_pipe_is_for_raw_streams_only(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face")
    raw = write_file(tmp_path / "in.264", _faces(6), rate=30)
    with standard_input(raw.read_bytes()):
        render(Path("-"), tmp_path / "out.mp4", tmp_path, fps="10")
    assert read_raw(tmp_path / "out.mp4")[1] == [Fraction(i, 10) for i in range(6)]
    timed = write_file(tmp_path / "in.mkv", _faces(6))
    with standard_input(timed.read_bytes()), raises("setting-unused", "--fps"):
        render(Path("-"), tmp_path / "other.mp4", tmp_path, fps="10")


def test_settings_that_cannot_use_a_pipe_are_refused(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face")
    with raises("folder-required", "--maps"):
        render(Path("-"), tmp_path / "out.mp4", tmp_path, maps=True)
    with raises("setting-unused", "--instances"):
        render(Path("-"), tmp_path / "out.mp4", tmp_path, instances="-")
    with raises("file-missing", "- "):
        render(tmp_path / "in.mp4", tmp_path / "out.mp4", tmp_path, first_frames="-")
    with raises("model-missing", "-"):
        render(tmp_path / "in.mp4", tmp_path / "out.mp4", tmp_path, checkpoint="-")
    assert COMMAND.check is not None
    with raises("setting-conflict", "--container"):
        COMMAND.check(RenderConfig(source="a.mp4", target=str(tmp_path / "out.mp4"), container="y4m"))
    with raises("setting-unused", "--crf", "--codec", "y4m"):
        render(Path("-"), "-", tmp_path, container="y4m", crf=3)
