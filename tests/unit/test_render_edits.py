"""Edited and tracked label maps on their way through `v2v render`."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import v2vkit
from tests.errors import raises
from tests.unit.rendering import render, save_untrained
from tests.unit.test_track import FLOW, FlowConfig, _prepare, _tracks
from tests.unit.tracking_scenes import CAR, ROAD, SIZE, draw
from tests.unit.video_files import read_raw
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import encode_png
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.edits import Relabelling
from v2vkit.conditions.settings import Origin
from v2vkit.inference.conditioned import conditioned_frames
from v2vkit.inference.edits import Edits, open_editor, parse_edits
from v2vkit.inference.newest import causal_frames
from v2vkit.inference.sources import open_source
from v2vkit.pipeline.runner import run
from v2vkit.stages.track import STAGE as TRACK
from v2vkit.stages.track import TrackConfig
from v2vkit.video.stream import Source

HEIGHT, WIDTH = SIZE
FRAMES = 4


def _model(work: Path, *, tracks: Origin | None = None) -> ModelInfo:
    classes: dict[str, Any] = {
        "name": "small",
        "classes": [{"id": ROAD, "name": "road"}, {"id": CAR, "name": "car", "thing": True}, {"id": 7, "name": "bus"}],
    }
    return save_untrained(
        work,
        "street",
        size=(WIDTH, HEIGHT),
        maps={"num_labels": 8, "classes": classes, "instances": "given"},
        maps_stage="ingest",
        tracks=tracks,
    )


@pytest.fixture
def maps(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of label maps and instance maps: a car that moves to the right."""
    folders = tmp_path / "labels", tmp_path / "instances"
    for folder in folders:
        folder.mkdir()
    for t in range(FRAMES):
        for folder, ids in zip(folders, draw([(12, 10 + 4 * t, 8, 14), (24, 60, 8, 14)]), strict=False):
            (folder / f"{t}.png").write_bytes(encode_png(ids))
    return folders


def _labels(source: Path, info: ModelInfo, edits: Edits, **settings: Any) -> list[np.ndarray]:
    """The labels that condition the model, from its channels."""
    opened = open_source(str(source), info, **settings)
    frames = conditioned_frames(opened, info, editor=open_editor(info, opened, edits))
    return [np.where(frame.s[:8].max(0) > 0, frame.s[:8].argmax(0), 255) for frame in frames]


def test_labels_are_given_by_name_and_restricted(tmp_path: Path, maps: tuple[Path, Path]) -> None:
    info = _model(tmp_path)
    plain = _labels(maps[0], info, Edits())
    edits = parse_edits(info, relabel=["car=bus"], in_region="0,0,50,40", in_frames="1:3")
    assert edits.relabellings == (Relabelling({CAR: 7}, (0, 0, 50, 40), (), (1, 3), frozenset({CAR})),)
    for t, (before, after) in enumerate(zip(plain, _labels(maps[0], info, edits), strict=True)):
        expected = before.copy()
        if t in (1, 2):
            expected[:, :50][before[:, :50] == CAR] = 7
        np.testing.assert_array_equal(after, expected)


def test_objects_of_a_folder_of_maps(tmp_path: Path, maps: tuple[Path, Path]) -> None:
    info = _model(tmp_path)
    edits = parse_edits(info, relabel=["car=road"], objects=[22])
    for ids in _labels(maps[0], info, edits, instances=str(maps[1])):
        assert (ids == CAR).sum() == 8 * 14
        np.testing.assert_array_equal(ids[24:32, 60:74], ROAD)
    with raises("instances-missing"):
        _labels(maps[0], info, edits)


def test_the_edited_map_is_shown_and_rendered(tmp_path: Path, maps: tuple[Path, Path]) -> None:
    _model(tmp_path)
    targets = tmp_path / "plain.mp4", tmp_path / "edited.mp4"
    given: dict[str, Any] = {"instances": str(maps[1]), "compare": True, "crf": 0}
    assert render(maps[0], targets[0], tmp_path, **given) == []
    assert render(maps[0], targets[1], tmp_path, **given, relabel=("car=bus", "road=255")) == []
    plain, edited = (read_raw(target)[0][1] for target in targets)
    shown = np.abs(plain.astype(int) - edited)[:, :WIDTH]
    assert shown[:12].mean() > 20, "the map, whose road is ignored now"
    assert np.abs(plain.astype(int) - edited)[:, WIDTH:].max() > 0, "and the rendering"


def test_an_edit_that_changes_nothing_is_told(tmp_path: Path, maps: tuple[Path, Path]) -> None:
    _model(tmp_path)
    problems = render(maps[0], tmp_path / "out.mp4", tmp_path, relabel=("bus=car",))
    assert any("--relabel" in problem for problem in problems)


