"""Batches of sequences that are alike: lengths, shares, and the draws of trainings of before."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from v2vkit.artifacts.manifest import ClipInfo
from v2vkit.training.data.sampler import BatchPlan, ClipSampler

MIXED = np.random.default_rng(0).integers(8, 65, 400).tolist()


def sampler(lengths: Sequence[int], *, num_frames: int = 8, batch: int = 1, **settings: object) -> ClipSampler:
    clips = tuple(ClipInfo(name=f"c{i}", num_frames=n, width=8, height=8) for i, n in enumerate(lengths))
    return ClipSampler(clips, lambda epoch: num_frames, 2, batch, **{"seed": 3, **settings})  # type: ignore[arg-type]


def drawn(of: ClipSampler, epochs: int) -> list[BatchPlan]:
    return [batch for epoch in range(epochs) for batch in of.batches(epoch)]


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_windows_never_cross_clips_and_cover_all_clips(batch: int) -> None:
    lengths, seen = (2, 5, 40, 11), set()
    for plan in drawn(sampler(lengths, batch=batch, drop_history=0.5), 20):
        assert len(plan.windows) == len(plan.numbers) == batch
        assert {window.num_frames for window in plan.windows} == {plan.num_frames}
        for window in plan.windows:
            assert 3 <= window.num_frames <= 10
            assert window.times[-1] < lengths[window.clip]
            seen.add(window.clip)
    assert seen == {1, 2, 3}


@pytest.mark.parametrize(
    ("lengths", "batch"), [([33] * 20, 1), ([16] * 40, 1), ([10] * 80, 2), ([64] * 30 + [12] * 10, 8), ([60] * 4, 1)]
)
def test_an_epoch_generates_about_as_many_frames_as_there_are(lengths: list[int], batch: int) -> None:
    """Also where clips are shorter than the windows that the schedule asks for."""
    of = sampler(lengths, num_frames=48, batch=batch)
    for epoch in range(3):
        generated = sum(map(of.num_generated, of.batches(epoch)))
        assert 0.9 * sum(lengths) < generated < 1.1 * sum(lengths) + 48


def mean_generated(batch: int) -> float:
    of = sampler(MIXED, num_frames=48, batch=batch, drop_history=0.2)
    plans = drawn(of, 3)
    return sum(map(of.num_generated, plans)) / sum(len(plan.windows) for plan in plans)


@pytest.mark.parametrize("batch", [2, 8])
def test_a_short_clip_does_not_shorten_a_batch_of_long_ones(batch: int) -> None:
    """Clips of 8 to 64 frames, 48 asked for: 39 on average by themselves."""
    assert mean_generated(batch) > 0.95 * mean_generated(1)


@pytest.mark.parametrize("batch", [1, 8])
def test_clips_are_drawn_in_proportion_to_their_length(batch: int) -> None:
    lengths = [10, 20, 40, 80]
    times = Counter(
        window.clip for plan in drawn(sampler(lengths, num_frames=4, batch=batch), 60) for window in plan.windows
    )
    total = sum(times.values())
    for clip, length in enumerate(lengths):
        assert times[clip] / total == pytest.approx(length / sum(lengths), rel=0.1)


@pytest.mark.parametrize("batch", [1, 8])
def test_every_frame_of_a_clip_is_drawn_when_batches_are_shortened(batch: int) -> None:
    frames = Counter(
        t
        for plan in drawn(sampler([9, 10, 11, 12], num_frames=10, batch=batch), 200)
        for window in plan.windows
        if window.clip == 3
        for t in window.times
    )
    assert set(frames) == set(range(12))
    assert frames[0] == pytest.approx(frames[11], rel=0.3)


@pytest.mark.parametrize("batch", [1, 3, 8, 16])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.7, 1.0])
def test_history_is_dropped_per_sequence_as_often_as_set(batch: int, share: float) -> None:
    """Also where an epoch has few batches: 16 of 50 sequences cannot always be 20 %, on average they are."""
    plans = drawn(sampler([20] * 20, batch=batch, drop_history=share), 100)
    dropped = [plan.from_nothing for plan in plans for _ in plan.windows]
    assert np.mean(dropped) == pytest.approx(share, abs=0.03 if 0 < share < 1 else 0)
    assert not any(plan.from_nothing for plan in drawn(sampler([20] * 20, batch=batch), 5))


def test_epochs_do_not_go_from_short_to_long() -> None:
    lengths = [[plan.num_frames for plan in sampler(MIXED, num_frames=48, batch=8).batches(epoch)] for epoch in (0, 1)]
    for of_epoch in lengths:
        assert abs(np.corrcoef(of_epoch, np.arange(len(of_epoch)))[0, 1]) < 0.5


def test_an_epoch_is_a_function_of_its_seed_and_number() -> None:
    of, other = (sampler(MIXED, batch=4, drop_history=0.3, seed=seed) for seed in (3, 4))
    assert of.batches(2) == sampler(MIXED, batch=4, drop_history=0.3).batches(2)
    assert of.batches(2) != of.batches(3)
    assert of.batches(2) != other.batches(2)


def test_a_resumed_run_draws_the_batches_that_remained() -> None:
    of = sampler(MIXED, batch=4)
    assert list(of.remaining(4, epoch=2, batch=5)) == [*of.batches(2)[5:], *of.batches(3)]


def test_windows_with_a_stride_stay_inside_their_clip() -> None:
    seen = set()
    for plan in drawn(sampler((5, 40, 11), num_frames=3, max_stride=4), 40):
        (window,) = plan.windows
        assert window.num_frames == 5
        assert window.times[-1] < (5, 40, 11)[window.clip]
        seen.add((window.clip, window.stride))
    assert seen == {(0, 1), (1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2)}


def test_the_windows_of_an_epoch_stay_what_they_were() -> None:
    """Resumed trainings and goldens depend on them; taken down from a run of the sampler before this one."""
    lengths = (30, 5, 12, 2, 50)
    plain = sampler(lengths, seed=4).batches(1)
    assert [(plan.windows[0].clip, plan.windows[0].start) for plan in plain] == [
        *((4, 1), (0, 9), (0, 4), (0, 15), (4, 31), (4, 18)),
        *((4, 2), (4, 4), (4, 2), (0, 17), (4, 6), (4, 25)),
    ]
    assert {plan.num_frames for plan in plain} == {10}
    striding = sampler(lengths, num_frames=6, seed=4, max_stride=3).batches(2)
    assert [(plan.windows[0].clip, *plan.windows[0].times) for plan in striding[3:9]] == [
        (0, *range(5, 27, 3)),
        (4, *range(5, 21, 2)),
        (0, *range(7, 22, 2)),
        (4, *range(1, 9)),
        (4, *range(26, 41, 2)),
        (1, *range(5)),
    ]
