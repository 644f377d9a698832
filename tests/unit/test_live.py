"""`v2v live`: the newest frame is rendered, late ones are dropped and counted, and nothing looks ahead."""

import re
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.errors import raises
from tests.faces import photo
from tests.unit.pipes import Ahead, decoded, started, stream_frames
from tests.unit.rendering import save_untrained
from tests.unit.video_files import read_raw
from v2vkit.artifacts.images import encode_png
from v2vkit.conditions.landmarks import FACE
from v2vkit.conditions.smoothing import hold_last, smooth_causal, smooth_estimates
from v2vkit.inference.newest import LiveCounts, newest, paced
from v2vkit.inference.provenance import synthetic_comment
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.live import COMMAND, LiveConfig
from v2vkit.video import live_sinks
from v2vkit.video.camera import open_camera_source
from v2vkit.video.stream import InputFrame


def _numbered(count: int) -> Iterator[InputFrame]:
    return (InputFrame(pts=number) for number in range(count))


def test_a_slow_consumer_gets_the_newest_frames_and_all_are_counted() -> None:
    counts, taken, all_read = LiveCounts(), list[int | None](), threading.Event()

    def frames() -> Iterator[InputFrame]:
        yield from _numbered(20)
        all_read.set()

    for arrived in newest(frames(), counts):
        all_read.wait(10)  # while this frame is rendered, all others arrive
        taken.append(arrived.frame.pts)
        counts.shown += 1
    assert taken[-1] == 19
    assert len(taken) <= 2
    assert (counts.read, counts.dropped + counts.shown) == (20, 20)


def test_a_fast_consumer_gets_every_frame() -> None:
    counts, asked = LiveCounts(), threading.Semaphore(0)

    def frames() -> Iterator[InputFrame]:
        for frame in _numbered(10):
            yield frame
            asked.acquire(timeout=10)

    taken = []
    for arrived in newest(frames(), counts):
        taken.append(arrived.frame.pts)
        asked.release()
    assert taken == list(range(10))
    assert counts.dropped == 0


def test_an_error_of_the_stream_comes_after_its_last_frame() -> None:
    def frames() -> Iterator[InputFrame]:
        yield InputFrame(pts=0)
        raise OSError("unplugged")

    arrived = newest(frames(), LiveCounts())
    assert next(arrived).frame.pts == 0
    with pytest.raises(OSError, match="unplugged"):
        next(arrived)


def test_leaving_early_counts_what_was_waiting_as_dropped() -> None:
    counts, read = LiveCounts(), threading.Event()

    def frames() -> Iterator[InputFrame]:
        yield from _numbered(3)
        read.set()
        threading.Event().wait(0.2)
        yield from _numbered(100)

    arrived = newest(frames(), counts)
    next(arrived)
    counts.shown += 1
    read.wait(10)
    arrived.close()
    assert counts.read == counts.dropped + counts.shown == 3


def test_files_play_at_their_own_rate() -> None:
    now, slept = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    stamped = (InputFrame(pts=stamp) for stamp in (100, 140, 240))
    played = paced(stamped, fps=Fraction(25), time_base=Fraction(1, 1000), clock=lambda: now[0], sleep=sleep)
    times = [now[0] for _ in played]
    assert times == pytest.approx([0, 0.04, 0.14])
    unstamped = paced([InputFrame()] * 3, fps=Fraction(10), time_base=None, clock=lambda: now[0], sleep=sleep)
    begin = now[0]
    assert [now[0] - begin for _ in unstamped] == pytest.approx([0, 0.1, 0.2])


def test_causal_smoothing_reads_no_frame_ahead_and_forgets_nothing() -> None:
    read = []

    def estimate(number: int) -> np.ndarray | None:
        read.append(number)
        return None if number in (0, 3) else np.full((68, 2), number, np.float32)

    followed = smooth_estimates(range(6), estimate, FACE, window=5, causal=True)
    for number, (frame, points, found) in enumerate(followed):
        assert frame == number == read[-1]
        assert found == (number not in (0, 3))
        assert (points is None) == (number == 0)
    assert list(hold_last([None, 1, None, 2, None])) == [None, 1, 1, 2, 2]


def test_causal_smoothing_averages_the_past() -> None:
    still = [np.full((68, 2), 7, np.float32)] * 5
    assert all(np.allclose(points, 7) for points in smooth_causal(still, FACE, 5) if points is not None)
    jump = [np.zeros((68, 2), np.float32)] * 3 + [np.ones((68, 2), np.float32)] * 4
    values = [float(points[0, 0]) for points in smooth_causal(jump, FACE, 5) if points is not None]
    assert values[:3] == [0, 0, 0]
    assert 0 < values[3] < values[4] < values[5] == pytest.approx(1)


