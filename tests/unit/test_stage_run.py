"""The promises of `run`: resumable, byte-identical, refuses what is stale, names what is corrupt."""

import errno
import hashlib
import io
import os
import random
import re
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from tests.errors import raises
from tests.unit.fake_stage import INVERT, SOURCE, InvertConfig, SourceConfig, plan_source
from v2vkit.artifacts import folder as folder_module
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import decode_gray, decode_image
from v2vkit.artifacts.manifest import read_manifest
from v2vkit.artifacts.network import network_error
from v2vkit.artifacts.shard import ShardWriter, list_members, load_shard
from v2vkit.errors import V2VError
from v2vkit.pipeline.runner import run, status
from v2vkit.pipeline.stage import PerClip, RunOptions


def _bytes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def _make(tmp_path: Path, workers: int = 1, **settings: object) -> tuple[str, RunOptions]:
    options = RunOptions(work=str(tmp_path / "work"), workers=workers)
    run(SOURCE, SourceConfig(**settings), options)
    return options.work, options


def test_two_stages_write_what_they_should(tmp_path: Path) -> None:
    work, options = _make(tmp_path)
    outcome = run(INVERT, InvertConfig(offset=1), options)
    assert "20 frames in 4 clips" in outcome.message
    assert "4 frames: third frame" in outcome.message
    frames, inverted = read_manifest(Folder(f"{work}/frames")), read_manifest(Folder(f"{work}/inverted"))
    assert frames is not None
    assert inverted is not None
    assert inverted.inputs == {"frames": frames.fingerprint}
    assert inverted.estimator == {"name": "inverter", "version": "1"}
    assert inverted.missing == {"third frame": 4}
    assert inverted.units == frames.units
    before = load_shard(Folder(f"{work}/frames"), frames.shards[1]).read("clip-0001/000003", "png")
    after = load_shard(Folder(f"{work}/inverted"), inverted.shards[1]).read("clip-0001/000003", "inv.png")
    np.testing.assert_array_equal(255 - decode_image(before) + np.uint8(1), decode_image(after))


def test_side_output_is_an_artifact_of_its_own(tmp_path: Path) -> None:
    work, _ = _make(tmp_path)
    labels, frames = read_manifest(Folder(f"{work}/labels")), read_manifest(Folder(f"{work}/frames"))
    assert labels is not None
    assert frames is not None
    assert labels.units == frames.units
    assert labels.inputs == {"frames": frames.fingerprint}
    shard = load_shard(Folder(f"{work}/labels"), labels.shards[0])
    assert decode_gray(shard.read("clip-0000/000004", "label.png")).max() == 4
    assert shard.extensions("clip-0000/000004") == ["label.png"]


def test_same_command_again_does_nothing_and_says_so(tmp_path: Path) -> None:
    work, options = _make(tmp_path)
    run(INVERT, InvertConfig(), options)
    before = {path: path.stat().st_mtime_ns for path in Path(work).rglob("*")}
    assert "up to date" in run(INVERT, InvertConfig(waits_at="another clip"), options).message
    assert "up to date" in run(SOURCE, SourceConfig(), options).message
    assert before == {path: path.stat().st_mtime_ns for path in Path(work).rglob("*")}
    assert status(INVERT, InvertConfig(), options) == "done"


def test_number_of_workers_does_not_change_a_byte(tmp_path: Path) -> None:
    for workers in (1, 3):
        _, options = _make(tmp_path / str(workers), workers)
        run(INVERT, InvertConfig(), options)
    for kind in ("frames", "labels", "inverted"):
        assert _bytes(tmp_path / "1/work" / kind) == _bytes(tmp_path / "3/work" / kind)


