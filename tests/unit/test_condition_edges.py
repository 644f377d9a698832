"""The condition `edges`: the stage, training on it, and edges of the driving frames in rendering."""

from pathlib import Path

import numpy as np
import pytest

import v2vkit
from tests.errors import raises
from tests.unit.ingesting import contents, ingest, label_maps, manifest, write_images
from tests.unit.rendering import conditioned, render
from tests.unit.video_files import moving_frames, read_raw, write_file
from tests.whole_way import check, evaluate, show, train
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import decode_image
from v2vkit.artifacts.manifest import read_manifest
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.conditioning import Conditioning, to_unit
from v2vkit.conditions.edges import EdgeMap, EdgesCondition
from v2vkit.conditions.laplacian import laplacian_edges
from v2vkit.errors import V2VError
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.make_edges import STAGE, EdgesConfig


def make_edges(work: Path, *, workers: int = 1, **settings: object) -> None:
    run(STAGE, EdgesConfig.model_validate(settings), RunOptions(work=str(work), workers=workers))


@pytest.mark.parametrize("settings", [{}, {"kernel": "square", "sigma": 0.0, "threshold": 30.0}])
def test_the_stage_writes_the_edges_of_every_frame(tmp_path: Path, settings: dict[str, object]) -> None:
    ingest(tmp_path, write_file(tmp_path / "a.mp4", moving_frames(9)), cuts="none", lossless=True)
    make_edges(tmp_path, **settings)
    frames, edges = contents(tmp_path), contents(tmp_path, "edges")
    assert [name.replace(".edges.png", ".png") for name in edges] == list(frames)
    for frame, found in zip(frames.values(), edges.values(), strict=True):
        np.testing.assert_array_equal(found > 0, laplacian_edges(frame, **settings))  # type: ignore[arg-type]
    assert np.mean([found.mean() > 0 for found in edges.values()]) > 0
    assert manifest(tmp_path, "edges")["inputs"]["frames"] == manifest(tmp_path)["fingerprint"]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelInfo]:
    """Labels and edges, trained as vid2vid; beside the workspace its frames, its labels and the frames as a video."""
    path = tmp_path_factory.mktemp("edges")
    images = write_images(path / "images", moving_frames(8, 32, 24), pattern="{}.png")
    write_images(path / "labels", label_maps(8, 32, 24), pattern="{}.png")
    write_file(path / "video.mkv", moving_frames(8, 32, 24), codec="ffv1", pix_fmt="bgr0")
    ingest(path / "work", images, labels=path / "labels", num_labels=5, cuts="none", lossless=True)
    make_edges(path / "work", threshold=4.0)
    return path, train(path / "work", domain="cg2real", flip=True)


def test_edges_go_the_whole_way(street: tuple[Path, ModelInfo], capsys: pytest.CaptureFixture[str]) -> None:
    path, info = street
    assert info.conditioning.names == "labels+edges"
    assert info.conditioning.conditions[1] == EdgesCondition(threshold=4.0)
    assert check(path / "work") == []
    assert decode_image(show(path / "work", "edges").read_bytes()).std() > 1
    assert evaluate(path / "work") == []


@pytest.mark.parametrize("frames", ["images", "video.mkv"])
def test_frames_beside_label_maps_give_what_the_workspace_holds(
    street: tuple[Path, ModelInfo], tmp_path: Path, frames: str
) -> None:
    path, _ = street
    assert render(path / "work", f"{tmp_path}/whole/", path / "work", maps=True) == []
    given = {"frames": str(path / frames), "fps": "25"}
    assert render(path / "labels", f"{tmp_path}/beside/", path / "work", **given) == []
    names = sorted(file.name for file in (tmp_path / "whole").glob("*.png"))
    assert len(names) == 8
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "beside" / name).read_bytes()
    out = tmp_path / "out.mp4"
    assert render(path / "labels", out, path / "work", compare=True, **given) == []
    assert read_raw(out)[0][0].shape[1] == 3 * 32  # frame | source map | output


