"""Workspaces in which there is nothing to learn from, and masks of 0 and 255, are told before training."""

from pathlib import Path

import numpy as np
import pytest

from tests.errors import raises
from tests.flow_scenes import write_frames
from tests.people import body
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import decode_gray, encode_png
from v2vkit.artifacts.manifest import Manifest, read_manifest
from v2vkit.artifacts.shard import load_shard
from v2vkit.conditions.people import Person
from v2vkit.conditions.people_files import people_to_json
from v2vkit.conditions.presence import check_presence
from v2vkit.config import make_config
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.check import COMMAND as CHECK
from v2vkit.stages.check import CheckConfig
from v2vkit.stages.estimate_pose import STAGE as POSES
from v2vkit.stages.estimate_pose import PoseConfig
from v2vkit.stages.ingest import STAGE as INGEST
from v2vkit.stages.ingest import IngestConfig

SIZE = (24, 32)


def mask(*ids: int) -> np.ndarray:
    """All of these ids in one label map."""
    return np.resize(np.array(ids, np.uint8 if max(ids) < 256 else np.uint16), SIZE)


def footage(folder: Path, maps: list[np.ndarray]) -> IngestConfig:
    """Images with these label maps."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for t, ids in enumerate(maps):
        (folder / f"images/{t:04}.png").write_bytes(encode_png(np.full((*SIZE, 3), 20 * t, np.uint8)))
        (folder / f"masks/{t:04}.png").write_bytes(encode_png(ids))
    return IngestConfig(sources=(str(folder / "images"),), labels=str(folder / "masks"), cuts="none", min_frames=1)


def options(folder: Path) -> RunOptions:
    return RunOptions(work=str(folder / "work"), workers=1)


def ingested(folder: Path, maps: list[np.ndarray], **settings: object) -> Path:
    run(INGEST, footage(folder, maps).model_copy(update=settings), options(folder))
    return folder / "work"


def presence(work: Path, kind: str = "labels", **settings: tuple[int, ...]) -> dict[str, str]:
    return check_presence(Folder(str(work)), {kind: manifest_of(work, kind)}, **settings)


def manifest_of(work: Path, kind: str) -> Manifest:
    manifest = read_manifest(Folder(f"{work}/{kind}"))
    assert manifest is not None
    return manifest


def test_masks_of_0_and_255_are_told_with_what_puts_it_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = footage(tmp_path, [mask(0, 255)] * 3)
    (told,) = run(INGEST, config, options(tmp_path)).problems
    assert "hold only 0 and 255" in told
    (problem,) = CHECK.call(CheckConfig(num_labels=2), options(tmp_path))
    assert "hold only 0 and 255" in problem
    assert "--ids 255=1" in problem
    assert "label ids that occur nowhere: 1\n" in capsys.readouterr().out
    sources = CheckConfig(sources=config.sources, labels=config.label_maps.labels)
    assert CHECK.call(sources, options(tmp_path)) == [problem]
    assert CHECK.call(sources.model_copy(update={"ids": ("255=1",)}), options(tmp_path)) == []


def test_masks_with_soft_edges_are_told(tmp_path: Path) -> None:
    soft = np.zeros(SIZE, np.uint8)
    soft[:, 16:], soft[12, :] = 255, np.linspace(0, 255, 32)
    ingested(tmp_path, [soft] * 3)
    (problem,) = CHECK.call(CheckConfig(), options(tmp_path))
    assert "96 % of the pixels are 0 or 255, and 30 ids lie between" in problem
    assert CHECK.call(CheckConfig(num_labels=255), options(tmp_path)) == []


def test_other_ids_are_stored_and_then_all_is_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = ingested(tmp_path, [mask(0, 255)] * 3, ids=("255=1",))
    assert CHECK.call(CheckConfig(num_labels=2), options(tmp_path)) == []
    assert "nowhere" not in capsys.readouterr().out
    assert manifest_of(work, "frames").skipped == {}
    shard = load_shard(Folder(f"{work}/labels"), manifest_of(work, "labels").shards[0])
    np.testing.assert_array_equal(decode_gray(shard.read("images-0000/000000", "label.png")), mask(0, 1))
    assert presence(work, foreground=(1,)) == {}


def test_ids_are_changed_all_at_once_and_before_they_are_checked(tmp_path: Path) -> None:
    work = ingested(tmp_path, [mask(0, 1, 1000)] * 2, ids=("0=1", "1=0", "1000=2"), num_labels=3)
    shard = load_shard(Folder(f"{work}/labels"), manifest_of(work, "labels").shards[0])
    np.testing.assert_array_equal(decode_gray(shard.read("images-0000/000001", "label.png")), mask(1, 0, 2))


def test_an_id_that_is_mapped_and_occurs_nowhere_is_told(tmp_path: Path) -> None:
    work = ingested(tmp_path, [mask(0, 2)] * 2, ids=("254=1",))
    assert manifest_of(work, "frames").skipped == {"label maps": "--ids 254=1: no label map holds the id 254."}


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        (["255"], "255"),
        (["1=256"], "1=256"),
        (["70000=1"], "70000=1"),
        (["255=1", "255=2"], "255"),
    ],
)
def test_wrong_ids_are_refused(ids: list[str], told: str) -> None:
    with raises("setting-invalid", told):
        make_config(IngestConfig, {"sources": ["a"], "labels": "b", "ids": ids}, "test")
    with raises("setting-invalid", told):
        make_config(CheckConfig, {"ids": ids}, "test")


def test_ids_need_label_maps() -> None:
    with raises("setting-invalid", "--ids", "--labels"):
        make_config(IngestConfig, {"sources": ["a"], "ids": ["255=1"]}, "test")
    with raises("setting-invalid", "--ids", "--labels"):
        make_config(CheckConfig, {"ids": ["255=1"]}, "test")


def test_one_label_and_ignored_pixels_may_be_meant(tmp_path: Path) -> None:
    work = ingested(tmp_path, [mask(0, 255)] * 3)
    assert CHECK.call(CheckConfig(num_labels=1), options(tmp_path)) == []
    assert presence(work) == {}


def test_maps_without_any_label_are_a_problem_and_refused(tmp_path: Path) -> None:
    work = ingested(tmp_path, [mask(255)] * 3)
    (problem,) = CHECK.call(CheckConfig(), options(tmp_path))
    assert "No frame has a label" in problem
    with raises("annotations-empty", "--ids FROM=TO"):
        presence(work)


def test_foreground_ids_that_occur_nowhere_are_told_and_refused_where_none_does(tmp_path: Path) -> None:
    work = ingested(tmp_path, [mask(0, 255), mask(0, 3)])
    assert presence(work, foreground=(0, 3)) == {}
    assert presence(work, foreground=(3, 7, 5)) == {"--foreground": "no pixel of the label maps has the id 5, 7"}
    with raises("foreground-missing", "--foreground 1", "--ids 255=1"):
        presence(work, foreground=(1,))


def test_label_maps_are_read_until_everything_is_found(tmp_path: Path) -> None:
    work = ingested(tmp_path, [mask(0, 1)] * 8, clip_frames=4, shard_frames=4)
    (work / "labels/shard-00001.tar").unlink()
    assert presence(work, foreground=(1,)) == {}
    with raises("shard-missing", "shard-00001.tar"):
        presence(work, foreground=(2,))


@pytest.mark.parametrize("people", [[0, 0, 0], [0, 1, 0]])
def test_a_workspace_without_people_is_a_problem_and_refused(tmp_path: Path, people: list[int]) -> None:
    config = footage(tmp_path, [mask(0)] * 3).model_copy(update={"labels": None})
    run(INGEST, config, options(tmp_path))
    (tmp_path / "keypoints").mkdir()
    for t, count in enumerate(people):
        found = (Person(body(16, 1, 20)),) * count
        data = people_to_json(found, found=True, size=(32, 24), estimator="")
        (tmp_path / f"keypoints/{t:04}_keypoints.json").write_bytes(data)
    run(POSES, PoseConfig(openpose=str(tmp_path / "keypoints")), options(tmp_path))
    problems = CHECK.call(CheckConfig(), options(tmp_path))
    if any(people):
        assert problems == []
        assert presence(tmp_path / "work", "poses") == {}
    else:
        assert problems == ["In every frame of poses there is no person."]
        with raises("annotations-empty", "v2v estimate-pose"):
            presence(tmp_path / "work", "poses")


def test_frames_and_flow_hold_nothing_that_could_be_absent(tmp_path: Path) -> None:
    write_frames(tmp_path / "work", {"a": [np.zeros((*SIZE, 3), np.uint8)] * 3})
    assert presence(tmp_path / "work", "frames") == {}
