"""`v2v table`: reports of evaluations side by side, with published numbers and preferences."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.errors import raises
from tests.unit.training_data import make_workspace
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import read_manifest, write_manifest
from v2vkit.cli.main import cli
from v2vkit.errors import V2VError
from v2vkit.evaluation.metrics.contract import OURS, REAL, REPEAT
from v2vkit.evaluation.papers.published import PUBLISHED
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.table import COMMAND, TableConfig

NAMES = ("spatial-1", "spatial-1-no-flow", "pix2pixhd")


def _report(work: Path, place: str, *, psnr: float, data: str = "short", frames: int = 60, **changes: Any) -> None:
    """A report as `v2v evaluate` writes it."""
    folder = work / "evaluation" / place
    folder.mkdir(parents=True)
    report = {
        "model": {"checkpoint": str(work / "checkpoints" / folder.name), "steps": 7, "fingerprint": "f"},
        "data": data,
        "frames_fingerprint": data,
        "size": [128, 64],
        "shots": 2,
        "left_out": {"fid": "fid: the weights inception-fid are not here. Get them: v2v weights fetch inception-fid."},
        "summary": {
            OURS: {
                "frames": frames,
                "psnr": {"mean": psnr},
                "warp_error": {"mean": 0.02, "of_real": 1.5},
                "kid_lite0": {"value": 1 / psnr},
            },
            REPEAT: {"frames": 60, "psnr": {"mean": 99.0}},
            REAL: {"frames": 60, "warp_error": {"mean": 0.0133}},
        },
        "frames": [],
    }
    (folder / "evaluation.json").write_text(json.dumps(report | changes))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Three models on short clips and one of them on long clips."""
    for number, name in enumerate(NAMES):
        _report(tmp_path / "w", f"short/{name}", psnr=20 - number)
    _report(tmp_path / "w", "long/spatial-1", psnr=15, data="long", frames=200)
    return tmp_path / "w"


def _table(work: Path, **settings: Any) -> list[dict[str, Any]]:
    assert COMMAND.call(TableConfig(**settings), RunOptions(work=str(work))) == []
    tables: list[dict[str, Any]] = json.loads((work / "tables/table.json").read_text())
    return tables


def _lines(work: Path) -> list[list[str]]:
    text = (work / "tables/table.md").read_text()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_models_on_the_same_clips_stand_in_one_table(work: Path) -> None:
    short, long = _table(work)
    assert long["title"] == "long: 200 frames of 2 shots, 128x64"
    assert short["title"].startswith("short: ")
    assert [row["label"] for row in short["rows"]] == ["vid2vid", "pix2pixHD", "no flow", REPEAT, REAL]
    assert [row["label"] for row in long["rows"]] == ["vid2vid", REPEAT, REAL]
    assert short["rows"][0]["values"]["PSNR dB ↑"] == 20
    assert short["rows"][0]["model"]["steps"] == 7


def test_the_best_model_is_bold_whatever_the_baselines_have(work: Path) -> None:
    _table(work, metrics=("psnr", "kid_lite0"))
    head, _, *rows = _lines(work)[:7]
    assert head == ["", "PSNR dB ↑", "KID-lite0 ↓"]
    assert rows[0] == ["vid2vid", "**20.00**", "**0.0500**"]
    assert rows[1] == ["pix2pixHD", "18.00", "0.0556"]
    assert rows[3] == [REPEAT, "99.00", "-"]


def test_rows_choose_order_and_labels(work: Path) -> None:
    rows = ("pix2pixhd=A", "w/spatial-1 = B")
    short, *_ = _table(work, row=rows, baselines=False)
    assert [row["label"] for row in short["rows"]] == ["A", "B"]
    with raises("evaluation-missing", "covst", "pix2pixhd"):
        _table(work, row=("covst=C",))


@pytest.mark.parametrize("rows", [("spatial-1",), ("=A",), ("spatial-1=",), ("a=A", "a=B")])
def test_rows_without_a_name_or_a_label_are_refused(rows: tuple[str, ...], tmp_path: Path) -> None:
    arguments = [argument for row in rows for argument in ("--row", row)]
    result = CliRunner().invoke(cli, ["table", "--work", str(tmp_path), *arguments])
    assert isinstance(result.exception, V2VError)
    assert result.exception.code == "setting-invalid"


def test_published_numbers_are_named_as_such(work: Path) -> None:
    short, *_ = _table(work, published="cityscapes")
    rows = {row["label"]: row["values"] for row in short["rows"]}
    assert rows["vid2vid"]["published: VFID I3D"] == "4.66"
    assert rows["pix2pixHD"]["published: vid2vid preferred, short / long"] == "0.87 / 0.83"
    assert rows["no flow"]["published: vid2vid preferred, short / long"] == "0.67"
    assert rows["COVST"] == {f"published: {key}": text for key, text in PUBLISHED["cityscapes"].row("COVST").items()}
    assert any("Cityscapes" in note and "not comparable" in note for note in short["notes"])
    text = (work / "tables/table.md").read_text()
    assert "**4.66**" not in text
    assert "published: " not in "".join(_table(work)[0]["notes"])