def test_changed_setting_is_refused_and_overwrite_makes_it_again(tmp_path: Path) -> None:
    work, options = _make(tmp_path)
    run(INVERT, InvertConfig(offset=1), options)
    old = _bytes(Path(work) / "inverted")
    with raises("artifact-stale", "offset (was 1, now 2)", "--overwrite"):
        run(INVERT, InvertConfig(offset=2), options)
    assert _bytes(Path(work) / "inverted") == old
    assert status(INVERT, InvertConfig(offset=2), options) == "stale: changed offset (was 1, now 2)"
    run(INVERT, InvertConfig(offset=2), RunOptions(work=work, workers=1, overwrite=True))
    assert _bytes(Path(work) / "inverted") != old


def test_changed_input_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_text("one")
    work, options = _make(tmp_path, source=str(source))
    run(INVERT, InvertConfig(), options)
    source.write_text("two")
    with raises("artifact-stale", "source.txt"):
        run(SOURCE, SourceConfig(source=str(source)), options)
    run(SOURCE, SourceConfig(source=str(source)), RunOptions(work=work, workers=1, overwrite=True))
    with raises("artifact-stale", "input frames"):
        run(INVERT, InvertConfig(), options)


def test_missing_input_names_the_command_to_run(tmp_path: Path) -> None:
    with raises("artifact-missing", "frames", "v2v ingest"):
        run(INVERT, InvertConfig(), RunOptions(work=str(tmp_path)))
    assert not (tmp_path / "inverted").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_wrong_setup_is_raised_before_the_disk_is_touched(tmp_path: Path, workers: int) -> None:
    work, _ = _make(tmp_path)
    with raises("weights-missing"):
        run(INVERT, InvertConfig(fail=True), RunOptions(work=work, workers=workers))
    assert not (Path(work) / "inverted").exists()


@pytest.mark.parametrize(
    ("damage", "code"), [("flip", "shard-damaged"), ("truncate", "artifact-damaged"), ("delete", "artifact-damaged")]
)
def test_corrupt_input_shard_is_found_and_named(tmp_path: Path, damage: str, code: str) -> None:
    work, options = _make(tmp_path)
    shard = Path(work) / "frames/shard-00002.tar"
    data = bytearray(shard.read_bytes())
    shard.chmod(0o644)
    if damage == "delete":
        shard.unlink()
    else:
        data[700] ^= 1
        shard.write_bytes(data if damage == "flip" else data[:-600])
    with raises(code, "shard-00002.tar"):
        run(INVERT, InvertConfig(), options)
    # What was sound is kept, and making the input whole again is enough to go on.
    if damage != "flip":
        run(SOURCE, SourceConfig(), options)
        assert "20 frames" in run(INVERT, InvertConfig(), options).message


def test_a_lost_input_shard_costs_nothing_and_the_advice_brings_it_back(tmp_path: Path) -> None:
    work, options = _make(tmp_path)
    run(INVERT, InvertConfig(), options)
    before = _bytes(Path(work) / "inverted")
    for name, damage in {"shard-00001.tar": Path.unlink, "shard-00002.tar": lambda path: path.write_bytes(b"")}.items():
        damage(Path(work, "frames", name))
        for dry in (False, True):
            again = RunOptions(work=work, workers=1, overwrite=True, dry_run=dry)
            with raises("artifact-damaged", name, "`v2v fake-source`"):
                run(INVERT, InvertConfig(offset=2), again)
        assert _bytes(Path(work) / "inverted") == before
        frames = read_manifest(Folder(f"{work}/frames"))
        assert frames is not None
        with raises("shard-missing" if damage is Path.unlink else "shard-damaged", name, "`v2v`"):
            load_shard(Folder(f"{work}/frames"), frames.shards[int(name[-5])])
        run(SOURCE, SourceConfig(), options)
    assert "inverted: up to date" in run(INVERT, InvertConfig(), options).message


