"""What the benchmark of tracking measures, on less of the toy: the wanted tenth of the switches."""

import numpy as np
import pytest

pytest.importorskip("motmetrics")

from benchmarks import tracking as benchmark


def test_score_counts_switches_and_leaves_small_objects_out() -> None:
    truth = np.zeros((8, 16), np.uint16)
    truth[1:5, 1:5], truth[6, 10] = 1, 2
    swapped = np.where(truth == 1, 7, truth).astype(np.uint16)
    frames = [truth, truth, swapped, swapped]
    assert benchmark.score([[truth] * 4], [[truth] * 4], least=1) == (0, 1.0)
    assert benchmark.score([[truth] * 4], [frames], least=1)[0] == 1
    small = [np.where(truth == 2, 5 + t, truth).astype(np.uint16) for t in range(4)]
    assert benchmark.score([[truth] * 4], [small], least=1)[0] == 3
    assert benchmark.score([[truth] * 4], [small], least=16) == (0, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("dropped", [0.0, 0.1])
def test_tracks_switch_a_tenth_as_often_as_ids_of_each_frame(dropped: float) -> None:
    streets = benchmark.clips(num_clips=2, num_frames=24)
    truth = [[frame.instances for frame in clip] for clip in streets]
    ways = benchmark.measure(streets, dropped=dropped)
    for least in (1, 16):
        switches = {way: benchmark.score(truth, ways[way], least=least)[0] for way in ways}
        assert switches["frame by frame"] > 100
        assert switches["tracker"] <= switches["frame by frame"] / 10
        assert switches["tracker without flow"] <= switches["frame by frame"] / 10
