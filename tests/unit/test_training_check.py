"""Settings of training that cannot work, or would change nothing, are refused before any work starts."""

from pathlib import Path

import pytest

from v2vkit.artifacts.manifest import ClipInfo, Manifest
from v2vkit.cli.recipe_file import read_recipe
from v2vkit.config import make_config
from v2vkit.errors import V2VError
from v2vkit.stages.train import STAGE
from v2vkit.training.check import check_settings
from v2vkit.training.config import TrainConfig

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
    ("clips", "changes", "message"),
    [
        ([(2, 64, 32), (1, 64, 32)], {}, "longest clip has 2 frames; training needs at least 3.*Ingest longer shots"),
        ([LONG, (40, 64, 64)], {}, r"several sizes \(64x64, 2048x1024\).*one --size"),
        ([LONG], {"lambda_style": 1.0}, "--lambda-style need a network"),
        ([LONG], {"lambda_perceptual": 5.0}, "--perceptual lite0.*Leave out --lambda-perceptual"),
        ([LONG], {"first_frame": "real", "drop_history": 0.5}, "are for --first-frame self.*Leave out --drop-history"),
        ([LONG], {"first_frame": "real", "lambda_mask": 5.0}, "are for --first-frame self.*Leave out --lambda-mask"),
        ([LONG], {"domain": "face", "num_labels": 3}, "are for streets.*Leave out --num-labels"),
        ([LONG], {"domain": "pose", "edges": False}, "are for streets.*Leave out --no-edges"),
        ([LONG], {"domain": "face", "drop_parts": 0.1}, "is for poses and DensePose.*Leave out --drop-parts"),
        (
            [LONG],
            {"method": "pix2pixhd", "sparse": True, "lambda_flow": 1.0},
            "--sparse and --lambda-flow mean",
        ),
        ([LONG], {"method": "pix2pixhd", "lambda_warp": 1.0}, "--lambda-warp mean nothing to --method pix2pixhd"),
        ([LONG], {"method": "covst", "composition": "published"}, "--composition mean nothing to --method covst"),
        ([LONG], {"method": "pix2pixhd", "max_frame_stride": 2}, "--max-frame-stride mean nothing"),
        ([LONG], {"covst_share": 0.5}, "--covst-share mean nothing to --method vid2vid"),
    ],
)
def test_what_cannot_work_or_changes_nothing_is_refused(
    clips: list[tuple[int, int, int]], changes: dict[str, object], message: str
) -> None:
    config = STREET.model_copy(update=changes)
    with pytest.raises(V2VError, match=message):
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
        {"domain": "face", "composition": "published"},  # the layers of imported weights
    ],
    ids=str,
)
def test_defaults_and_what_is_off_anyway_are_not_refused(changes: dict[str, object]) -> None:
    config = STREET.model_copy(update=changes)
    check_settings(config, _manifests(LONG))


@pytest.mark.parametrize("switch", [{}, {"flow": False}, {"temporal_scales": 0}, {"foreground": ()}], ids=str)
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_and_their_ablations_are_not_refused(path: Path, switch: dict[str, object]) -> None:
    tables = [table for command, table in read_recipe(path) if command == "train"]
    parts = [part for table in tables for part in STAGE.parts(make_config(TrainConfig, table | switch, path.stem))]
    assert parts
    for part in parts:
        check_settings(part, _manifests(LONG))
