"""From in.mp4 to out.mp4 through the command line, on data that the tests make."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from tests.faces import photo
from tests.unit.video_files import read_raw, write_file
from v2vkit.cli.main import cli
from v2vkit.video.probe import probe

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["width=8", "num_down=2", "num_blocks=2", "discriminator_width=8", "sample_every=10", "threads=1"]


def _v2v(*args: str) -> str:
    """The command in this process."""
    done = CliRunner().invoke(cli, list(args), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def _script(*args: str, cwd: Path) -> str:
    """The console script in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "v2vkit", *args], capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_toy_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe of `make demo` with small settings: every stage, then again, then from a changed setting."""
    monkeypatch.chdir(tmp_path)
    changes = [
        "make-toy.num_frames=30",
        "make-toy.size=64x48",
        "train.epochs=2",
        "train.decay=0.5",
        "train.max_frames=6",
    ]
    changes += [f"train.{change}" for change in QUICK]
    recipe = tmp_path / "toy.toml"
    text = (ROOT / "pipelines/toy.toml").read_text()
    recipe.write_text(text.replace("duration = 4.0", "duration = 1.2").replace("start = 4.0", "start = 1.2"))
    command = [
        "run",
        str(recipe),
        "--work",
        "toy",
        "--workers",
        "1",
        *(part for change in changes for part in ("--set", change)),
    ]
    assert "train: missing" in _v2v(*command, "--dry-run")
    output = _v2v(*command)
    assert "plan: spatial-1, tiny, labels" in output
    assert "perceptual 10 (EfficientNet-lite0" in output
    assert "repeat first frame" in output
    work = tmp_path / "toy"
    assert len(read_raw(work / "toy.mp4")[0]) == 24
    report = json.loads((work / "evaluation/spatial-1/evaluation.json").read_text())
    assert set(report["summary"]) == {"ours", "repeat first frame", "source shown as is", "real frames"}
    sheet = cv2.imread(str(work / "evaluation/spatial-1/contact.png"))
    assert sheet is not None
    assert sheet.shape[0] == 3 * 48
    again = _v2v(*command)
    assert again.count("up to date, nothing to do") == 6  # five artifacts and the evaluation
    states = _v2v(*command, "--set", "train.lambda_flow=3", "--dry-run")
    assert "train: stale: changed lambda_flow (was 10.0, now 3.0)" in states
    shown = _v2v("show", "flow", "--work", "toy", "--out", "flow.png")
    assert "flow.png" in shown
    assert "everything is in order" in _v2v("check", "--work", "toy")


@pytest.mark.slow
def test_a_talking_face_in_five_commands(tmp_path: Path) -> None:
    """One video of a face: the README's five commands, with the smallest settings."""
    pytest.importorskip("mediapipe")
    frames = [photo(200, 200, dx=round(6 * np.sin(t / 4)), dy=round(3 * np.cos(t / 5))) for t in range(40)]
    write_file(tmp_path / "in.mp4", frames, rate=Fraction(25), audio="aac")
    _script("ingest", "in.mp4", "--work", "w", "--size", "64x64", "--clip-frames", "20", cwd=tmp_path)
    assert "40 frames in 2 clips" in _script("make-sketches", "--work", "w", "--workers", "2", cwd=tmp_path)
    _script("extract-flow", "--work", "w", "--workers", "2", cwd=tmp_path)
    options = [part for change in QUICK for part in ("--" + change.replace("_", "-")).split("=")]
    train = ["train", "--stage", "spatial-1", "--work", "w", "--preset", "tiny", "--epochs", "1"]
    assert "plan: spatial-1, tiny, face" in _script(*train, *options, cwd=tmp_path)
    _script("render", "in.mp4", "out.mp4", "--work", "w", cwd=tmp_path)
    assert len(read_raw(tmp_path / "out.mp4")[0]) == 40
    assert probe(tmp_path / "out.mp4").has_audio
    assert "landmark error" in _script("evaluate", "w", "--work", "w", cwd=tmp_path)
