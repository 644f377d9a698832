"""The benchmark of label noise: one draw for a shot, nothing else changes, and fidelity counts what is there."""

import numpy as np

from benchmarks.label_noise import NOISES, fidelity, labels_of, with_noise
from v2vkit.conditions.edges import EdgeMap
from v2vkit.conditions.label_noise import LabelNoise
from v2vkit.conditions.labels import LabelMap
from v2vkit.evaluation.segmentation import no_confusion


def _shot() -> list[dict[str, object]]:
    labels = np.zeros((32, 48), np.uint8)
    labels[20:], labels[4:20, 10:12] = 1, 2
    return [{"labels": LabelMap(labels.copy()), "edges": EdgeMap(np.uint8(255) * (labels > 0))} for _ in range(3)]


def test_noise_is_one_draw_for_a_shot_and_leaves_the_edges() -> None:
    shot = _shot()
    noisy = with_noise(shot, LabelNoise(jitter=2, seed=(1,)))
    (first, *others), before = labels_of(noisy), labels_of(shot)[0]
    assert (first != before).any()
    assert all(np.array_equal(first, other) for other in others)
    assert [of["edges"] for of in noisy] == [of["edges"] for of in shot]
    assert np.array_equal(labels_of(shot)[0], labels_of(_shot())[0])


def test_every_row_but_the_first_changes_the_maps() -> None:
    before = labels_of(_shot())[0]
    changed = {
        name: max(
            (labels_of(with_noise(_shot(), LabelNoise(**vars(noise) | {"seed": (k,)})))[0] != before).sum()
            for k in range(8)
        )
        for name, noise in NOISES.items()
    }
    assert [name for name, pixels in changed.items() if not pixels] == ["as they are"]


def test_fidelity_counts_pixels_with_a_label() -> None:
    labels = labels_of(_shot())
    assert fidelity(labels, labels, no_confusion(3)).mean_iou == 1
    unknown = [np.where(of == 2, np.uint8(255), of) for of in labels]
    assert fidelity(labels, unknown, no_confusion(3)).accuracy == 1
    other = [(of + np.uint8(1)) % np.uint8(3) for of in labels]
    assert fidelity(other, labels, no_confusion(3)).accuracy == 0
