"""`v2v report`: one page about a workspace, complete in itself, also in a real browser."""

import json
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from tests.errors import raises
from tests.unit.training_data import make_workspace
from tests.unit.video_files import moving_frames, write_file
from tests.unit.webdriver import browser, needs_chromium
from tests.whole_way import train
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import encode_png
from v2vkit.artifacts.manifest import read_manifest
from v2vkit.evaluation.overview.curves import downsampled, svg
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.report import COMMAND, ReportConfig, command_line


def _report(work: Path, **settings: object) -> tuple[str, list[str]]:
    problems = COMMAND.call(ReportConfig.model_validate(settings), RunOptions(work=str(work)))
    return (work / "report.html").read_text(encoding="utf-8"), problems


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained workspace with losses, grids, an evaluation and two videos, one of which browsers do not play."""
    folder = tmp_path_factory.mktemp("report")
    make_workspace(folder / "work", num_clips=2, clip_frames=5)
    work = folder / "work"
    train(work, domain="street", num_labels=12, sample_every=2, tensorboard=True)
    out = work / "evaluation/spatial-1"
    out.mkdir(parents=True)
    entry = {"frames": 8, "faces_missed": 0, "psnr": {"mean": 21.5}, "landmark_error": None}
    document = {"notes": ["a <note>"], "summary": {"ours": entry, "repeat <first>": entry | {"psnr": {"mean": 1234.5}}}}
    (out / "evaluation.json").write_text(json.dumps(document))
    (out / "contact.png").write_bytes(encode_png(np.zeros((4, 4, 3), np.uint8)))
    write_file(work / "a.mp4", moving_frames(50), rate=25)
    write_file(work / "b.mkv", moving_frames(50), rate=25)
    return work


def test_the_page_shows_everything_and_loads_nothing(work: Path) -> None:
    text, problems = _report(work)
    assert problems == []
    assert set(re.findall(r'(?:src|href)="(?!data:|#)([^"]*)"', text)) == set(), "nothing from elsewhere"
    shown = unescape(text)
    for part in ("frames", "v2v train", "10 frames", "32x24", "loss/", "21.5", "a <note>", "repeat <first>"):
        assert part in shown
    assert "<note>" not in text, "escaped"
    assert len(re.findall("<video ", text)) == 2
    assert text.count("data:video/mp4") == 2, "Matroska is converted"
    assert "frames_missed" not in text
    assert text == _report(work)[0], "the same page again"


@needs_chromium
def test_the_page_works_in_a_browser(work: Path, tmp_path: Path) -> None:
    _report(work)
    with browser(tmp_path) as page:
        page.open(f"file://{work}/report.html")
        page.until("[...document.querySelectorAll('video')].every(v => v.readyState >= 2)")
        assert page.run("return [...document.querySelectorAll('nav a')].map(a => a.textContent)") == [
            *("Recipe", "Data", "Training", "Evaluation", "Videos")
        ]
        assert page.run("return [...document.images].filter(i => !i.hidden).every(i => i.naturalWidth > 0)")
        assert page.run("return document.querySelectorAll('polyline').length") > 2
        visible = "[...document.querySelectorAll('.grids img')].filter(i => !i.hidden).map(i => i.dataset.step)"
        last = page.run(f"return {visible}")
        page.run("const s = document.querySelector('.grids input'); s.value = 0; s.dispatchEvent(new Event('input'))")
        assert page.run(f"return {visible}") == ["1"] != last
        videos = "[...document.querySelectorAll('video')]"
        page.click("#play")
        page.until(f"{videos}.every(v => v.currentTime > 0.2)")
        page.click("#play")
        page.until(f"{videos}.every(v => v.paused)")
        assert page.run(f"return new Set({videos}.map(v => v.currentTime)).size") == 1, "in step"
        page.run("const s = document.getElementById('seek'); s.value = 0.5; s.dispatchEvent(new Event('input'))")
        page.until(f"{videos}.every(v => !v.seeking && Math.abs(v.currentTime - 1) < 0.05)")
        page.click("#forth")
        page.until(f"{videos}.every(v => !v.seeking && Math.abs(v.currentTime - 1.04) < 0.03)")
        page.run("const s = document.getElementById('seek'); s.value = 0.98; s.dispatchEvent(new Event('input'))")
        page.click("#play")
        page.until("document.getElementById('play').textContent === 'Play'")
        assert page.errors() == []


def test_videos_have_captions(work: Path, tmp_path: Path) -> None:
    file = write_file(tmp_path / "x=y.mp4", moving_frames(3))
    out = tmp_path / "page.html"
    _report(work, video=(f"ours={work / 'a.mp4'}", str(file)), out=str(out))
    assert re.findall("</video><figcaption>(.*?)<", out.read_text(encoding="utf-8")) == ["ours", "x=y"]
    with raises("file-missing", "nowhere.mp4"):
        _report(work, video=("a=nowhere.mp4",))


def test_a_workspace_can_be_named(work: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    COMMAND.call(ReportConfig(workspace=str(work), out=str(out)), RunOptions(work=str(tmp_path)))
    assert "v2v train" in out.read_text(encoding="utf-8")
    with raises("artifact-missing", str(tmp_path)):
        _report(tmp_path)
    with raises("url-unsupported", "memory://"):
        _report(work, out="memory://report.html")


def test_commands_name_what_is_not_a_default(work: Path) -> None:
    manifest = read_manifest(Folder(str(work)) / "checkpoints/spatial-1")
    assert manifest is not None
    line = command_line(manifest)
    assert line.startswith("v2v train ")
    for part in ("--num-labels 12", "--epochs 1", "--no-flow"):
        assert part in line
    assert "--ema" not in line
    changed = manifest.model_copy(update={"stage": "ingest", "config": {"sources": ["my clip.mp4"], "lossless": True}})
    assert command_line(changed) == "v2v ingest 'my clip.mp4' --lossless"
    table = {"name": "cityscapes", "classes": [{"id": 0, "name": "road"}]}
    labelled = manifest.model_copy(update={"stage": "ingest", "config": {"sources": ["a"], "classes": table}})
    assert command_line(labelled) == "v2v ingest a --classes cityscapes"
    styled = manifest.model_copy(update={"stage": "sample-style", "config": {"from_": "a.png", "class_": ["3=1"]}})
    assert command_line(styled) == "v2v sample-style --class 3=1 --from a.png"


def test_an_evaluation_that_is_damaged_is_named(work: Path) -> None:
    report = work / "evaluation/spatial-1/evaluation.json"
    good = report.read_bytes()
    try:
        for text in ("{", "[]", '{"summary": 3}'):
            report.write_text(text)
            with raises("evaluation-damaged", str(report)):
                _report(work)
    finally:
        report.write_bytes(good)


def test_curves_are_means_of_neighbours() -> None:
    curve = downsampled("loss/a", [(step, float(step % 2)) for step in range(1, 1201)])
    assert len(curve.values) == 300
    assert set(curve.values) == {0.5}
    assert (curve.steps[:2], curve.last) == ((1, 5), 0.0)
    resumed = downsampled("loss", [(1, 1.0), (2, 5.0), (2, 2.0), (3, float("nan"))])
    assert (resumed.steps, resumed.values) == ((1, 2), (1.0, 2.0))
    assert svg(downsampled("none", [(1, float("inf"))])) == ""
    assert "polyline" in svg(resumed)
