"""`v2v make-toy`: what it writes can be read back, and it never destroys what it did not make."""

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.errors import raises
from v2vkit.artifacts.images import decode_gray, decode_image
from v2vkit.conditions.flow_io import read_flow
from v2vkit.config import Size, make_config
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.make_toy import COMMAND, ToyConfig
from v2vkit.toyworld import make_scene, render_frame
from v2vkit.video.depth_files import read_depth

SIZE = Size(64, 32)


def _config(out: Path, **more: object) -> ToyConfig:
    values = {"out": str(out), "num_clips": 2, "num_frames": 4, "size": "64x32"} | more
    return make_config(ToyConfig, values, "test")


def _make(out: Path, *, overwrite: bool = False, **more: object) -> None:
    assert COMMAND.call(_config(out, **more), RunOptions(workers=1, overwrite=overwrite)) == []


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("toy") / "street"
    _make(out)
    return out


def test_folders_hold_what_the_renderer_says(toy: Path) -> None:
    scene = make_scene(1, 4, SIZE)  # seed 0, clip 1
    for t in range(4):
        frame = render_frame(scene, t)
        name = f"toy-001/{t:06d}.png"
        assert np.array_equal(decode_image((toy / "images" / name).read_bytes()), frame.real)
        assert np.array_equal(decode_gray((toy / "labels" / name).read_bytes()), frame.labels)
        instances = decode_gray((toy / "instances" / name).read_bytes())
        assert instances.dtype == np.uint16
        assert np.array_equal(instances, frame.instances)
        assert np.array_equal(decode_image((toy / "cg_images" / name).read_bytes()), frame.cg)
        depth, valid = read_depth(toy / "depth" / name, scale=256)
        assert depth.shape == SIZE[::-1]
        assert np.array_equal(valid, frame.labels != 0), "only the sky has no depth"
        assert np.abs(depth - frame.depth)[valid].max() <= 0.5 / 256 + 1e-5
        if t > 0:
            flow, confidence = read_flow(toy / "flow" / name)
            assert np.abs(flow - frame.flow).max() <= 0.5 / 64 + 1e-6
            assert np.array_equal(confidence > 0, frame.visible)
    assert not (toy / "flow/toy-001/000000.png").exists(), "the first frame has nothing to flow from"
    assert sorted(path.name for path in (toy / "labels").iterdir()) == ["toy-000", "toy-001"]


def test_the_folder_that_one_is_in_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for out in (".", "..", str(tmp_path)):
        with raises("target-irreplaceable", out):
            _make(Path(out))
    _make(tmp_path / "not/there/yet", num_clips=1)
    assert (tmp_path / "not/there/yet/toy.json").exists()
    (tmp_path / "not").rename(tmp_path / "was")
    link, real = tmp_path / "link", tmp_path / "real"
    real.mkdir()
    link.symlink_to(real)
    _make(link, num_clips=1)
    assert link.is_symlink(), "what it leads to is filled"
    assert (real / "toy.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real", "was"]


def test_videos_show_the_frames(toy: Path) -> None:
    av = pytest.importorskip("av")
    for kind in ("real", "plain", "cg"):
        with av.open(str(toy / kind / "toy-000.mp4")) as container:
            assert container.streams.video[0].average_rate == 15
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert len(frames) == 4
        expected = getattr(render_frame(make_scene(0, 4, SIZE), 3), kind)
        # Colour is stored at half the size, so brightness is what survives.
        assert np.abs(frames[3].astype(float).mean(-1) - expected.astype(float).mean(-1)).mean() < 6


def test_variation_changes_the_real_look_alone(toy: Path, tmp_path: Path) -> None:
    _make(tmp_path / "varied", variation=1.0)
    for file in sorted(path.relative_to(toy) for path in toy.rglob("*") if path.is_file()):
        same = (toy / file).read_bytes() == (tmp_path / "varied" / file).read_bytes()
        assert same == (file.parts[0] not in ("real", "images", "toy.json")), file


def test_a_toy_of_an_earlier_version_is_told(toy: Path, tmp_path: Path) -> None:
    shutil.copytree(toy, tmp_path / "street")
    for kind in ("cg", "cg_images", "depth"):
        shutil.rmtree(tmp_path / "street" / kind)
    settings = json.loads((toy / "toy.json").read_text(encoding="utf-8"))
    (tmp_path / "street/toy.json").write_text(json.dumps(settings | {"version": 1}))
    with raises("artifact-stale", "street", "--overwrite"):
        _make(tmp_path / "street")