def test_label_fidelity_has_the_two_columns_of_the_papers_and_its_oracle(tmp_path: Path) -> None:
    entry = {"value": 0.4, "miou": 0.4, "pixel_accuracy": 0.7}
    summary = {OURS: {"frames": 60, "label_fidelity": entry}, REAL: {"label_fidelity": entry | {"pixel_accuracy": 0.9}}}
    for name in ("s-flow", "s-flow-no-flow-loss"):
        _report(tmp_path, name, psnr=20, summary=summary)
    row = ("s-flow=S-Flow", "s-flow-no-flow-loss=no L_flow")
    (table,) = _table(tmp_path, row=row, published="s-flow-cityscapes")
    rows = {of["label"]: of["values"] for of in table["rows"]}
    assert rows["S-Flow"]["mIoU of labels ↑"] == 0.4
    assert rows["S-Flow"]["pixel accuracy of labels ↑"] == 0.7
    assert rows[REAL]["pixel accuracy of labels ↑"] == 0.9
    assert rows[REAL]["published: pixel accuracy"] == ".86"
    assert rows["no L_flow"]["published: FID"] == "69.25"
    assert "Miron and Coscas 2019" in table["notes"][0]


def test_preferences_of_a_study_are_those_of_the_first_row(work: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    shares = [{"share": share, "low": share - 0.1, "high": share + 0.1} for share in (0.8, 0.2)]
    pairs = [{"methods": pair, "shares": shares} for pair in (("vid2vid", "pix2pixHD"), ("no flow", "pix2pixHD"))]
    (study / "tally.json").write_text(json.dumps({"pairs": pairs}))
    short, *_ = _table(work, study=str(study))
    rows = {row["label"]: row["values"].get("vid2vid preferred (study)") for row in short["rows"]}
    assert rows == {"vid2vid": None, "pix2pixHD": "0.80 [0.70, 0.90]", "no flow": None, REPEAT: None, REAL: None}


@pytest.mark.parametrize("text", [None, "{}", "[", '{"pairs": []}', '{"pairs": [{"methods": ["a"]}]}'])
def test_a_study_without_answers_is_refused(work: Path, tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "tally.json").write_text(text)
    with raises("tally-missing", str(tmp_path)):
        _table(work, study=str(tmp_path))


def test_left_out_metrics_are_told_once_with_their_reason(work: Path) -> None:
    short, *_ = _table(work)
    assert [note for note in short["notes"] if note.startswith("Left out: FID: ")]
    assert len(short["notes"]) == 1


def test_metrics_that_no_report_has_are_told_when_asked_for(work: Path) -> None:
    table, *_ = _table(work, metrics=("psnr", "ssim"))
    assert table["notes"] == ["Left out: SSIM: no evaluation measured it."]
    table, *_ = _table(work)
    assert not any("SSIM" in note for note in table["notes"])


def test_a_report_older_than_its_checkpoint_is_told(work: Path, tmp_path: Path) -> None:
    make_workspace(tmp_path / "data", num_clips=1, clip_frames=2)
    manifest = read_manifest(Folder(f"{tmp_path}/data/frames"))
    assert manifest is not None
    for name, fingerprint in {"pix2pixhd": "of a later training", "spatial-1": "f"}.items():
        write_manifest(Folder(f"{work}/checkpoints/{name}"), manifest.model_copy(update={"fingerprint": fingerprint}))
    short, *_ = _table(work)
    (note,) = (note for note in short["notes"] if "older than its checkpoint" in note)
    assert note.startswith("pix2pixHD: ")


def test_csv_has_all_tables_and_unrounded_numbers(work: Path) -> None:
    _table(work)
    with (work / "tables/table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert {row["clips"][:5] for row in rows} == {"short", "long:"}
    found = next(row for row in rows if row["model"] == "no flow")
    assert float(found["KID-lite0 ↓"]) == 1 / 19
    assert rows[-1]["PSNR dB ↑"] == ""


def test_several_workspaces_and_single_reports_are_read(work: Path, tmp_path: Path) -> None:
    _report(tmp_path / "other", "spatial-1", psnr=25)
    paths = (
        str(tmp_path / "other"),
        f"{work}/evaluation/short/spatial-1",
        f"{work}/evaluation/short/pix2pixhd/evaluation.json",
    )
    (short,) = _table(work, paths=paths, baselines=False)
    labels = [row["label"] for row in short["rows"]]
    assert labels == ["vid2vid (other/spatial-1)", "vid2vid (w/spatial-1)", "pix2pixHD"]


def test_a_workspace_without_reports_is_told(tmp_path: Path) -> None:
    with raises("evaluation-missing", "v2v evaluate"):
        _table(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"summary": {}, "model": 3, "data": "a", "size": [1, 2]}'])
def test_a_damaged_report_is_named(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "evaluation/spatial-1"
    folder.mkdir(parents=True)
    (folder / "evaluation.json").write_text(text)
    with raises("report-damaged", str(folder)):
        _table(tmp_path)
