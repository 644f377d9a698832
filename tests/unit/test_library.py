"""v2vkit as a library: what `import v2vkit` gives, and the functions of the stages."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import v2vkit
from tests.errors import raises
from tests.unit.ingesting import label_maps, write_images
from tests.unit.test_layers import HEAVY, _modules_after
from tests.unit.video_files import moving_frames
from v2vkit.stages import COMMANDS, FUNCTIONS, find_command
from v2vkit.stages.functions import stage_function

ROOT = Path(__file__).resolve().parents[2]


def test_importing_it_loads_nothing() -> None:
    assert not _modules_after("import v2vkit; dir(v2vkit)") & {*HEAVY, "numpy", "pydantic", "click"}


def test_a_stage_is_loaded_without_what_it_runs_with() -> None:
    assert not _modules_after("import v2vkit; v2vkit.train; v2vkit.ingest") & {*HEAVY, "click"}


def test_every_public_name_is_there() -> None:
    assert set(v2vkit.__all__) <= set(dir(v2vkit))
    for name in v2vkit.__all__:
        assert getattr(v2vkit, name) is getattr(v2vkit, name)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = v2vkit.trian  # type: ignore[attr-defined]


def test_no_public_name_is_a_package_within() -> None:
    """Importing that would put it in the name's place."""
    inside = {path.stem for path in (ROOT / "v2vkit").iterdir()}
    assert not inside & set(v2vkit.__all__)


def test_every_command_but_three_is_a_function() -> None:
    assert set(COMMANDS) - set(FUNCTIONS.values()) == {"run", "estimate-cost", "weights"}
    for name, command in FUNCTIONS.items():
        function = stage_function(name)
        shown = inspect.signature(function).parameters
        target = find_command(command)
        assert ("work" in shown) == ("work" in target.options)
        keywords = [parameter for parameter in shown.values() if parameter.kind is parameter.KEYWORD_ONLY]
        assert len(keywords) >= len(shown) - 1
        assert function.__doc__ is not None
        for parameter in shown:
            assert f"    {parameter}: " in function.__doc__, f"{name}: {parameter}"


def test_signatures_show_the_settings_of_all_groups() -> None:
    shown = inspect.signature(v2vkit.train).parameters
    assert shown["preset"].default == "small"
    assert shown["epochs"].default == 40
    assert shown["continue_"].default is False
    assert inspect.signature(v2vkit.render).parameters["source"].default is inspect.Parameter.empty


def test_a_stage_runs_and_tells_what_it_did(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", moving_frames(8))
    labels = write_images(tmp_path / "labels", label_maps(8))
    work = tmp_path / "work"
    done = v2vkit.ingest(work, sources=[images], labels=labels, num_labels=5, cuts="none", workers=1)
    assert done.message.startswith("frames: 8 frames in 1 clip, 1 shard")
    assert done.problems == ()
    again = v2vkit.ingest(work, sources=[images], labels=labels, num_labels=5, cuts="none", workers=1)
    assert "up to date" in again.message
    with raises("artifact-stale", "lossless"):
        v2vkit.ingest(work, sources=[images], labels=labels, num_labels=5, cuts="none", lossless=True, workers=1)


def test_a_command_gives_what_it_prints_and_its_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = write_images(tmp_path / "images", moving_frames(2))
    v2vkit.ingest(tmp_path, sources=[images], cuts="none", min_frames=2, workers=1)
    capsys.readouterr()
    done = v2vkit.check(tmp_path)
    assert done.message == capsys.readouterr().out.rstrip()
    assert "frames: 2 frames in 1 clip" in done.message
    assert len(done.problems) == 1
    assert "1 clip has fewer than 3 frames" in done.problems[0]


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"learning_rat": 1e-4}, ["learning_rat:", "learning_rate"]),
        ({"epochs": 0}, ["epochs", "1", "0"]),
        ({"foreground": "car"}, ["foreground", "'car'"]),
        ({"workers": 2}, ["workers"]),
    ],
)
def test_wrong_settings_are_told_as_in_a_recipe(tmp_path: Path, settings: dict[str, object], names: list[str]) -> None:
    with raises("setting-invalid", "v2vkit.train", *names):
        v2vkit.train(tmp_path, **settings)
    assert not list(tmp_path.iterdir())


def test_only_the_workspace_goes_without_its_name() -> None:
    with pytest.raises(TypeError, match="too many positional arguments"):
        v2vkit.train("work", "spatial-1")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="multiple values for argument 'work'"):
        v2vkit.train("work", **{"work": "other"})
    with pytest.raises(TypeError, match="too many positional arguments"):
        v2vkit.make_toy("toy")  # type: ignore[call-arg]


def test_types_are_known(tmp_path: Path) -> None:
    """To the type checkers of those who use it: names, arguments and results, and no others."""
    assert (ROOT / "v2vkit/py.typed").is_file()
    good = tmp_path / "good.py"
    good.write_text(
        "import numpy as np\nfrom numpy.typing import NDArray\nimport v2vkit\n"
        "model: v2vkit.Model = v2vkit.load('work', device='cpu')\n"
        "frames: list[NDArray[np.uint8]] = list(model.generate(np.zeros((2, 48, 64), np.uint8)))\n"
        "for frame in model.render('in.mp4', align=True):\n    frames.append(frame)\n"
        + "".join(f"message_{name}: str = v2vkit.{name}().message\n" for name in FUNCTIONS)
    )
    bad = tmp_path / "bad.py"
    bad.write_text(
        "import v2vkit\nv2vkit.trian('work')\nv2vkit.load('work', devcie='cpu')\nv2vkit.load(3)\n"
        "v2vkit.train(3)\nx: int = v2vkit.train('work').message\nv2vkit.load('work').render('in.mp4', algin=True)\n"
    )
    skipped = ",".join(f"{name}.*" for name in ("torch", "pydantic", "safetensors", "fsspec", "scipy", "PIL"))
    config = tmp_path / "mypy.ini"  # what is heavy and not in the signatures is left out: seconds
    config.write_text(
        f"[mypy]\nfollow_imports = silent\nignore_missing_imports = true\n[mypy-{skipped}]\nfollow_imports = skip\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", f"--config-file={config}", f"--cache-dir={tmp_path}", str(good), str(bad)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": str(ROOT)},
    )
    lines = [line.partition(".py:")[2].partition(":")[0] for line in done.stdout.splitlines() if "bad.py:" in line]
    assert sorted({int(number) for number in lines}) == [2, 3, 4, 5, 6, 7], done.stdout
    assert "good.py" not in done.stdout, done.stdout
