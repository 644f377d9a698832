"""Progress where nobody looks at a terminal: lines in a log; and the bar where somebody does."""

import contextlib
import io
import threading

import pytest

from v2vkit.progress import duration, progress, tracked


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Closed(io.StringIO):
    refused = 0

    def write(self, text: str) -> int:
        self.refused += 1
        raise BrokenPipeError


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_a_log_gets_a_line_a_minute_with_share_rate_and_time_left() -> None:
    stream, clock = io.StringIO(), Clock()
    with progress(1000, desc="poses", stream=stream, clock=clock) as shown:
        for _ in range(10):  # 10 frames in 20 seconds
            clock.now += 20
            shown.update(10)
        assert lines(stream) == [
            "poses: 3 % (30 of 1000 frames), 2 seconds per frame, 32 min left",
            "poses: 6 % (60 of 1000 frames), 2 seconds per frame, 31 min left",
            "poses: 9 % (90 of 1000 frames), 2 seconds per frame, 30 min left",
        ]
        clock.now += 25
        shown.update(900)
    assert lines(stream)[3:] == ["poses: 100 % (1000 of 1000 frames), 4.44 frames per second, took 4 min"]


def test_work_of_less_than_a_minute_prints_nothing_in_a_log() -> None:
    stream, clock = io.StringIO(), Clock()
    with progress(10, desc="poses", stream=stream, clock=clock) as shown:
        clock.now += 59
        shown.update(10)
    assert stream.getvalue() == ""


def test_units_of_an_earlier_run_count_for_the_share_but_not_for_the_rate() -> None:
    stream, clock = io.StringIO(), Clock()
    with progress(1000, desc="train", done=500, stream=stream, clock=clock) as shown:
        clock.now += 100
        shown.note("loss 0.5")
        shown.update(100)
        assert lines(stream) == ["train: 60 % (600 of 1000 frames), 1 frames per second, 7 min left, loss 0.5"]


def test_without_a_total_there_is_a_rate_only() -> None:
    stream, clock = io.StringIO(), Clock()
    with progress(None, desc="reading", unit="file", stream=stream, clock=clock) as shown:
        clock.now += 60
        shown.update(120)
        assert lines(stream) == ["reading: 120 files, 2 files per second"]


def test_a_line_comes_also_while_nothing_is_finished() -> None:
    written, clock = threading.Event(), Clock()

    class Log(io.StringIO):
        def write(self, text: str) -> int:
            written.set()
            return super().write(text)

    stream = Log()
    with progress(10, desc="flow", stream=stream, clock=clock, every=0.1):
        clock.now += 1
        assert written.wait(600)
    assert lines(stream)[0] == "flow: 0 % (0 of 10 frames)"


def test_nothing_is_printed_after_the_work_has_failed_and_no_thread_is_left() -> None:
    stream, clock, threads = io.StringIO(), Clock(), threading.active_count()
    with contextlib.suppress(KeyError), progress(10, desc="flow", stream=stream, clock=clock):
        clock.now += 600
        raise KeyError
    assert stream.getvalue() == ""
    assert threading.active_count() == threads


def test_lines_of_the_work_are_printed_at_once() -> None:
    for stream in (io.StringIO(), Terminal()):
        with progress(10, desc="flow", stream=stream, clock=Clock()) as shown:
            shown.write("left out: a.mp4")
            assert "left out: a.mp4" in stream.getvalue()


def test_a_terminal_gets_a_bar() -> None:
    stream = Terminal()
    with progress(10, desc="flow", done=5, stream=stream) as shown:
        shown.note("loss 0.5")
        shown.update(5)
    assert "flow: 100%" in stream.getvalue()
    assert "10/10" in stream.getvalue()
    assert "loss 0.5" in stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_quiet_work_shows_nothing(stream: io.StringIO) -> None:
    clock = Clock()
    with progress(10, desc="flow", quiet=True, stream=stream, clock=clock) as shown:
        clock.now += 600
        shown.update(10)
        shown.note("loss")
        shown.write("text")
    assert stream.getvalue() == ""


def test_a_log_that_is_gone_does_not_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, clock = Closed(), Clock()
    with progress(10, desc="flow", stream=stream, clock=clock) as shown:
        clock.now += 600
        shown.update()
        assert stream.refused == 1
        shown.write("text")
        assert stream.refused == 2
    monkeypatch.setattr("sys.stderr", None)
    assert list(tracked(range(3), total=3, desc="flow")) == [0, 1, 2]


def test_tracked_items_are_counted() -> None:
    stream, clock = io.StringIO(), Clock()
    for _ in tracked(range(3), total=3, desc="clips", unit="clip", stream=stream, clock=clock):
        clock.now += 60
    assert lines(stream)[0] == "clips: 33 % (1 of 3 clips), 60 seconds per clip, 2 min left"
    assert lines(stream)[-1] == "clips: 100 % (3 of 3 clips), 60 seconds per clip, took 3 min"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (99, "99 s"), (100, "2 min"), (5900, "98 min"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
