"""The examples of docs/library.md run, in their order, on a tiny workspace."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conditions import use_estimator
from tests.unit import test_make_sketches as sketches
from tests.unit.rendering import save_untrained
from tests.unit.video_files import write_file
from v2vkit.stages import FUNCTIONS

PAGE = Path(__file__).resolve().parents[2] / "docs/library.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_every_function_is_named() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in FUNCTIONS if f"`{name}`" not in text] == []


def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`anna` is a face model that is not trained; its estimator sees a face wherever there is one."""
    monkeypatch.chdir(tmp_path)
    use_estimator(monkeypatch, "face", "mediapipe", f"{sketches.__name__}:FakeFace")
    pictures = sketches.scene([120, 124, 128])
    save_untrained(tmp_path / "anna", "face", size=(90, 80))
    np.save("pictures.npy", pictures)
    np.save("landmarks.npy", [sketches.FakeFace()(image) for image in pictures])
    write_file(tmp_path / "in.mp4", sketches.scene([160] * 20))
    names: dict[str, Any] = {}
    shown = []
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), names)
        shown.append(capsys.readouterr().out)
    assert len(BLOCKS) == 11
    assert len(names["frames"]) == 12
    assert (tmp_path / "work/checkpoints/spatial-1/model.safetensors").is_file()
    assert "checkpoints/spatial-1" in shown[0]
    assert shown[2].count("(32, 64, 3)") == 6
    assert shown[-3].count("(80, 90, 3)") == 10
    assert "out.mp4: 10 frames, 25 frames per second." in shown[-2]
    mistakes = shown[-1].splitlines()
    assert len(mistakes) == 4
    for text, line in zip(("is not a setting", "64x8; the model takes 64x32", "101", "nowhere"), mistakes, strict=True):
        assert text in line