@pytest.mark.parametrize("dry", [False, True])
def test_a_damaged_input_is_found_before_overwrite_clears_the_old_artifact(tmp_path: Path, dry: bool) -> None:
    work, options = _make(tmp_path)
    run(INVERT, InvertConfig(), options)
    before = _bytes(Path(work) / "inverted")
    shard = Path(work, "frames/shard-00003.tar")
    content = bytearray(shard.read_bytes())
    content[700] ^= 1  # the size stays
    shard.write_bytes(content)
    again = RunOptions(work=work, workers=1, overwrite=True, dry_run=dry)
    with raises("shard-damaged", "frames/shard-00003.tar", "`v2v`"):
        run(INVERT, InvertConfig(offset=2), again)
    assert _bytes(Path(work) / "inverted") == before
    assert status(INVERT, InvertConfig(), options) == "done"


@pytest.mark.parametrize("kind", ["frames", "labels"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_lost_index_is_made_again(tmp_path: Path, kind: str, overwrite: bool) -> None:
    work, options = _make(tmp_path)
    run(INVERT, InvertConfig(), options)
    before = _bytes(Path(work) / kind)
    Path(work, kind, "shard-00001.index.json").unlink()
    assert (
        "inverted: stale" in run(INVERT, InvertConfig(offset=1), replace(options, overwrite=True, dry_run=True)).message
    )
    assert status(SOURCE, SourceConfig(), options) == "unfinished"
    run(SOURCE, SourceConfig(), replace(options, overwrite=overwrite))
    assert _bytes(Path(work) / kind) == before
    assert status(SOURCE, SourceConfig(), options) == "done"


def test_overwrite_makes_a_damaged_index_again(tmp_path: Path) -> None:
    work, options = _make(tmp_path)
    before = _bytes(Path(work) / "frames")
    Path(work, "frames", "shard-00001.index.json").write_text("{")
    run(SOURCE, SourceConfig(), replace(options, overwrite=True))
    assert _bytes(Path(work) / "frames") == before


@pytest.mark.parametrize("settings", [{}, {"seed": 1}], ids=["resumed", "made anew"])
def test_leftovers_of_a_killed_writer_are_removed_from_side_outputs_too(
    tmp_path: Path, settings: dict[str, int]
) -> None:
    work, options = _make(tmp_path)
    for kind in ("frames", "labels"):
        Path(work, kind, ".tmp-77-shard-00000.tar").write_bytes(b"half a shard")
    Path(work, "frames", "manifest.json").rename(Path(work, "frames", "manifest.partial.json"))
    Path(work, "labels", ".tmp-notes").write_text("not of ours")
    run(SOURCE, SourceConfig(**settings), replace(options, overwrite=bool(settings)))
    assert [path.name for path in Path(work).rglob(".tmp-*")] == [".tmp-notes"]


def test_the_advice_for_an_altered_shard_brings_it_back(tmp_path: Path) -> None:
    work, options = _make(tmp_path)
    before = _bytes(Path(work) / "frames")
    shard = Path(work, "frames/shard-00000.tar")
    shard.write_bytes(bytes(shard.stat().st_size))
    frames = read_manifest(Folder(f"{work}/frames"))
    assert frames is not None
    with raises("shard-damaged", "`v2v`"):
        load_shard(Folder(f"{work}/frames"), frames.shards[0])
    shard.unlink()
    run(SOURCE, SourceConfig(), options)
    assert _bytes(Path(work) / "frames") == before


_KILLED = """
import sys
from tests.unit.fake_stage import INVERT, InvertConfig
from v2vkit.pipeline.stage import RunOptions
from v2vkit.pipeline.runner import run
if __name__ == "__main__":
    run(INVERT, InvertConfig(waits_at=sys.argv[3]), RunOptions(work=sys.argv[1], workers=int(sys.argv[2])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_random_moments_resumes_to_the_same_bytes(tmp_path: Path, workers: int) -> None:
    """Each time when a few more files have appeared; until the last run it waits at one clip, and so never finishes."""
    work, options = _make(tmp_path, num_clips=12, clip_frames=4)
    run(INVERT, InvertConfig(), options)
    made = Path(work) / "inverted"
    whole = _bytes(made)
    for path in made.iterdir():
        path.unlink()
    script = tmp_path / "killed.py"
    script.write_text(_KILLED)
    root = str(Path(__file__).resolve().parents[2])
    dice, command = random.Random(workers), [sys.executable, str(script), work, str(workers)]
    environment = os.environ | {"PYTHONPATH": root}
    for _ in range(4):
        process = subprocess.Popen([*command, "clip-0011"], env=environment, cwd=root)
        wanted = min(len(list(made.iterdir())) + dice.randint(1, 5), len(whole) - 2)
        while len(list(made.iterdir())) < wanted:
            assert process.poll() is None
            time.sleep(0.001)
        process.kill()
        process.wait()
        assert not (made / "manifest.json").exists()
    subprocess.run([*command, ""], env=environment, cwd=root, check=True)
    result = _bytes(made)
    assert {name: value for name, value in result.items() if name != "manifest.json"} == {
        name: value for name, value in whole.items() if name != "manifest.json"
    }


def test_full_disk_is_a_sentence_and_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, options = _make(tmp_path)

    def full(file: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with raises("disk-full"):
        run(INVERT, InvertConfig(), options)
    monkeypatch.undo()
    assert list((Path(work) / "inverted").glob("*")) == []
    assert "20 frames" in run(INVERT, InvertConfig(), options).message


def test_really_full_disk(tmp_path: Path) -> None:
    """/dev/full refuses every write; the sentence comes through the real system call."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with (
        raises("disk-full", "x"),
        folder_module.explain_os_errors("x"),
        Path("/dev/full").open("wb", buffering=0) as file,
    ):
        file.write(b"x")


def test_a_folder_that_cannot_be_written_is_named_without_temporary_files(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with raises("folder-required", str(tmp_path / "file/x")) as caught:
        Folder(str(tmp_path / "file/x")).refuse_unwritable()
    assert ".tmp" not in str(caught)


_FILL = """
import resource, signal, sys
from tests.unit.fake_stage import SOURCE, SourceConfig
from v2vkit.errors import V2VError
from v2vkit.pipeline.stage import RunOptions
from v2vkit.pipeline.runner import run

if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
    try:
        run(SOURCE, SourceConfig(num_clips=4), RunOptions(work=sys.argv[1], workers=int(sys.argv[2])))
    except V2VError as error:
        print(error.code)
"""


@pytest.mark.parametrize(("workers", "limit"), [(1, 600), (1, 6_000), (1, 12_000), (2, 600)])
def test_a_full_disk_is_one_sentence_and_leaves_no_shard_begun(tmp_path: Path, workers: int, limit: int) -> None:
    """Files of limited size stand for the disk; two artifacts are written at once, and nothing speaks up later."""
    script = tmp_path / "fill.py"
    script.write_text(_FILL)
    command = [sys.executable, str(script), str(tmp_path / "work"), str(workers), str(limit)]
    filled = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": "."})
    assert filled.stderr == ""
    assert filled.stdout == "disk-full\n"
    assert not list((tmp_path / "work").rglob(".*"))


def _of_package(module: str) -> Exception:
    """An exception of a package that need not be installed."""
    error = type("Error", (Exception,), {"__module__": module})()
    assert isinstance(error, Exception)
    return error


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(errno.ENOENT, "gone", "map.png"), _of_package("google.protobuf.message")],
    ids=["a missing source", "protobuf"],
)
def test_errors_while_a_shard_is_filled_are_not_those_of_the_shard(tmp_path: Path, error: Exception) -> None:
    def fill() -> None:
        with ShardWriter(Folder(str(tmp_path)), "shard-00000.tar") as writer:
            writer.add("clip/000000", "bin", bytes(100))
            raise error

    with pytest.raises(type(error)) as caught:
        fill()
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "module", ["google.auth.exceptions", "google.api_core.exceptions", "gcsfs.retry", "botocore.exceptions"]
)
def test_errors_of_the_stores_packages_are_those_of_the_network(module: str) -> None:
    error = network_error(_of_package(module), "gs://bucket/a")
    assert error is not None
    assert error.code == "network-failed"