@pytest.mark.parametrize(
    ("code", "named", "settings"),
    [
        ("setting-invalid", "--relabel car", {"relabel": ["car"]}),
        ("setting-invalid", "--relabel =3", {"relabel": ["=3"]}),
        ("class-unknown", "lorry", {"relabel": ["lorry=car"]}),
        ("label-duplicate", "6", {"relabel": ["car=bus", "6=road"]}),
        ("setting-unused", "--objects", {"objects": [3]}),
        ("setting-unused", "--in-frames", {"in_frames": "1:2"}),
        ("setting-invalid", "--in-region", {"relabel": ["car=bus"], "in_region": "1,2,3"}),
        ("setting-invalid", "--in-frames", {"relabel": ["car=bus"], "in_frames": "5:5"}),
        ("setting-invalid", "--in-frames", {"relabel": ["car=bus"], "in_frames": "five"}),
    ],
)
def test_flags_that_cannot_be_read(tmp_path: Path, code: str, named: str, settings: dict[str, Any]) -> None:
    info = _model(tmp_path)
    with raises(code, named):
        parse_edits(info, **settings)


def test_labels_that_the_model_lacks_and_models_without_labels(tmp_path: Path) -> None:
    source = Source("in", WIDTH, HEIGHT, Fraction(10), lambda: iter(()), annotated=True)
    info = _model(tmp_path)
    with raises("label-id-out-of-range", "9"):
        open_editor(info, source, parse_edits(info, relabel=["car=9"]))
    assert open_editor(info, source, parse_edits(info, relabel=["car=255"])) is not None
    face = save_untrained(tmp_path / "face", "face")
    assert open_editor(face, source, Edits()) is None
    with raises("setting-unused", "--relabel"):
        open_editor(face, source, parse_edits(face, relabel=["1=2"]))
    with raises("setting-unused", "--track"):
        open_editor(face, source, Edits(track=True))


@pytest.mark.parametrize("flow", [False, True])
def test_tracking_while_rendering_gives_the_ids_of_the_stage(tmp_path: Path, flow: bool) -> None:
    work = tmp_path / "work"
    options = _prepare(work)
    if flow:
        run(FLOW, FlowConfig(), options)
    run(TRACK, TrackConfig(things=(CAR,)), options)
    (work / "frames").rename(work / "unread")
    expected = [ids for clip in _tracks(work).values() for ids in clip]
    tracks = Origin(stage="track", settings=TrackConfig(things=(CAR,)).model_dump(mode="json"))
    info = _model(work, tracks=tracks)

    def ids(**settings: Any) -> list[np.ndarray]:
        opened = open_source(str(work), info, maps=True, **settings)
        editor = open_editor(info, opened, Edits(track=settings.get("track")))
        assert (editor is None) == (opened.tracked or settings.get("track") is False)
        return [frame.frame.annotations[0].instances for frame in conditioned_frames(opened, info, editor=editor)]

    np.testing.assert_array_equal(ids(), expected)
    own = ids(track=False)
    assert any((a != b).any() for a, b in zip(own, expected, strict=True)), "the ids of the maps themselves"
    (work / "tracks").rename(work / "apart")
    np.testing.assert_array_equal(ids(), expected)


def test_live_frames_are_tracked_without_flow(tmp_path: Path) -> None:
    """Flow leads to a frame that live rendering may have dropped."""
    work = tmp_path / "work"
    options = _prepare(work)
    run(TRACK, TrackConfig(things=(CAR,)), options)
    expected = [ids for clip in _tracks(work).values() for ids in clip]
    run(FLOW, FlowConfig(), options)
    (work / "tracks").rename(work / "apart")
    (work / "frames").rename(work / "unread")
    tracks = Origin(stage="track", settings=TrackConfig(things=(CAR,)).model_dump(mode="json"))
    info = _model(work, tracks=tracks)
    opened = open_source(str(work), info, maps=True)
    editor = open_editor(info, opened, Edits())
    frames = [*causal_frames(opened, opened.frames(), info, editor=editor)]
    np.testing.assert_array_equal([frame.frame.annotations[0].instances for frame in frames], expected)
    assert all(frame.flow is None for frame in frames), "the model takes none"


def test_edits_from_python(tmp_path: Path, maps: tuple[Path, Path]) -> None:
    _model(tmp_path)
    model = v2vkit.load(f"{tmp_path}/checkpoints/spatial-1", device="cpu")
    label_map = v2vkit.LabelMap(draw([(12, 10, 8, 14)])[0])
    edited = v2vkit.relabel(label_map, {CAR: 7})
    by_hand = next(model.generate([edited]))
    assert not np.array_equal(by_hand, next(model.generate([label_map])))
    swap = v2vkit.Edits((v2vkit.Relabelling({CAR: ROAD, ROAD: CAR}),))
    plain, swapped = (next(model.render(maps[0], edits=edits)) for edits in (v2vkit.Edits(), swap))
    assert not np.array_equal(plain, swapped)
    assert Folder(str(tmp_path)).exists("checkpoints")
