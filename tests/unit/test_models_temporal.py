"""Which frames each temporal discriminator sees."""

import pytest

from v2vkit.models.temporal import temporal_windows


def test_spacing_grows_by_scale_and_windows_wait_for_enough_frames() -> None:
    t = 30
    assert temporal_windows(t + 1, 1) == [[(t - 2, t - 1, t)], [(t - 6, t - 3, t)], [(t - 18, t - 9, t)]]
    assert temporal_windows(2, 2) == [[], [], []]
    assert temporal_windows(3, 1) == [[(0, 1, 2)], [], []]
    assert temporal_windows(7, 1) == [[(4, 5, 6)], [(0, 3, 6)], []]


def test_windows_step_back_inside_the_chunk_only() -> None:
    assert temporal_windows(6, 6, num_scales=1) == [[(3, 4, 5), (0, 1, 2)]]
    assert temporal_windows(12, 6, num_scales=2) == [[(9, 10, 11), (6, 7, 8)], [(5, 8, 11), (2, 5, 8)]]


@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("sparse", [False, True])
def test_every_window_ends_in_the_new_frames_and_reaches_no_further_back_than_the_coarsest_spacing(
    chunk: int, sparse: bool
) -> None:
    reach = (3 - 1) * 3**2  # (K - 1) K^(S-1)
    for seen in range(chunk, 40, chunk):
        for windows in temporal_windows(seen, chunk, sparse=sparse):
            for window in windows:
                assert seen - chunk <= window[-1] < seen
                assert window[0] >= max(0, seen - chunk - reach)


@pytest.mark.parametrize("chunk", [1, 2, 5, 6])
def test_sparse_windows_share_no_frame_and_do_not_depend_on_the_chunks(chunk: int) -> None:
    wanted = temporal_windows(60, 60, sparse=True)
    for scale in range(3):
        windows = [w for seen in range(chunk, 61, chunk) for w in temporal_windows(seen, chunk, sparse=True)[scale]]
        assert sorted(windows) == sorted(wanted[scale])
        frames = [frame for window in windows for frame in window]
        assert len(frames) == len(set(frames))
        assert windows


def test_other_numbers_of_frames() -> None:
    assert temporal_windows(2, 1, num_frames=2, num_scales=2) == [[(0, 1)], []]
    assert temporal_windows(3, 1, num_frames=2, num_scales=2) == [[(1, 2)], [(0, 2)]]