def test_a_place_in_which_nothing_can_be_made_is_a_sentence(tmp_path: Path) -> None:
    """/proc says that there is no such file, as do broken links and drives that are gone."""
    (tmp_path / "link").symlink_to(tmp_path / "gone" / "work")
    for work in ("/proc/v2vkit", str(tmp_path / "link")):
        if not Path(work).parent.is_dir():
            continue
        with raises("target-unwritable", work):
            run(SOURCE, SourceConfig(), RunOptions(work=work, workers=1))


def test_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    work, _ = _make(tmp_path)
    (Path(work) / "inverted").mkdir()
    (Path(work) / "inverted/holiday.jpg").write_bytes(b"precious")
    with raises("folder-not-empty", "inverted", "holiday.jpg"):
        run(INVERT, InvertConfig(), RunOptions(work=work, workers=1, overwrite=True))
    assert (Path(work) / "inverted/holiday.jpg").read_bytes() == b"precious"


def test_label_maps_of_the_user_in_the_workspace_are_left_alone(tmp_path: Path) -> None:
    """A side output's folder may be somebody else's too."""
    labels = tmp_path / "work" / "labels"
    labels.mkdir(parents=True)
    (labels / "000.png").write_bytes(b"precious")
    with raises("folder-not-empty", "labels", "000.png"):
        run(SOURCE, SourceConfig(), RunOptions(work=str(tmp_path / "work"), workers=1, overwrite=True))
    assert (labels / "000.png").read_bytes() == b"precious"
    assert not (tmp_path / "work" / "frames").exists()


