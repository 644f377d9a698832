"""Finds and reads the reports of `v2v evaluate` (evaluation.json)."""

import json
from dataclasses import dataclass
from typing import Any

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import read_manifest
from v2vkit.config import SPATIAL_STAGES
from v2vkit.errors import V2VError
from v2vkit.evaluation.report import JSON_NAME

_LABELS: dict[str, str] = {
    **dict.fromkeys(map(str, SPATIAL_STAGES), "vid2vid"),
    "pix2pixhd": "pix2pixHD",
    "covst": "COVST",
    "pix2pix": "pix2pix",
    "s-flow": "S-Flow",
}
"""Checkpoint -> label of its row."""
_MODEL = ("checkpoint", "fingerprint")
"""Texts about the model that a report has."""


@dataclass(frozen=True)
class Result:
    """One report: a model on one set of held-out clips.

    Attributes:
        place: its folder.
        workspace: name of the workspace; the folder's own name if it lies in none.
        name: the folder's name, such as `spatial-1-no-flow`.
        data: workspace of the held-out clips.
        report: the content of evaluation.json.
    """

    place: str
    workspace: str
    name: str
    data: str
    report: dict[str, Any]

    @property
    def summary(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.report["summary"]
        return found

    @property
    def group(self) -> tuple[str, ...]:
        """Results with the same frames and size stand in one table."""
        report = self.report
        return (self.data, report.get("unpaired", ""), report["frames_fingerprint"], str(report["size"]))

    @property
    def label(self) -> str:
        """Its row: the method, or the variant with spaces for hyphens."""
        for checkpoint, label in _LABELS.items():
            if self.name == checkpoint:
                return label
            if self.name.startswith(f"{checkpoint}-"):
                return self.name.removeprefix(f"{checkpoint}-").replace("-", " ")
        return self.name

    @property
    def stale(self) -> bool:
        """Whether the checkpoint has been trained again since; one that was removed is not."""
        model = self.report["model"]
        manifest = read_manifest(Folder(model["checkpoint"]))
        return manifest is not None and manifest.fingerprint != model["fingerprint"]


def find_results(place: str) -> list[Result]:
    """The reports of a workspace (`evaluation/NAME` and `evaluation/GROUP/NAME`), or of one report's folder.

    Raises:
        V2VError: there is none, or one cannot be read.
    """
    folder = Folder(place.removesuffix(f"/{JSON_NAME}"))
    if folder.exists(JSON_NAME):
        before, inside, _ = folder.url.rpartition("/evaluation/")
        return [_read(folder, workspace=_last(before) if inside else _last(folder.url))]
    inner = folder / "evaluation"
    first = [inner / name for name in sorted(inner.names())]
    second = [of / name for of in first if not of.exists(JSON_NAME) and not of.is_file for name in sorted(of.names())]
    found = [_read(of, workspace=_last(folder.url)) for of in (*first, *second) if of.exists(JSON_NAME)]
    if not found:
        raise V2VError(
            "evaluation-missing",
            f"There is no report of an evaluation in {place}.",
            "Make one: `v2v evaluate DATA --work WORKSPACE`, or name another folder.",
        )
    return found


def _read(folder: Folder, *, workspace: str) -> Result:
    """One report.

    Raises:
        V2VError: it is damaged, or another version wrote it.
    """
    try:
        report = json.loads(folder.read(JSON_NAME))
        summary = report["summary"]
        width, height = report["size"]
        texts = (report["data"], report["frames_fingerprint"], *(report["model"][key] for key in _MODEL))
        whole = all(isinstance(text, str) for text in texts) and isinstance(width * height, int)
        whole = whole and all(isinstance(entry, dict) for entry in summary.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise V2VError(
            "report-damaged",
            f"{folder.url}/{JSON_NAME} is damaged, or another version wrote it.",
            "Evaluate again: `v2v evaluate DATA`.",
        )
    return Result(folder.url, workspace, _last(folder.url), report["data"], report)


def _last(url: str) -> str:
    return url.rstrip("/").rpartition("/")[2]
