"""Settings of training that cannot work, or would change nothing, are refused before any work starts."""

from pathlib import Path
from typing import Any

import pytest

from tests.errors import raises
from v2vkit.artifacts.manifest import ClipInfo, Manifest
from v2vkit.cli.recipe_file import read_recipe
from v2vkit.config import make_config
from v2vkit.stages.train import STAGE
from v2vkit.training.check import check_settings
from v2vkit.training.config import TrainConfig
from v2vkit.training.methods.registry import method_spec

PIPELINES = Path(__file__).parents[2] / "pipelines"
RECIPES = sorted(PIPELINES.glob("*.toml"))
STREET = TrainConfig(domain="street")


def _manifests(*clips: tuple[int, int, int]) -> dict[str, Manifest]:
    """Of clips of (frames, width, height), with flow of every stride."""
    found = tuple(
        ClipInfo(name=f"c{i}", num_frames=n, width=width, height=height) for i, (n, width, height) in enumerate(clips)
    )
    manifest = Manifest(
        v2vkit="0",
        stage="ingest",
        stage_version=1,
        config={"strides": list(range(1, 37))},
        inputs={},
        fingerprint="f",
        units=(found,),
    )
    return {"frames": manifest, "flow": manifest}


LONG = (40, 2048, 1024)


@pytest.mark.parametrize(
    ("clips", "changes", "code", "names"),
    [
        ([(2, 64, 32), (1, 64, 32)], {}, "clip-too-short", ["2", "3", "v2v ingest"]),
        ([LONG, (40, 64, 64)], {}, "size-mismatch", ["64x64", "2048x1024", "--size"]),
        ([LONG], {"lambda_style": 1.0}, "setting-unused", ["--lambda-style", "--perceptual lite0"]),
        ([LONG], {"lambda_perceptual": 5.0}, "setting-unused", ["--lambda-perceptual", "--perceptual lite0"]),
        (
            [LONG],
            {"first_frame": "real", "drop_history": 0.5},
            "setting-unused",
            ["--first-frame self", "--drop-history"],
        ),
        (
            [LONG],
            {"first_frame": "real", "lambda_mask": 5.0},
            "setting-unused",
            ["--first-frame self", "--lambda-mask"],
        ),
        ([LONG], {"domain": "face", "num_labels": 3}, "setting-unused", ["--num-labels"]),
        ([LONG], {"domain": "pose", "edges": False}, "setting-unused", ["--no-edges"]),
        ([LONG], {"domain": "face", "drop_parts": 0.1}, "setting-unused", ["--drop-parts"]),
        (
            [LONG],
            {"method": "pix2pixhd", "sparse": True, "lambda_flow": 1.0},
            "setting-unused",
            ["--sparse", "--lambda-flow"],
        ),
        ([LONG], {"method": "pix2pixhd", "lambda_warp": 1.0}, "setting-unused", ["--lambda-warp", "pix2pixhd"]),
        ([LONG], {"method": "covst", "composition": "published"}, "setting-unused", ["--composition", "covst"]),
        ([LONG], {"composition": "published"}, "setting-unused", ["--composition", "--foreground"]),
        ([LONG], {"domain": "face", "composition": "published"}, "setting-unused", ["--composition", "--foreground"]),
        ([LONG], {"method": "predictor", "loss_ramp": 2.0}, "setting-unused", ["--loss-ramp"]),
        ([LONG], {"method": "prednet", "domain": "frames", "loss_ramp": 2.0}, "setting-unused", ["--loss-ramp"]),
        ([LONG], {"method": "mcnet", "domain": "frames", "loss_ramp": 2.0}, "setting-unused", ["--loss-ramp"]),
        ([LONG], {"method": "pix2pixhd", "max_frame_stride": 2}, "setting-unused", ["--max-frame-stride"]),
        ([LONG], {"method": "segmenter", "compile": True}, "setting-unused", ["--compile", "segmenter"]),
        ([LONG], {"covst_share": 0.5}, "setting-unused", ["--covst-share", "vid2vid"]),
    ],
)
def test_settings_that_cannot_work_or_have_no_effect_are_refused(
    clips: list[tuple[int, int, int]], changes: dict[str, object], code: str, names: list[str]
) -> None:
    config = STREET.model_copy(update=changes)
    with raises(code, *names):
        check_settings(config, _manifests(*clips))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"domain": "face"},
        {"domain": "pose"},
        {"method": "pix2pixhd"},
        {"method": "covst", "covst_share": 0.5, "max_frame_stride": 2, "max_frames": 8},
        {"first_frame": "real"},
        {"first_frame": "image", "drop_history": 0.0, "lambda_mask": 0.0},
        {"flow": False, "lambda_flow": 0.0, "lambda_mask": 0.0},
        {"temporal_scales": 0, "lambda_temporal": 0.0},
        {"lambda_perceptual": 0.0},
        {"foreground": (1,), "composition": "published"},
    ],
    ids=str,
)
def test_defaults_and_what_is_off_anyway_are_not_refused(changes: dict[str, object]) -> None:
    config = STREET.model_copy(update=changes)
    check_settings(config, _manifests(LONG))


def _settings(table: dict[str, Any]) -> dict[str, Any]:
    """The settings of a recipe's table, without the options of a run."""
    return {name: value for name, value in table.items() if name != "work"}


@pytest.mark.parametrize("switch", [{}, {"flow": False}, {"temporal_scales": 0}, {"foreground": ()}], ids=str)
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_and_their_ablations_are_not_refused(path: Path, switch: dict[str, object]) -> None:
    tables = [table for command, table in read_recipe(path) if command == "train"]
    parts = [
        part for table in tables for part in STAGE.parts(make_config(TrainConfig, _settings(table) | switch, path.stem))
    ]
    assert parts
    for part in parts:
        if not set(switch) & set(method_spec(part.method).unused):  # else an ablation of other methods
            check_settings(part, _manifests(LONG))