def test_killed_while_clearing_the_old_artifact_starts_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, options = _make(tmp_path)
    removed: list[str] = []

    def killed(self: Folder, name: str) -> None:
        removed.append(name)
        if len(removed) == 4:
            raise KeyboardInterrupt
        Path(self.path, name).unlink(missing_ok=True)

    again = RunOptions(work=work, workers=1, overwrite=True)
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            run(SOURCE, SourceConfig(seed=1), again)
    with raises("artifact-stale", "seed"):
        run(SOURCE, SourceConfig(seed=1), options)
    run(SOURCE, SourceConfig(seed=1), again)
    _make(tmp_path / "fresh", seed=1)
    for kind in ("frames", "labels"):
        assert _bytes(Path(work) / kind) == _bytes(tmp_path / "fresh" / "work" / kind)


@pytest.mark.parametrize("name", ["manifest.json", "manifest.partial.json"])
def test_a_damaged_manifest_is_left_behind_with_overwrite(tmp_path: Path, name: str) -> None:
    work, options = _make(tmp_path)
    Path(work, "frames", name).write_text("{")
    with raises("manifest-damaged", name, "(Invalid JSON", "Add --overwrite"):
        run(SOURCE, SourceConfig(), options)
    if name == "manifest.json":
        with raises("manifest-damaged", name, "Make frames again: `v2v ingest`", "--overwrite"):
            run(INVERT, InvertConfig(), options)
    run(SOURCE, SourceConfig(), RunOptions(work=work, workers=1, overwrite=True))
    assert status(SOURCE, SourceConfig(), options) == "done"
    assert "up to date" in run(SOURCE, SourceConfig(), options).message


def test_a_damaged_manifest_of_a_side_output_is_left_behind_with_overwrite(tmp_path: Path) -> None:
    work, options = _make(tmp_path)
    Path(work, "labels", "manifest.json").write_text("{")
    assert status(SOURCE, SourceConfig(), options) == "unfinished"
    with raises("manifest-damaged", "labels/manifest.json"):
        run(SOURCE, SourceConfig(), options)
    run(SOURCE, SourceConfig(), RunOptions(work=work, workers=1, overwrite=True))
    assert status(SOURCE, SourceConfig(), options) == "done"


