"""One packet that cannot be decoded costs one frame, which is named; frames that come out damaged are named, too."""

import random
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner

from tests.errors import raises
from tests.unit.ingesting import clips, manifest
from tests.unit.rendering import render, save_untrained
from tests.unit.video_files import moving_frames, read_raw, write_file
from v2vkit.cli.main import EXIT_PROBLEMS, cli
from v2vkit.video.damage import Damage, spans
from v2vkit.video.decode import decode
from v2vkit.video.footage_source import open_video_source

NUM_FRAMES = 24
LOST = "1 frame of the video cannot be decoded and is left out: frame 10 (0.40 s)"


def zeroed(data: bytes) -> bytes:
    return bytes(len(data))


def noisy(data: bytes) -> bytes:
    """The middle third of a packet replaced."""
    noise = random.Random(1)
    third = len(data) // 3
    return data[:third] + bytes(noise.randrange(256) for _ in range(third)) + data[2 * third :]


def damaged(path: Path, change: Callable[[bytes], bytes], *, packets: tuple[int, ...] = (10,)) -> Path:
    """A video without B frames, some of whose packets are changed."""
    intact = write_file(
        path.with_stem("intact"), moving_frames(NUM_FRAMES), options={"bf": "0", "g": "100", "crf": "20"}
    )
    with av.open(str(intact)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is None:
                continue
            data = change(bytes(packet)) if number in packets else bytes(packet)
            copy = av.Packet(data)
            copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            copy.duration, copy.is_keyframe, copy.stream = packet.duration, packet.is_keyframe, stream
            target.mux(copy)
    return path


@pytest.mark.parametrize("threads", [True, False])
@pytest.mark.parametrize("name", ["in.mp4", "in.mkv"])
def test_the_rest_is_kept_with_its_times_and_the_lost_frame_is_named(tmp_path: Path, name: str, threads: bool) -> None:
    path, damage = damaged(tmp_path / name, zeroed), Damage()
    frames = list(decode(path, threads=threads, damage=damage))
    seconds = [round(float(frame.pts * frame.time_base), 3) for frame in frames]
    assert seconds == [i / 25 for i in range(NUM_FRAMES) if i != 10]
    assert damage.problems() == [LOST]


def test_a_part_behind_the_gap_is_as_in_the_whole(tmp_path: Path) -> None:
    path = damaged(tmp_path / "in.mp4", zeroed)
    whole = list(decode(path))
    part = list(decode(path, 15, 20, start_pts=whole[15].pts))
    assert [frame.pts for frame in part] == [frame.pts for frame in whole[15:20]]
    np.testing.assert_array_equal(np.stack([f.image for f in part]), np.stack([f.image for f in whole[15:20]]))


def test_frames_that_come_out_damaged_are_kept_and_named(tmp_path: Path) -> None:
    path, damage = damaged(tmp_path / "in.mp4", noisy, packets=(10, 11)), Damage()
    assert len(list(decode(path, damage=damage))) == NUM_FRAMES
    assert damage.problems() == ["2 frames are visibly damaged: 10-11"]


def test_a_video_of_which_little_is_left_is_refused(tmp_path: Path) -> None:
    path = damaged(tmp_path / "in.mp4", zeroed, packets=tuple(range(8, NUM_FRAMES)))
    with raises("video-damaged", "in.mp4"):
        list(decode(path))


def test_an_intact_video_has_no_problems(tmp_path: Path) -> None:
    damage = Damage()
    assert len(list(decode(write_file(tmp_path / "in.mp4", moving_frames(30)), damage=damage))) == 30
    assert damage.problems() == []


def test_the_commands_name_the_frame_and_end_with_problems(tmp_path: Path) -> None:
    path = damaged(tmp_path / "in.mp4", zeroed)
    for command in (["ingest", path, "--work", tmp_path / "work", "--cuts", "none"], ["check", path]):
        result = CliRunner().invoke(cli, list(map(str, command)))
        assert result.exit_code == EXIT_PROBLEMS
        assert LOST in result.output
    assert [clip["num_frames"] for clip in clips(tmp_path / "work").values()] == [NUM_FRAMES - 1]
    assert manifest(tmp_path / "work")["skipped"] == {str(path): LOST}


def test_render_keeps_the_times_and_names_the_frame(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    path = damaged(tmp_path / "in.mp4", zeroed)
    save_untrained(tmp_path, "face")
    assert f"{path}: {LOST}" in render(path, tmp_path / "out.mp4", tmp_path, cuts="none")
    assert read_raw(tmp_path / "out.mp4")[1] == read_raw_times(path)


def read_raw_times(path: Path) -> list:
    return [frame.pts * frame.time_base for frame in decode(path)]


def test_the_lost_frame_of_a_part_is_named_by_its_second(tmp_path: Path) -> None:
    source = open_video_source(str(damaged(tmp_path / "in.mp4", zeroed)), start=0.2)
    assert len(list(source.frames())) == NUM_FRAMES - 5 - 1
    assert source.problems() == ["1 frame of the video cannot be decoded and is left out: at 0.40 s"]


def test_neighbours_are_named_together() -> None:
    assert spans([3, 4, 5, 9]) == "3-5, 9"
    assert spans([0, 2, 4, 6, 8, 10]) == "0, 2, 4, 6, 8, ..."
