"""An estimator in one file (this one) with one row: flags, doctor, messages and docs know of it."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.conditions import set_estimators
from tests.errors import raises
from tests.flow_scenes import write_frames
from tests.stage_results import make, sample_files
from v2vkit.cli.main import cli
from v2vkit.conditions.landmarks import landmarks_from_json
from v2vkit.config import make_config
from v2vkit.estimators import registry
from v2vkit.estimators.registry import Extra, Row, how_to_install, open_estimator
from v2vkit.stages import doctor
from v2vkit.stages.ingest import IngestConfig
from v2vkit.stages.make_sketches import STAGE, SketchConfig

ROOT = Path(__file__).resolve().parents[2]
EXTRA = Extra("moon", "moonface", "faces in the moon", newest_python=(3, 11))


class MoonFace:
    """Sees a face in every picture."""

    name, version = "moon", "1"

    def __init__(self, weights: str | None = None) -> None:
        self.weights = weights

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return np.stack([np.linspace(5, 25, 68), np.linspace(4, 20, 68)], 1).astype(np.float32)


@pytest.fixture(autouse=True)
def _one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        Row("face", "moon", f"{__name__}:MoonFace", ("weights",), EXTRA),
        Row("face", "mars", "no_such_package.of_ours:Face", (), EXTRA),
    ]
    set_estimators(monkeypatch, [*registry.ESTIMATORS, *rows])


@pytest.mark.parametrize("command", ["make-sketches", "ingest"])
def test_flags_offer_it(command: str) -> None:
    result = CliRunner().invoke(cli, [command, "--help"])
    assert "--face [mediapipe|dlib|moon|mars]" in " ".join(result.output.split())
    wrong = CliRunner().invoke(cli, [command, "x", "--face", "venus"])
    assert wrong.exit_code == 2
    assert "'mediapipe', 'dlib', 'moon', 'mars'" in " ".join(wrong.output.split())


def test_recipes_take_it_and_name_it() -> None:
    assert make_config(SketchConfig, {"face": "moon"}, "recipe").face == "moon"
    with raises("setting-invalid", "face", "'mediapipe', 'dlib', 'moon' or 'mars'", "'venus'"):
        make_config(SketchConfig, {"face": "venus"}, "recipe")


def test_the_docs_list_it() -> None:
    page = runpy.run_path(str(ROOT / "docs/generate_cli.py"))["document"]()
    assert page.count("[mediapipe|dlib|moon|mars]") == 2


def test_its_settings_are_those_of_its_row() -> None:
    settings = {"sources": ("a",), "size": "64x64", "crop": "face", "face_weights": "w.dat"}
    assert make_config(IngestConfig, settings | {"face": "moon"}, "test").face_weights is not None
    with raises("setting-invalid", "mars", "--face-weights", "--face dlib or --face moon"):
        make_config(IngestConfig, settings | {"face": "mars"}, "test")


def test_a_stage_runs_with_it(tmp_path: Path) -> None:
    write_frames(tmp_path, {"a": [np.zeros((24, 32, 3), np.uint8)] * 2})
    manifest = make(STAGE, SketchConfig(face="moon", smooth=0), tmp_path)
    assert manifest.estimator == {"name": "moon", "version": "1"}
    points = landmarks_from_json(sample_files(tmp_path / "sketches", manifest, "a/000001")["json"]).landmarks
    assert points is not None
    np.testing.assert_allclose(points, MoonFace()(np.zeros(0)), atol=1e-3)
    with raises("setting-unused", "mars", "--weights", "--face dlib or --face moon"):
        make(STAGE, SketchConfig(face="mars", weights="x"), tmp_path)


def test_a_missing_package_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 11, 0, "final", 0))
    with raises("library-missing", "mars", "no_such_package", "pip install 'v2vkit[moon]'"):
        open_estimator("face", "mars")
    monkeypatch.setattr(sys, "version_info", (3, 12, 0, "final", 0))
    assert "use Python 3.11" in how_to_install("moon")


def test_doctor_has_a_line_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.diagnose("work", lambda name: "7.7" if name == "moonface" else doctor.version_of(name))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("moon ")]
    assert "7.7" in line
    assert "faces in the moon" in line