@pytest.mark.parametrize("kind", ["frames", "labels"])
def test_overwrite_makes_damaged_shards_again(tmp_path: Path, kind: str) -> None:
    work, _ = _make(tmp_path)
    before = _bytes(Path(work) / kind)
    shard = Path(work, kind, "shard-00000.tar")
    content = bytearray(shard.read_bytes())
    content[700] ^= 0xFF  # the size stays
    shard.write_bytes(content)
    run(SOURCE, SourceConfig(), RunOptions(work=work, workers=1, overwrite=True))
    assert _bytes(Path(work) / kind) == before


def test_a_dry_run_tells_stale_from_missing(tmp_path: Path) -> None:
    work, options = _make(tmp_path)
    dry = RunOptions(work=work, workers=1, overwrite=True, dry_run=True)
    assert "inverted: missing" in run(INVERT, InvertConfig(), dry).message
    run(INVERT, InvertConfig(), options)
    assert "inverted: stale" in run(INVERT, InvertConfig(offset=2), dry).message
    assert status(INVERT, InvertConfig(), options) == "done"


def test_stages_after_a_stale_one_are_not_done(tmp_path: Path) -> None:
    _, options = _make(tmp_path)
    run(INVERT, InvertConfig(), options)
    pending: set[tuple[str, str]] = set()
    assert status(SOURCE, SourceConfig(), options, pending) == "done"
    assert status(INVERT, InvertConfig(), options, pending) == "done"
    assert status(SOURCE, SourceConfig(seed=3), options, pending).startswith("stale: changed seed")
    assert status(INVERT, InvertConfig(), options, pending) == "stale: frames will be remade first"


@pytest.mark.parametrize("lost", ["shard-00000.tar", "manifest.json"])
def test_a_lost_part_of_a_side_output_is_made_again(tmp_path: Path, lost: str) -> None:
    work, options = _make(tmp_path)
    before = _bytes(Path(work) / "labels")
    (Path(work) / "labels" / lost).unlink()
    assert status(SOURCE, SourceConfig(), options) == "unfinished"
    assert "up to date" not in run(SOURCE, SourceConfig(), options).message
    assert _bytes(Path(work) / "labels") == before


def test_a_side_output_that_another_stage_made_is_not_replaced(tmp_path: Path) -> None:
    work, options = _make(tmp_path)
    manifest = Path(work, "labels", "manifest.json")
    manifest.write_text(manifest.read_text().replace('"fake-source"', '"segment"'))
    with raises("artifact-conflict", "labels", "segment"):
        run(SOURCE, SourceConfig(), options)
    run(SOURCE, SourceConfig(), RunOptions(work=work, workers=1, overwrite=True))
    assert status(SOURCE, SourceConfig(), options) == "done"


def test_two_commands_do_not_work_on_one_artifact(tmp_path: Path) -> None:
    work, options = _make(tmp_path)
    with Folder(f"{work}/inverted").locked(), raises("artifact-locked", "inverted"):
        run(INVERT, InvertConfig(), options)
    assert "20 frames" in run(INVERT, InvertConfig(), options).message


def test_a_command_that_is_refused_touches_nothing_of_the_one_at_work(tmp_path: Path) -> None:
    """Which has not yet written what it plans."""
    folder = Path(tmp_path, "work", "frames")
    folder.mkdir(parents=True)
    with Folder(str(folder)).locked():
        (folder / ".tmp-1-shard-00000.tar").write_bytes(b"half of a shard")
        with raises("artifact-locked", "frames"):
            run(SOURCE, SourceConfig(), RunOptions(work=f"{tmp_path}/work", workers=1))
        assert (folder / ".tmp-1-shard-00000.tar").exists()
    run(SOURCE, SourceConfig(), RunOptions(work=f"{tmp_path}/work", workers=1))
    assert not (folder / ".tmp-1-shard-00000.tar").exists()


