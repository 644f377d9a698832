"""The error profile of predicted labels: its groups and its numbers, counted by hand."""

import numpy as np
import pytest

from v2vkit.evaluation.prediction import PredictionScores
from v2vkit.evaluation.prediction_profile import (
    ErrorProfile,
    is_profiled,
    pixel_groups,
    plot_profile,
    profile_json,
    profile_text,
)


def halves(border: int, height: int = 4, width: int = 12) -> np.ndarray:
    """Label 0 to the left of a column, label 1 from there on."""
    labels = np.zeros((height, width), np.uint8)
    labels[:, border:] = 1
    return labels


def test_every_known_pixel_is_in_one_group_of_each_kind() -> None:
    real, last = halves(6), halves(4)
    real[0, 0] = 255
    flow = np.zeros((4, 12, 2), np.float32)
    flow[:, 4:8, 0], flow[:, 8:, 1] = 1.0, -3.0
    groups = pixel_groups(real, last, flow, 2)
    pixels = {name: int(mask.sum()) for name, mask in groups.items()}
    assert pixels == {
        "all": 47,
        "within 2 px of a border": 16 + 7,  # two columns on each side, and what is around the unknown corner
        "inside an object": 47 - 23,
        "label as in the last map": 47 - 8,
        "label has changed": 8,
        "moves < 0.5 px a frame": 15,
        "moves 0.5 to 2 px": 16,
        "moves >= 2 px": 16,
    }
    assert not any(mask[0, 0] for mask in groups.values())


def test_without_flow_there_are_no_groups_of_motion() -> None:
    assert not [name for name in pixel_groups(halves(6), halves(4), None, 2) if name.startswith("moves")]


def profile_of(frames: int = 5) -> dict[str, object]:
    scores, profile = PredictionScores(), ErrorProfile()
    last = halves(6)
    for step in range(1, frames + 1):
        real = halves(6 - step)
        for name, found in (("copy", last), ("perfect", real)):
            scores.add_labels(name, step, found, real, 2)
            if is_profiled(step, frames):
                profile.add(name, step, found, real, pixel_groups(real, last, None, 2))
    return profile_json(profile, scores, {0: "road"})


def test_errors_of_a_moving_border() -> None:
    found = profile_of()
    rows = {(row["step"], row["group"]): row for row in found["groups"]}  # type: ignore[attr-defined]
    assert {step for step, _ in rows} == {1, 5}
    at_5 = {name: row for (step, name), row in rows.items() if step == 5}
    assert at_5["all"]["error"] == {"copy": pytest.approx(5 / 12, abs=1e-6), "perfect": 0}
    assert at_5["label has changed"]["error"]["copy"] == 1
    assert at_5["label has changed"]["of_errors"] == {"copy": 1, "perfect": 0}
    assert at_5["label as in the last map"]["share"] == pytest.approx(7 / 12, abs=1e-6)
    # Columns 0 to 2 lie near the border between columns 0 and 1; 1 and 2 are wrong.
    assert at_5["within 2 px of a border"]["error"]["copy"] == pytest.approx(2 / 3, abs=1e-6)
    assert rows[1, "all"]["error"]["copy"] == pytest.approx(1 / 12, abs=1e-6)


def test_classes_have_their_share_and_their_iou_at_each_step() -> None:
    road, other = profile_of()["classes"]  # type: ignore[misc]
    assert (road["name"], "name" in other) == ("road", False)
    assert road["share"] == pytest.approx((5 + 4 + 3 + 2 + 1) / 60, abs=1e-6)
    assert road["iou"]["copy"] == {"1": pytest.approx(5 / 6, abs=1e-6), "5": pytest.approx(1 / 6, abs=1e-6)}
    assert other["iou"]["perfect"] == {"1": 1, "5": 1}


def test_the_tables_show_the_last_step() -> None:
    lines = profile_text(profile_of()).splitlines()
    assert lines[0].split() == ["wrong", "pixels", "at", "t+5", "pixels", "copy", "perfect"]
    assert lines[1].split() == ["all", "1.000", "0.417", "0.000"]
    assert [line.split() for line in lines[-2:]] == [
        ["road", "0.250", "0.167", "1.000"],
        ["label", "1", "0.750", "0.545", "1.000"],
    ]
    assert plot_profile(profile_of())[:4] == b"\x89PNG"
