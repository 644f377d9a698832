"""Stages that carry something over from clip to clip of a shot: order, resume, same bytes whatever the workers."""

import hashlib
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.errors import raises
from tests.unit.fake_stage import SOURCE, SUM, SourceConfig, SumConfig, _frame, plan_source
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import ClipInfo, read_manifest
from v2vkit.artifacts.shard import load_shard
from v2vkit.artifacts.shots import continues
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import PerClip, Plan, RunOptions


def _plan(config: SourceConfig) -> Plan:
    """Two shots: clips 0 to 3 (in three shards) and 4 to 5; then a clip of another file."""
    clips = []
    for number, (shot, start) in enumerate([(0, 0), (0, 5), (0, 10), (0, 15), (1, 20), (1, 25), (0, 0)]):
        file = "b.mp4" if number == 6 else "a.mp4"
        source = {"file": file, "number": 1, "shot": shot, "start": start, "stop": start + 5, "crop": [0, 0, 32, 24]}
        name = f"clip-{number:04d}"
        clips.append(ClipInfo(name=name, num_frames=config.clip_frames, width=32, height=24, source=source))
    return Plan(((clips[0], clips[1]), (clips[2],), (clips[3], clips[4]), (clips[5],), (clips[6],)))


def _prepare(work: Path, workers: int = 1) -> RunOptions:
    options = RunOptions(work=str(work), workers=workers)
    assert isinstance(SOURCE.make, PerClip)
    run(replace(SOURCE, make=replace(SOURCE.make, plan=_plan)), SourceConfig(), options)
    return options


def _bytes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def _last_sums(work: Path) -> list[int]:
    manifest = read_manifest(Folder(str(work)) / "sums")
    assert manifest is not None
    shards = [load_shard(Folder(str(work)) / "sums", entry) for entry in manifest.shards]
    return [
        int(shard.read(f"{clip.name}/{clip.num_frames - 1:06d}", "sum.txt"))
        for shard, unit in zip(shards, manifest.units, strict=True)
        for clip in unit
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("carry") / "work"
    run(SUM, SumConfig(), _prepare(work))
    return work


def test_a_shot_is_carried_on_through_its_clips_and_shards(whole: Path) -> None:
    each = [sum(int(_frame(0, f"clip-{n:04d}", t).sum()) for t in range(5)) for n in range(7)]
    expected = [sum(each[:n]) for n in (1, 2, 3, 4)] + [each[4], each[4] + each[5], each[6]]
    assert _last_sums(whole) == expected


def test_counts_are_summed_and_told(whole: Path) -> None:
    manifest = read_manifest(Folder(str(whole)) / "sums")
    assert manifest is not None
    assert manifest.counts == {"frames": 35, "starts": 7}
    assert "frames: 35; starts: 7" in run(SUM, SumConfig(), RunOptions(work=str(whole))).message


def test_workers_do_not_change_a_byte(whole: Path, tmp_path: Path) -> None:
    run(SUM, SumConfig(), _prepare(tmp_path / "work", workers=3))
    assert _bytes(tmp_path / "work/sums") == _bytes(whole / "sums")


@pytest.mark.parametrize("stop", ["clip-0001", "clip-0002", "clip-0003", "clip-0005"])
def test_a_stopped_run_goes_on_from_its_last_shard(stop: str, whole: Path, tmp_path: Path) -> None:
    options = _prepare(tmp_path / "work")
    with raises("stopped", stop):
        run(SUM, SumConfig(stop=stop), options)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "work/sums").glob("*.tar")}
    run(SUM, SumConfig(), options)
    made, expected = _bytes(tmp_path / "work/sums"), _bytes(whole / "sums")
    del made["manifest.json"], expected["manifest.json"]  # it holds `stop`
    assert made == expected
    assert all(path.stat().st_mtime_ns == seen for path, seen in kept.items()), "finished shards stay"


def test_a_lost_shard_in_the_middle_is_made_again_alone(whole: Path, tmp_path: Path) -> None:
    options = _prepare(tmp_path / "work")
    run(SUM, SumConfig(), options)
    folder = tmp_path / "work/sums"
    (folder / "shard-00001.tar").unlink()
    others = {path: path.stat().st_mtime_ns for path in folder.glob("*.tar")}
    run(SUM, SumConfig(), options)
    assert _bytes(folder) == _bytes(whole / "sums")
    assert all(path.stat().st_mtime_ns == seen for path, seen in others.items())


@pytest.mark.slow
def test_a_killed_run_is_resumed_to_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    """Killed when two shards are written; it waits at a clip of a later one."""
    work = tmp_path / "work"
    _prepare(work)
    code = (
        "from tests.unit import fake_stage as f\nfrom v2vkit.pipeline.runner import run\n"
        "from v2vkit.pipeline.stage import RunOptions\n"
        f"run(f.SUM, f.SumConfig(waits_at='clip-0005'), RunOptions(work={str(work)!r}, workers=1))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    while not (work / "sums/shard-00001.index.json").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    run(SUM, SumConfig(), RunOptions(work=str(work), workers=1))
    made, expected = _bytes(work / "sums"), _bytes(whole / "sums")
    del made["manifest.json"], expected["manifest.json"]  # it holds `waits_at`
    assert made == expected


def test_clips_continue_a_shot_only_in_order() -> None:
    first, second, third = (clip for unit in _plan(SourceConfig()).units[:2] for clip in unit)
    assert continues(first, second)
    assert continues(second, third)
    assert not continues(None, first)
    assert not continues(first, third)
    for key, value in {"file": "c.mp4", "number": 2, "shot": 3, "crop": [1, 0, 32, 24], "start": 6}.items():
        assert not continues(first, second.model_copy(update={"source": {**second.source, key: value}}))
    unknown = plan_source(SourceConfig()).units
    assert not continues(unknown[0][0], unknown[1][0])