class _FakeCamera:
    """Gives some pictures, as `cv2.VideoCapture` does."""

    def __init__(self, pictures: list[np.ndarray], fps: float = 30.0):
        self.pictures, self.fps, self.released = pictures, fps, False

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def read(self) -> tuple[bool, np.ndarray | None]:
        return (True, self.pictures.pop(0)) if self.pictures else (False, None)

    def get(self, propId: int) -> float:  # noqa: N803
        return self.fps

    def release(self) -> None:
        self.released = True


def test_a_camera_is_a_source_whose_frames_are_stamped_when_they_arrive() -> None:
    blue = np.zeros((4, 6, 3), np.uint8)
    blue[..., 0] = 255
    camera, times = _FakeCamera([blue] * 3, fps=0.0), iter([10.0, 10.0, 10.04, 10.04])
    source = open_camera_source(0, clock=lambda: next(times), open_capture=lambda device: camera)
    assert (source.width, source.height, source.fps, source.repeatable) == (6, 4, 25, False)
    frames = list(source.frames())
    assert [frame.pts for frame in frames] == [0, 40, 41], "time stamps increase"
    assert frames[0].image is not None
    assert frames[0].image[0, 0].tolist() == [0, 0, 255]
    assert camera.released


def test_missing_cameras_and_unknown_urls_are_refused() -> None:
    with raises("camera-missing", "camera 7"):
        open_camera_source(7, open_capture=lambda device: _FakeCamera([]))
    with raises("stream-unreadable", "rtsp://nowhere"):
        open_camera_source("rtsp://nowhere", open_capture=lambda device: _FakeCamera([]))
    with raises("url-unsupported", "s3://bucket"):
        open_camera_source("s3://bucket/in.mp4")


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"to": "out.mp4"}, "source-required"),
        ({"source": "in.mp4", "camera": 0, "to": "out.mp4"}, "setting-conflict"),
        ({"camera": 0, "maps": True, "to": "out.mp4"}, "setting-unused"),
        ({"source": "in.mp4", "to": "camera", "container": "y4m"}, "setting-conflict"),
        ({"source": "in.mp4", "to": "out.xyz"}, "format-unsupported"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object], code: str) -> None:
    with raises(code):
        COMMAND.check(LiveConfig.model_validate(settings))


def test_a_window_needs_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_sinks.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with raises("display-missing", "--to"):
        COMMAND.check(LiveConfig(camera=0))