def test_frames_that_are_missing_or_of_no_use_are_named(street: tuple[Path, ModelInfo], tmp_path: Path) -> None:
    path, _ = street
    out, few = tmp_path / "out.mp4", write_images(tmp_path / "few", moving_frames(7, 32, 24), pattern="{}.png")
    square = write_images(tmp_path / "square", moving_frames(8, 24, 24), pattern="{}.png")
    with raises("frame-required", "--frames"):
        render(path / "labels", out, path / "work")
    for frames, told in ((few, "7"), (square, "24x24"), (tmp_path / "none", "none")):
        with pytest.raises(V2VError) as caught:
            render(path / "labels", out, path / "work", frames=str(frames))
        assert told in str(caught.value)
    with pytest.raises(V2VError) as caught:
        render(path / "work", out, path / "work", maps=True, frames=str(few))
    assert "--frames" in str(caught.value)
    assert not out.exists()


def test_a_model_of_other_conditions_refuses_frames(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", moving_frames(8, 32, 24), pattern="{}.png")
    labels = write_images(tmp_path / "labels", label_maps(8, 32, 24), pattern="{}.png")
    ingest(tmp_path / "work", images, labels=labels, num_labels=5, cuts="none")
    train(tmp_path / "work", domain="street")
    with raises("setting-unused", "--frames"):
        render(labels, tmp_path / "out.mp4", tmp_path / "work", frames=str(images))


def test_a_video_needs_nothing_beside_it(tmp_path: Path) -> None:
    video = write_file(tmp_path / "a.mkv", moving_frames(8, 32, 24), codec="ffv1", pix_fmt="bgr0")
    ingest(tmp_path / "work", video, cuts="none", lossless=True)
    make_edges(tmp_path / "work")
    info = train(tmp_path / "work", condition=("edges",))
    found = read_manifest(Folder(f"{tmp_path}/work/edges"))
    assert found is not None
    reader = ClipReader(Folder(f"{tmp_path}/work"), {"edges": found})
    streamed = list(conditioned(video, info, cuts="none"))
    assert len(streamed) == 8
    for t, frame in enumerate(streamed):
        np.testing.assert_array_equal(frame.s, to_unit(reader.channels(info.conditioning, "a-0000", t)))
    assert render(video, tmp_path / "out.mp4", tmp_path / "work") == []


def test_a_program_gives_edges_or_the_frames_that_they_are_made_of(street: tuple[Path, ModelInfo]) -> None:
    path, info = street
    model = v2vkit.load(path / "work", device="cpu", precision="fp32")
    labels, images = np.stack(label_maps(8, 32, 24)), np.stack(moving_frames(8, 32, 24))
    condition = info.conditioning.conditions[1]
    edges = [condition.of_frame(image) for image in images]
    wanted = list(model.generate({"labels": labels, "edges": edges}))
    for annotations in (labels, {"labels": labels}, ({"labels": each} for each in labels)):
        for ours, theirs in zip(model.generate(annotations, frames=images), wanted, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    as_arrays = model.generate({"labels": labels, "edges": [each.edges > 0 for each in edges]})
    np.testing.assert_array_equal(next(iter(as_arrays)), wanted[0])
    with raises("array-mismatch", "float64"):
        next(iter(model.generate({"labels": labels, "edges": np.zeros((8, 24, 32))})))
    with pytest.raises(V2VError, match="edges"):
        list(model.generate(labels))


def test_an_edge_is_white_whatever_number_a_program_gives_it() -> None:
    condition = EdgesCondition()
    given = condition.given(np.array([[0, 1], [7, 255]], np.uint8), size=(2, 2))
    assert isinstance(given, EdgeMap)
    np.testing.assert_array_equal(condition.channels(given)[0], [[0, 255], [255, 255]])
    assert Conditioning.of(condition).has("shows_edges")