def test_same_command_again_does_nothing_and_says_so(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (toy / "labels/toy-000/000000.png").stat().st_mtime_ns
    _make(toy)
    assert "exists already" in capsys.readouterr().out
    assert (toy / "labels/toy-000/000000.png").stat().st_mtime_ns == before


def test_two_runs_give_the_same_bytes(toy: Path, tmp_path: Path) -> None:
    _make(tmp_path / "again")
    files = sorted(path.relative_to(toy) for path in toy.rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file())
    for file in files:
        assert (toy / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file


def test_other_settings_need_overwrite(tmp_path: Path) -> None:
    out = tmp_path / "street"
    _make(out, num_clips=1, num_frames=1)
    old = (out / "images/toy-000/000000.png").read_bytes()
    with raises("artifact-stale", "street", "--overwrite"):
        _make(out, num_clips=1, num_frames=1, seed=3)
    assert (out / "images/toy-000/000000.png").read_bytes() == old
    _make(out, num_clips=1, num_frames=1, seed=3, overwrite=True)
    assert (out / "images/toy-000/000000.png").read_bytes() != old
    assert [path.name for path in tmp_path.iterdir()] == ["street"], "nothing temporary is left"


def test_files_of_others_beside_a_toy_are_never_deleted(tmp_path: Path) -> None:
    out = tmp_path / "toy"
    _make(out, num_clips=1, num_frames=1)
    (out / "work").mkdir()
    with raises("folder-not-empty", "work"):
        _make(out, num_clips=1, num_frames=2, overwrite=True)
    assert (out / "work").is_dir()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_somebody_else_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis.txt").write_text("four years of work")
    with raises("folder-not-empty", str(tmp_path)):
        _make(tmp_path, overwrite=overwrite)
    assert (tmp_path / "thesis.txt").read_text() == "four years of work"


def test_out_may_be_an_empty_folder_but_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    _make(tmp_path / "empty", num_clips=1, num_frames=1)
    assert (tmp_path / "empty/toy.json").is_file()
    (tmp_path / "file").write_text("")
    with raises("folder-required", "file"):
        _make(tmp_path / "file")


def test_a_failure_leaves_neither_the_folder_nor_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes
    written: list[Path] = []

    def fails_later(path: Path, data: bytes) -> int:
        if len(written) == 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", fails_later)
    with raises("disk-full", "street"):
        _make(tmp_path / "street")
    assert len(written) == 10
    assert list(tmp_path.iterdir()) == []


def test_a_url_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with raises("url-unsupported", "memory://x"):
        COMMAND.call(ToyConfig(out="memory://x"), RunOptions())
    assert list(tmp_path.iterdir()) == []


def test_a_toy_tells_how_it_stands(toy: Path, tmp_path: Path) -> None:
    assert COMMAND.status is not None
    assert COMMAND.status(_config(toy), RunOptions(), set()) == "done"
    assert COMMAND.status(_config(tmp_path / "other"), RunOptions(), set()) == "missing"
    assert COMMAND.status(_config(toy, seed=1), RunOptions(), set()).startswith("stale: ")
    assert COMMAND.status(_config(toy, variation=1), RunOptions(), set()).startswith("stale: ")
    assert COMMAND.status(_config(toy), RunOptions(overwrite=True), set()) == "missing"


def test_a_toy_that_a_killed_command_put_aside_comes_back(toy: Path, tmp_path: Path) -> None:
    aside = tmp_path / ".street.999999999.part.old"
    shutil.copytree(toy, aside)
    before = (aside / "real/toy-000.mp4").stat().st_mtime_ns
    _make(tmp_path / "street")
    assert (tmp_path / "street/real/toy-000.mp4").stat().st_mtime_ns == before, "nothing was made again"
    shutil.copytree(toy, aside)
    _make(tmp_path / "street")
    assert [path.name for path in tmp_path.iterdir()] == ["street"]


def test_a_lost_part_is_told(toy: Path, tmp_path: Path) -> None:
    shutil.copytree(toy, tmp_path / "street")
    shutil.rmtree(tmp_path / "street/flow")
    with raises("artifact-damaged", "flow", "--overwrite"):
        _make(tmp_path / "street")
    _make(tmp_path / "street", overwrite=True)
    assert (tmp_path / "street/flow").is_dir()