def test_a_dry_run_opens_everything_and_tells_what_there_is_to_make(tmp_path: Path) -> None:
    options = RunOptions(work=f"{tmp_path}/work", workers=1, dry_run=True)
    told = run(SOURCE, SourceConfig(num_clips=2), options).message
    assert re.search(r"frames: \d+ frames in 2 clips, \d shards? to make\nframes: missing; nothing was done", told)
    assert not Path(tmp_path, "work").exists()
    assert run(SOURCE, SourceConfig(seed=99), options).problems == ("bad.mp4: it is empty",)
    cannot = replace(SOURCE, make=PerClip(_no_estimator, plan_source))
    with raises("library-missing"):
        run(cannot, SourceConfig(), options)


def _no_estimator(config: SourceConfig) -> Any:
    raise V2VError("library-missing", "The package is not installed.", "Install it.")


def test_file_in_the_place_of_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("a file")
    with raises("folder-required", "work"):
        run(SOURCE, SourceConfig(), RunOptions(work=str(tmp_path / "work"), workers=1))


def test_memory_filesystem() -> None:
    options = RunOptions(work="memory://stage-run/work", workers=4)
    run(SOURCE, SourceConfig(), options)
    assert "20 frames" in run(INVERT, InvertConfig(), options).message
    assert "up to date" in run(INVERT, InvertConfig(), options).message
    names = fsspec.filesystem("memory").ls("/stage-run/work/inverted", detail=False)
    assert "/stage-run/work/inverted/shard-00003.tar" in names


def test_problems_reach_the_exit_code(tmp_path: Path) -> None:
    options = RunOptions(work=str(tmp_path), workers=1)
    assert run(SOURCE, SourceConfig(seed=99), options).problems == ("bad.mp4: it is empty",)


def test_one_of_a_kind_is_told_in_the_singular(tmp_path: Path) -> None:
    options = RunOptions(work=str(tmp_path), workers=1)
    message = run(SOURCE, SourceConfig(num_clips=1, clip_frames=1), options).message
    assert message == "frames: 1 frame in 1 clip, 1 shard."


def test_a_damaged_manifest_is_told_in_the_overview(tmp_path: Path) -> None:
    work, options = _make(tmp_path)
    Path(work, "frames", "manifest.json").write_text("{")
    assert "manifest.json is damaged" in status(SOURCE, SourceConfig(), options)


def _tar(*members: tarfile.TarInfo) -> io.BytesIO:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    file.seek(0)
    return file


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = 4 if kind == tarfile.REGTYPE else 0
    return info


@pytest.mark.parametrize(
    "member",
    [
        _member("/etc/passwd"),
        _member("clip/../../evil.png"),
        _member("clip\\..\\evil.png"),
        _member("link", tarfile.SYMTYPE, "/etc/passwd"),
        _member("hard", tarfile.LNKTYPE, "clip/000000.png"),
        _member("device", tarfile.CHRTYPE),
        _member("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda member: member.name,
)
def test_unsafe_tar_members_are_refused(member: tarfile.TarInfo) -> None:
    with raises("shard-unsafe", "some.tar", repr(member.name)):
        list_members(_tar(_member("clip/000000.png"), member), "some.tar")


def test_garbage_is_not_a_tar() -> None:
    with raises("shard-damaged", "some.tar"):
        list_members(io.BytesIO(b"hello" * 1000), "some.tar")


def test_shards_open_with_plain_tar_and_with_webdataset(tmp_path: Path) -> None:
    work, options = _make(tmp_path)
    run(INVERT, InvertConfig(), options)
    shard = Path(work) / "frames/shard-00000.tar"
    listed = subprocess.run(["tar", "tf", str(shard)], capture_output=True, text=True, check=True).stdout.split()
    assert listed == [f"clip-0000/{t:06d}.png" for t in range(5)]
    webdataset = pytest.importorskip("webdataset")
    samples = list(webdataset.WebDataset([str(shard)], shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [f"clip-0000/{t:06d}" for t in range(5)]
    assert decode_image(samples[0]["png"]).shape == (24, 32, 3)
