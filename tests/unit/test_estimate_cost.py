"""`v2v estimate-cost`: rates of a sample, scaled to hours of footage."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.errors import raises
from tests.unit.video_files import moving_frames, write_file
from v2vkit.cli import estimate_cost
from v2vkit.cli.main import EXIT_PROBLEMS, cli
from v2vkit.errors import V2VError

RECIPE = """
[ingest]
sources = ["{video}"]
size = "32x32"

[[extract-flow]]

[[extract-flow]]
work = "elsewhere"

[evaluate]
data = "elsewhere"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    write_file(tmp_path / "a.mp4", moving_frames(40))
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE.replace("{video}", str(tmp_path / "a.mp4")))
    return file


def test_frames_bytes_and_core_hours_of_every_stage(recipe: Path, tmp_path: Path) -> None:
    arguments = ["estimate-cost", str(recipe), "--hours", "10", "--sample", "32"]
    done = CliRunner().invoke(cli, [*arguments, "--work", str(tmp_path / "w"), "--json-file", str(tmp_path / "c.json")])
    assert done.exit_code == EXIT_PROBLEMS, done.output  # two tables are not estimated
    assert "900,000 frames" in done.output
    assert "1 table of other workspaces" in done.output
    assert "evaluate: not estimated" in done.output
    found = json.loads((tmp_path / "c.json").read_text())
    assert (found["frames"], found["fps"]) == (900_000, "25")
    assert [row["stage"] for row in found["stages"]] == ["ingest", "extract-flow"]
    for row in found["stages"]:
        assert row["core_hours"] > 0
        assert row["bytes"] > 900_000 * 100
    assert not (tmp_path / "w").exists()


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").unlink()  # measuring would find that first
    result = CliRunner().invoke(cli, ["estimate-cost", str(recipe), "--json-file", f"{recipe}/c.json"])
    assert isinstance(result.exception, V2VError)
    assert str(recipe) in str(result.exception)


def test_the_time_to_start_is_not_scaled() -> None:
    short, long = estimate_cost._Sample(10.0, 20.0, 8, 800), estimate_cost._Sample(11.0, 22.0, 32, 3200)
    from tests.unit.fake_stage import INVERT, InvertConfig

    cost = estimate_cost._scaled(INVERT, InvertConfig(), short, long, 24 * 3600)
    assert cost.core_hours == pytest.approx(1.0)
    assert cost.hours == pytest.approx(2.0)
    assert cost.bytes == 24 * 3600 * 100


def test_a_recipe_without_footage_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text("[extract-flow]\n")
    result = CliRunner().invoke(cli, ["estimate-cost", str(file)])
    with raises("table-missing", "r.toml"):
        assert result.exception is not None
        raise result.exception