def test_a_window_shows_frames_until_q_is_pressed(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, keys = list[list[int]](), iter([-1, ord("q")])
    for name in ("namedWindow", "resizeWindow", "destroyWindow"):
        monkeypatch.setattr(live_sinks.cv2, name, lambda *given: None)
    monkeypatch.setattr(live_sinks.cv2, "imshow", lambda title, image: shown.append(image[0, 0].tolist()))
    monkeypatch.setattr(live_sinks.cv2, "waitKey", lambda wait: next(keys))
    monkeypatch.setattr(live_sinks.cv2, "getWindowProperty", lambda title, what: 1.0)
    red = np.zeros((4, 6, 3), np.uint8)
    red[..., 0] = 255
    with live_sinks.WindowSink() as sink:
        sink.write(red)
        assert not sink.closed
        sink.write(red)
        assert sink.closed
    assert shown == [[0, 0, 255]] * 2, "OpenCV takes blue first"


def test_virtual_camera_gets_every_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    pyvirtualcam = pytest.importorskip("pyvirtualcam")
    sent = []

    class Camera:
        device = "/dev/video9"

        def __init__(self, *, width: int, height: int, fps: float):
            sent.append((width, height, fps))

        def send(self, image: np.ndarray) -> None:
            sent.append(image.shape)

        def close(self) -> None:
            sent.append("closed")

    monkeypatch.setattr(pyvirtualcam, "Camera", Camera)
    with live_sinks.CameraSink(Fraction(25)) as sink:
        sink.write(np.zeros((4, 6, 3), np.uint8))
    assert sent == [(6, 4, 25.0), (4, 6, 3), "closed"]
    assert "/dev/video9" in sink.notes[0]

    def none(**settings: object) -> None:
        raise RuntimeError("no devices")

    monkeypatch.setattr(pyvirtualcam, "Camera", none)
    with raises("camera-missing", "no devices"), live_sinks.CameraSink(Fraction(25)) as sink:
        sink.write(np.zeros((4, 6, 3), np.uint8))


def test_label_maps_are_played_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No estimator is needed, and time stamps show where frames were dropped."""
    save_untrained(tmp_path, "street", maps={"num_labels": 3, "edges": False})
    for number in range(5):
        (tmp_path / "maps").mkdir(exist_ok=True)
        (tmp_path / f"maps/{number:06}.png").write_bytes(encode_png(np.full((48, 64), number % 3, np.uint8)))
    config = LiveConfig(source=str(tmp_path / "maps"), to=str(tmp_path / "out.mp4"), device="cpu", threads=1)
    COMMAND.call(config, RunOptions(work=str(tmp_path)))
    images, times = read_raw(tmp_path / "out.mp4")
    shown, dropped, read = _counts(capsys.readouterr().out)
    assert read == 5 == dropped + shown
    assert len(images) == shown
    assert set(times) <= {Fraction(number, 25) for number in range(5)}


def _counts(text: str) -> tuple[int, int, int]:
    """Shown, dropped and read frames from the last lines that the command prints."""
    dropped, read = re.findall(r"dropped (\d+) of (\d+)", text)[-1]
    return int(re.findall(r"(\d+) frames? in ", text)[-1]), int(dropped), int(read)


def test_25_frames_a_second_through_a_pipe_to_a_slow_consumer(tmp_path: Path) -> None:
    """Every frame is shown or dropped, and those that are shown keep their times."""
    pytest.importorskip("mediapipe")
    save_untrained(tmp_path, "face")
    with started("-", "--to", "-", "--work", str(tmp_path), command="live") as process:
        out, err = bytearray(), bytearray()
        assert process.stdout is not None
        assert process.stderr is not None

        def consume() -> None:
            while data := process.stdout.read1(2048):  # type: ignore[union-attr]
                out.extend(data)
                time.sleep(0.1)

        readers = [
            threading.Thread(target=consume),
            threading.Thread(target=lambda: err.extend(process.stderr.read())),  # type: ignore[union-attr]
        ]
        for reader in readers:
            reader.start()
        for _ in stream_frames(Ahead(process), (photo(200, 240, dx=t % 20) for t in range(60))):
            time.sleep(0.04)
        assert process.stdin is not None
        process.stdin.close()
        for reader in readers:
            reader.join(100)
        assert process.wait(100) == 0, err.decode()
    shown, dropped, read = _counts(err.decode())
    images, times = decoded(bytes(out), tmp_path / "out.mkv")
    assert read == 60 == dropped + shown
    assert len(images) == shown > 0
    assert dropped > 0, "the consumer is slower than the stream"
    assert times == sorted(set(times))
    assert {round(moment * 25) for moment in times} <= set(range(60))


def test_ctrl_c_leaves_a_complete_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_untrained(tmp_path, "street", maps={"num_labels": 3, "edges": False})
    from v2vkit.inference import newest as module

    render_live = module.render_live

    def interrupted(*arguments: object, **settings: object) -> Iterator[LiveCounts]:
        for counts in render_live(*arguments, **settings):  # type: ignore[arg-type]
            yield counts
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "render_live", interrupted)
    (tmp_path / "maps").mkdir()
    for number in range(5):
        (tmp_path / f"maps/{number:06}.png").write_bytes(encode_png(np.full((48, 64), number % 3, np.uint8)))
    config = LiveConfig(source=str(tmp_path / "maps"), to=str(tmp_path / "out.mp4"), device="cpu", threads=1)
    COMMAND.call(config, RunOptions(work=str(tmp_path)))
    assert len(read_raw(tmp_path / "out.mp4")[0]) == 1


def _moving_labels(folder: Path) -> str:
    folder.mkdir()
    for number in range(4):
        (folder / f"{number:06}.png").write_bytes(encode_png(np.full((48, 64), number % 3, np.uint8)))
    return str(folder)


def test_a_live_video_says_that_it_is_synthetic(tmp_path: Path) -> None:
    info = save_untrained(tmp_path, "street", maps={"num_labels": 3, "edges": False})
    source = _moving_labels(tmp_path / "maps")
    for name, provenance in (("marked", True), ("plain", False)):
        target = tmp_path / f"{name}.mp4"
        config = LiveConfig(source=source, to=str(target), device="cpu", threads=1, provenance=provenance)
        COMMAND.call(config, RunOptions(work=str(tmp_path)))
        with av.open(str(target)) as container:
            assert container.metadata.get("comment") == (synthetic_comment(info) if provenance else None)


def test_live_refuses_to_write_over_its_source_and_settings_without_effect(tmp_path: Path) -> None:
    save_untrained(tmp_path, "street", maps={"num_labels": 3, "edges": False})
    source = _moving_labels(tmp_path / "maps")
    (tmp_path / "in.mp4").write_bytes(b"precious")
    with raises("target-is-source", "in.mp4"):
        COMMAND.check(LiveConfig(source=str(tmp_path / "in.mp4"), to=str(tmp_path / "in.mp4")))
    config = LiveConfig(source=source, to=str(tmp_path / "out.mp4"), device="cpu", threads=1, align=True)
    with raises("setting-unused", "--align"):
        COMMAND.call(config, RunOptions(work=str(tmp_path)))
    assert not (tmp_path / "out.mp4").exists()


def test_a_model_that_wants_real_first_frames_says_that_it_has_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_untrained(tmp_path, "street", maps={"num_labels": 3, "edges": False}, first_frame="real")
    config = LiveConfig(source=_moving_labels(tmp_path / "maps"), to=str(tmp_path / "out.mp4"), device="cpu", threads=1)
    COMMAND.call(config, RunOptions(work=str(tmp_path)))
    assert "--first-frame real" in capsys.readouterr().out
