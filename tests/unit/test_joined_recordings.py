"""Transport and program streams: they begin anywhere on their clock, and are joined as they are."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from tests.unit.ingesting import clips, ingest
from tests.unit.pipes import standard_input
from tests.unit.rendering import render as render_all
from tests.unit.rendering import save_untrained
from tests.unit.video_files import moving_frames, read_packets, read_raw, write_file
from v2vkit.video.continuity import is_joined
from v2vkit.video.decode import decode
from v2vkit.video.encode import write_video


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("ts") / "plain.ts"
    return write_file(path, moving_frames(25), audio="aac", options={"g": "12"})


@pytest.fixture(scope="module")
def later(tmp_path_factory) -> Path:
    """A recording whose clock begins 5000 s later; its sound is of the same seconds."""
    path = tmp_path_factory.mktemp("ts") / "later.ts"
    stamps = [5000 * 25 + number for number in range(25)]
    return write_file(path, moving_frames(25, step=5), audio="aac", stamps=stamps, sound_from=5000, options={"g": "12"})


def render(*arguments, **settings) -> list[str]:
    """The problems less that there is no face in these frames."""
    return [problem for problem in render_all(*arguments, **settings) if "no face" not in problem]


def joined(target: Path, *parts: Path) -> Path:
    target.write_bytes(b"".join(part.read_bytes() for part in parts))
    return target


def ends(path: Path) -> dict[str, tuple[float, float]]:
    """Begin and end of the picture and the sound of a file."""
    with av.open(str(path)) as container:
        streams = (container.streams.video[0], container.streams.audio[0])
        return {
            of.type: (float(of.start_time * of.time_base), float((of.start_time + of.duration) * of.time_base))
            for of in streams
        }


def test_a_transport_stream_begins_at_zero(tmp_path):
    save_untrained(tmp_path, "face")
    stamps = [50 + number for number in range(25)]
    recording = write_file(tmp_path / "a.ts", moving_frames(25), audio="aac", stamps=stamps, sound_from=2)
    assert not render(recording, tmp_path / "out.mp4", tmp_path)
    with av.open(str(recording)) as container:
        assert container.start_time > 1_000_000  # microseconds
    found = ends(tmp_path / "out.mp4")
    assert min(found["video"][0], found["audio"][0]) == 0
    assert found["video"][0] < 0.1
    assert found["video"][1] - found["video"][0] == pytest.approx(1, abs=0.001)


@pytest.mark.parametrize("forward", [False, True], ids=["begins anew", "jumps ahead"])
@pytest.mark.parametrize("piped", [False, True], ids=["file", "pipe"])
def test_the_parts_of_a_joined_recording_follow_each_other(tmp_path, recording, later, forward, piped):
    parts = (recording, later if forward else recording)
    path = joined(tmp_path / "joined.ts", *parts)
    save_untrained(tmp_path, "face")
    if piped:
        with standard_input(path.read_bytes()):
            assert not render(Path("-"), tmp_path / "out.mp4", tmp_path)
    else:
        assert not render(path, tmp_path / "out.mp4", tmp_path)
    images, times = read_raw(tmp_path / "out.mp4")
    assert len(images) == 50
    assert {round(float(after - before), 3) for before, after in pairwise(times)} == {0.04}
    assert len(read_packets(tmp_path / "out.mp4")) == sum(len(read_packets(part)) for part in parts)
    found = ends(tmp_path / "out.mp4")
    assert found["audio"][1] == pytest.approx(found["video"][1], abs=0.15)


def test_a_program_stream_whose_clock_restarts_keeps_all_frames(tmp_path):
    part = write_file(tmp_path / "a.vob", moving_frames(25), codec="mpeg2video", audio="mp2")
    path = joined(tmp_path / "joined.vob", part, part)
    stamps = [frame.pts * frame.time_base for frame in decode(path)]
    assert len(stamps) == 50
    assert stamps[-1] - stamps[0] == pytest.approx(Fraction(49, 25), abs=0.1)


@pytest.mark.parametrize("start", [5, 25, 30, 49])
def test_frames_behind_a_joint_are_found_by_their_number_and_their_stamp(tmp_path, recording, later, start):
    path = joined(tmp_path / "joined.ts", recording, recording, later)
    every = list(decode(path))
    for stamp in (None, every[start].pts):
        (found,) = decode(path, start, start + 1, start_pts=stamp)
        assert np.array_equal(found.image, every[start].image)
        assert found.pts == every[start].pts


def test_a_joined_recording_is_detected(tmp_path, recording):
    with av.open(str(recording)) as one, av.open(str(joined(tmp_path / "two.ts", recording, recording))) as two:
        assert not is_joined(one)
        assert is_joined(two)


def test_a_joined_recording_is_ingested_whole(tmp_path, recording, later):
    path = joined(tmp_path / "joined.ts", recording, later)
    ingest(tmp_path / "work", path, cuts="none", clip_frames=20)
    assert sum(clip["num_frames"] for clip in clips(tmp_path / "work").values()) == 50


def test_a_part_of_a_joined_recording_has_the_right_frames(tmp_path, recording, later):
    path = joined(tmp_path / "joined.ts", recording, later)
    save_untrained(tmp_path, "face")
    assert not render(path, tmp_path / "out.mp4", tmp_path, start=0.5, duration=1)
    images, times = read_raw(tmp_path / "out.mp4")
    assert len(images) == 25
    assert times[-1] == pytest.approx(0.96, abs=0.05)
    assert len(read_packets(tmp_path / "out.mp4")) == pytest.approx(16, abs=1)


def test_overlapping_sound_at_a_joint_keeps_all_packets(tmp_path, recording):
    path = joined(tmp_path / "joined.ts", recording, recording)
    images = moving_frames(50)
    assert not write_video(tmp_path / "out.mkv", images, fps=Fraction(25), audio_from=path)
    assert len(read_packets(tmp_path / "out.mkv")) == 2 * len(read_packets(recording))
