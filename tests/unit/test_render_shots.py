"""Rendering a video of several shots: each begins anew, where `ingest` would cut it."""

import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conditions import use_estimator
from tests.errors import raises
from tests.faces import SquareFace
from tests.unit.rendering import conditioned, render, save_untrained
from tests.unit.video_files import read_raw, write_file
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import encode_png
from v2vkit.checkpoint.model_file import ModelInfo, load_model
from v2vkit.inference.conditioned import ConditionedFrame
from v2vkit.inference.session import Session
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions, load_input
from v2vkit.stages.ingest import STAGE as INGEST
from v2vkit.stages.ingest import IngestConfig

LOSSLESS = {"qp": "0"}
RED, GREEN = (180, 30, 20), (20, 160, 60)


def _shot(colour: tuple[int, int, int], count: int, *, left: int, unseen: tuple[int, ...] = ()) -> list[NDArray]:
    """A "face" (a white square) that moves to the right before a colour; it is not there in the frames `unseen`."""
    frames = [np.full((48, 64, 3), colour, np.uint8) for _ in range(count)]
    for t, frame in enumerate(frames):
        if t not in unseen:
            frame[16:32, left + 2 * t : left + 2 * t + 16] = 255
    return frames


@pytest.fixture(autouse=True)
def white_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    use_estimator(monkeypatch, "face", "mediapipe", "tests.faces:SquareFace")


FIRST = _shot(RED, 12, left=0, unseen=(10, 11))
SECOND = _shot(GREEN, 9, left=20, unseen=(0, 1))


def _model(work: Path, **changes: object) -> ModelInfo:
    return save_untrained(work, "face", maps={"smooth": 3, "missing": "hold", "canny": False}, **changes)


def _begin(frames: list[ConditionedFrame]) -> list[int]:
    """Numbers of the frames with which a shot begins."""
    shots = [frame.frame.shot for frame in frames]
    return [t for t, shot in enumerate(shots) if shot not in shots[:t]]


@pytest.mark.parametrize("cuts", ["adaptive", "content", "none"])
@pytest.mark.parametrize("part", [{}, {"start": 0.2}, {"start": 0.12, "duration": 0.64}])
def test_shots_begin_where_ingest_cuts(tmp_path: Path, cuts: str, part: dict) -> None:
    """In a picture larger than the detectors compare, and one that is cropped."""
    frames = [np.kron(frame, np.ones((12, 12, 1), np.uint8)) for frame in FIRST + SECOND]
    source = write_file(tmp_path / "in.mp4", frames, rate=25)
    ingest = IngestConfig(sources=(str(source),), size="64x64", crop="center", cuts=cuts, min_frames=1, **part)
    run(INGEST, ingest, RunOptions(work=str(tmp_path), workers=1))
    manifest = load_input(Folder(str(tmp_path)), "frames")
    starts = [clip.source["start"] for clip in manifest.clips]
    assert len(starts) == (1 if cuts == "none" else 2)
    frames = list(conditioned(source, _model(tmp_path, size=(64, 64), frames=manifest.config), **part))
    assert _begin(frames) == [start - starts[0] for start in starts]
    assert len(frames) == manifest.num_frames


def test_how_cuts_are_found_may_be_chosen(tmp_path: Path) -> None:
    source = write_file(tmp_path / "in.mp4", FIRST + SECOND, rate=25)
    info = _model(tmp_path, frames={"cuts": "none"})
    for cuts, starts in ((None, [0]), ("content", [0, 12])):
        assert _begin(list(conditioned(source, info, cuts=cuts))) == starts
    save_untrained(tmp_path, "street")
    for maps in (True, False):
        with raises("setting-unused", "--cuts"):
            render(tmp_path, tmp_path / "out.mp4", tmp_path, cuts="none", maps=maps)


def test_a_shot_is_rendered_as_if_it_were_alone(tmp_path: Path) -> None:
    """Nothing of the shot before it is seen in it, and nothing is followed across the cut."""
    info = _model(tmp_path)
    generator, _ = load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))

    def rendered(name: str, frames: list[NDArray]) -> tuple[list[ConditionedFrame], list[NDArray]]:
        source = write_file(tmp_path / name, frames, options=LOSSLESS)
        pairs = list(Session(generator).render(conditioned(source, info)))
        assert [frame.found for frame, _ in pairs] == [SquareFace()(frame) is not None for frame in frames]
        return [frame for frame, _ in pairs], [image for _, image in pairs]

    frames, images = rendered("both.mp4", FIRST + SECOND)
    parts = [rendered("first.mp4", FIRST), rendered("second.mp4", SECOND)]
    expected = [frame for part, _ in parts for frame in part]
    np.testing.assert_array_equal([frame.frame.image for frame in frames], [frame.frame.image for frame in expected])
    np.testing.assert_array_equal([frame.s for frame in frames], [frame.s for frame in expected])
    np.testing.assert_array_equal(images, [image for _, part in parts for image in part])
    assert _begin(frames) == [0, 12]
    assert np.all(np.diff([frame.frame.pts for frame in frames]) == frames[1].frame.pts)


def test_given_frames_begin_every_shot(tmp_path: Path) -> None:
    info = _model(tmp_path, first_frame="real")
    source = write_file(tmp_path / "in.mp4", FIRST + SECOND)
    generator, _ = load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))
    given = np.stack(FIRST[:2])
    images = [image for _, image in Session(generator, first_frames=given).render(conditioned(source, info))]
    for start in (0, 12):
        np.testing.assert_array_equal(images[start : start + 2], given)
    assert not np.array_equal(images[14], images[2])
    (tmp_path / "real").mkdir()
    for t, frame in enumerate(given):
        (tmp_path / "real" / f"{t}.png").write_bytes(encode_png(frame))
    render(source, tmp_path / "out.mp4", tmp_path, first_frames=str(tmp_path / "real"))
    assert read_raw(tmp_path / "out.mp4")[1] == read_raw(source)[1]


@pytest.mark.parametrize("drawn", [1, 13])
def test_a_source_may_be_left_early(tmp_path: Path, drawn: int) -> None:
    info = _model(tmp_path)
    source = write_file(tmp_path / "in.mp4", FIRST + SECOND + FIRST + SECOND)
    before = threading.active_count()
    frames = conditioned(source, info)
    for _ in range(drawn):
        next(frames)
    assert threading.active_count() > before
    frames.close()
    assert threading.active_count() == before


def test_every_shot_is_cropped_around_its_own_face(tmp_path: Path) -> None:
    """As if it were alone; one without a face as the shot before it."""
    info = _model(tmp_path, size=(32, 32), frames={"crop": "face"})
    faceless = _shot((20, 40, 190), 8, left=0, unseen=tuple(range(8)))

    def cropped(name: str, frames: list[NDArray]) -> list[NDArray]:
        source = write_file(tmp_path / name, frames, options=LOSSLESS)
        return [frame.frame.image for frame in conditioned(source, info)]

    shots = cropped("all.mp4", FIRST + SECOND + faceless)
    assert len(shots) == len(FIRST + SECOND + faceless)
    first, second = cropped("first.mp4", FIRST), cropped("second.mp4", SECOND)
    np.testing.assert_array_equal(shots[: len(FIRST) + len(SECOND)], first + second)
    assert _middle(second[2]) == 16  # the first frame with a face has it in the middle
    assert np.ptp(shots[-1][:, :, 2]) == 0
    with raises("subject-missing", "faceless.mp4"):
        cropped("faceless.mp4", faceless)


def _middle(image: NDArray[np.uint8]) -> int:
    """The column in the middle of the white square."""
    return round(float(np.flatnonzero((image.min(2) > 200).any(0)).mean()))
