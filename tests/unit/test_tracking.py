"""Ids that stay with their objects: crossings, gaps, entries, exits, merges, splits, classes, flow and its absence."""

import numpy as np
import pytest

from tests.errors import raises
from tests.unit.tracking_scenes import CAR, PERSON, SIZE, draw, exact_flow, ids_of, switches, track
from v2vkit.conditions.track_matching import find_objects
from v2vkit.conditions.tracking import TrackSettings, TrackState, track_frame
from v2vkit.conditions.tracks import MAX_ID, Track


def _crossing(t: int) -> list[tuple[int, int, int, int]]:
    """A car behind (going right) and one in front (going left), which hides it for some frames."""
    return [(12, 4 + 4 * t, 8, 14), (10, 74 - 4 * t, 12, 18)]


@pytest.mark.parametrize("with_flow", [True, False])
def test_crossing_cars_keep_their_ids(with_flow: bool) -> None:
    frames, truths, by_position = [], [], []
    for t in range(18):
        labels, instances, truth = draw(_crossing(t), shuffle=t)
        more = {"flow": exact_flow(_crossing(t - 1), _crossing(t))} if with_flow and t else {}
        frames.append((labels, instances, more))
        truths.append(truth)
        left_to_right = sorted(np.unique(truth)[1:], key=lambda number: np.nonzero(truth == number)[1].mean())
        table = np.zeros(3, np.uint16)
        table[left_to_right] = np.arange(1, len(left_to_right) + 1)
        by_position.append(table[truth])
    assert any(1 not in truth for truth in truths), "the car behind is hidden for a while"
    assert switches(truths, by_position) >= 2
    results = track(frames)
    assert switches(truths, [done.instances for done in results]) == 0
    assert sum(done.num_new for done in results) == 2
    assert sum(done.num_bridged for done in results) == 1


def test_ids_do_not_depend_on_the_numbers_of_the_input() -> None:
    ways = []
    for offset in (0, 100):
        frames = [draw([(5, 5 + t, 8, 8), (20, 40 - t, 8, 8)], shuffle=offset + t)[:2] for t in range(6)]
        ways.append([done.instances for done in track(frames)])
    np.testing.assert_array_equal(*ways)
    assert set(np.unique(ways[0])) == {0, 1, 2}


@pytest.mark.parametrize(("hidden", "kept"), [(4, True), (5, True), (6, False)])
def test_a_gap_is_bridged_for_the_stated_time_and_no_longer(hidden: int, kept: bool) -> None:
    boxes = [(10, 4 + 3 * t, 8, 8) for t in range(16)]
    frames = [draw([None if 4 <= t < 4 + hidden else box]) for t, box in enumerate(boxes)]
    results = track([frame[:2] for frame in frames], bridge=5)
    last = results[-1].instances.max()
    assert last == (1 if kept else 2)
    assert sum(done.num_bridged for done in results) == int(kept)
    assert results[5].instances.max() == 0, "a hidden object is not drawn"


def test_no_bridge_no_gap() -> None:
    box = (10, 4, 8, 8)
    results = track([draw([b])[:2] for b in (box, None, box)], bridge=0)
    assert [int(done.instances.max()) for done in results] == [1, 0, 2]
    assert results[1].state.tracks == ()


def test_an_object_that_comes_out_little_by_little_keeps_its_id() -> None:
    wall = (6, 40, 20, 24)
    boxes = [[(12, 18 + 4 * t, 8, 14), wall] for t in range(14)]
    frames = [draw(each, labels=(CAR, 1), shuffle=t) for t, each in enumerate(boxes)]
    results = track([frame[:2] for frame in frames], things=(CAR,))
    first_out = next(t for t, f in enumerate(frames) if t > 6 and 1 in f[2])
    assert (frames[first_out][2] == 1).sum() < 14 * 8 / 2
    assert switches([f[2] * (f[2] == 1) for f in frames], [done.instances for done in results]) == 0
    assert results[-1].state.next_id == 2


def test_an_object_in_front_keeps_its_id_while_one_is_hidden_behind_it() -> None:
    """The one in front brakes, so it overlaps its own prediction by 0.6; that of the hidden one lies wholly in it."""
    frames = [draw([(10, 50, 6, 6), (8, 30, 12, 24)]), *[draw([None, (8, 36, 12, 24)]) for _ in range(3)]]
    results = track([frame[:2] for frame in frames])
    front = [ids_of(frame[2], done.instances)[2] for frame, done in zip(frames, results, strict=True)]
    assert front == [1, 1, 1, 1]


def test_an_object_that_goes_behind_another_comes_out_on_the_other_side() -> None:
    """The part that is seen last and the part that is seen first have no pixel in common."""
    frames = [draw([(12, 4 + 4 * t, 8, 14), (8, 42, 16, 16)], labels=(CAR, PERSON)) for t in range(16)]
    results = track([frame[:2] for frame in frames])
    areas = [int((frame[2] == 1).sum()) for frame in frames]
    assert 0 in areas
    assert 0 < min(area for area in areas if area) < 8 * 14 / 2
    assert switches([frame[2] for frame in frames], [done.instances for done in results]) == 0


def test_a_smaller_view_becomes_the_whole_one_in_time() -> None:
    frames = [draw([(10, 10, 8, 20)]), *[draw([(10, 10, 8, 8)]) for _ in range(6)]]
    results = track([frame[:2] for frame in frames], bridge=3)
    assert [int(done.state.tracks[0].mask.sum()) for done in results] == [160, 160, 160, 160, 64, 64, 64]


def test_entries_take_new_ids_and_exits_never_give_them_back() -> None:
    width = SIZE[1]
    frames = [draw([(5, 80 + 4 * t, 8, 10), (25, 2, 6, 6) if t >= 2 else None]) for t in range(6)]
    frames += [draw([(5, width - 10, 8, 10), (25, 2, 6, 6)])]  # back where it left
    results = track([frame[:2] for frame in frames], bridge=100)
    assert ids_of(frames[2][2], results[2].instances) == {1: 1, 2: 2}
    assert [track.id for track in results[5].state.tracks] == [2], "the one that has left the frame is forgotten"
    assert ids_of(frames[6][2], results[6].instances) == {1: 3, 2: 2}


def test_a_merge_and_a_split_leave_both_ids_as_they_were() -> None:
    """A car passes another one and touches it for some frames, so they are one area; ids come from the labels alone."""
    boxes = [[(10, 4 + 4 * t, 8, 12), (18, 34, 8, 18)] for t in range(16)]
    frames = [draw(each) for each in boxes]
    results = track([(labels, None) for labels, _, _ in frames], things=(CAR,))
    joined = [len(np.unique(done.instances)) - 1 for done in results]
    assert joined[0] == 2
    assert min(joined) == 1, "they do touch"
    assert joined[-1] == 2
    assert ids_of(frames[0][2], results[0].instances) == ids_of(frames[-1][2], results[-1].instances)
    merged = results[joined.index(1)]
    assert set(np.unique(merged.instances)) == {0, 2}, "the larger one's id goes on"


def test_a_split_without_a_merge_begins_one_new_id() -> None:
    whole, parts = draw([(10, 10, 8, 30)]), draw([(10, 10, 8, 20), (10, 32, 8, 8)])
    results = track([(frame[0], None) for frame in (whole, parts)], things=(CAR,))
    assert ids_of(parts[2], results[1].instances) == {1: 1, 2: 2}


def test_classes_are_matched_apart() -> None:
    box = (10, 10, 8, 8)
    results = track([draw([box], labels=(label,))[:2] for label in (CAR, PERSON, CAR)])
    assert [int(done.instances.max()) for done in results] == [1, 2, 1]


def test_an_object_has_the_class_of_most_of_its_pixels_and_things_choose() -> None:
    labels, instances, _ = draw([(10, 10, 8, 8), (20, 40, 8, 8)], labels=(CAR, PERSON))
    labels[10:12, 10:18] = PERSON
    found = find_objects(labels, instances, things=(CAR,), min_pixels=1)
    assert found.classes == [CAR]
    assert found.areas.tolist() == [64]
    np.testing.assert_allclose(found.centres, [[13.5, 13.5]])


def test_connected_areas_are_objects_where_there_are_no_instances() -> None:
    labels = draw([(4, 4, 4, 4), (8, 8, 4, 4), (20, 20, 3, 5), (30, 30, 2, 2)])[0]
    found = find_objects(labels, None, things=(CAR,), min_pixels=10)
    assert found.areas.tolist() == [32, 15], "corners touch; four pixels are too few"
    assert find_objects(labels, None, things=(), min_pixels=1).classes == []


def test_flow_finds_what_overlap_and_motion_miss() -> None:
    """Two cars jump by their own distance: without flow each one seems to be the other."""
    before, now = [(10, 10, 8, 10), (10, 30, 8, 10)], [(10, 30, 8, 10), (10, 50, 8, 10)]
    old, new = draw(before), draw(now)
    with_flow = track([old[:2], (*new[:2], {"flow": exact_flow(before, now)})])
    without = track([old[:2], new[:2]])
    assert ids_of(new[2], with_flow[1].instances) == {1: 1, 2: 2}
    assert ids_of(new[2], without[1].instances) != {1: 1, 2: 2}


def test_flow_that_is_not_trusted_does_not_count() -> None:
    boxes = [(10, 10, 8, 10), (10, 30, 8, 10)]
    frame = draw(boxes)
    wrong = np.full((*SIZE, 2), (20.0, 0.0), np.float32)
    wrong[0, 0] = np.nan
    for confidence, expected in ((np.zeros(SIZE, np.float32), True), (None, False)):
        results = track([frame[:2], (*frame[:2], {"flow": wrong, "confidence": confidence})])
        assert (ids_of(frame[2], results[1].instances) == {1: 1, 2: 2}) is expected


def test_an_object_too_small_to_overlap_is_found_by_its_distance() -> None:
    results = track([draw([(10, 10 + t, 1, 1)])[:2] for t in range(4)])
    assert [int(done.instances.max()) for done in results] == [1, 1, 1, 1]
    far = track([draw([(10, 10 + 40 * t, 1, 1)])[:2] for t in range(2)])
    assert int(far[1].instances.max()) == 2


def test_later_frames_do_not_change_earlier_tracks() -> None:
    frames = [draw(_crossing(t), shuffle=t)[:2] for t in range(18)]
    whole = [done.instances for done in track(frames)]
    for stop in (3, 9):
        for instances, expected in zip(track(frames[:stop]), whole, strict=False):
            np.testing.assert_array_equal(instances.instances, expected)


def test_memory_does_not_grow_with_the_shot() -> None:
    """A new object in every frame, each seen once."""
    rng = np.random.default_rng(0)
    frames = [draw([(int(rng.integers(0, 30)), int(rng.integers(0, 80)), 4, 4)])[:2] for _ in range(80)]
    results = track(frames, bridge=3)
    assert results[-1].state.next_id > 20
    assert max(len(done.state.tracks) for done in results) <= 4


def test_frames_without_objects() -> None:
    empty = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint16)
    results = track([empty, draw([(5, 5, 8, 8)])[:2], empty])
    assert [int(done.instances.max()) for done in results] == [0, 1, 0]
    assert results[0].instances.dtype == np.uint16


def test_more_objects_than_ids_are_refused() -> None:
    labels, instances, _ = draw([(5, 5, 8, 8), (20, 40, 8, 8)])
    full = TrackState(next_id=MAX_ID)
    with raises("objects-too-many", "65535"):
        track_frame(full, labels=labels, instances=instances, settings=TrackSettings())
    one = track_frame(full, labels=labels, instances=instances * (instances == 11), settings=TrackSettings())
    assert one.instances.max() == MAX_ID


def test_tracks_are_kept_in_the_order_of_their_ids() -> None:
    results = track([draw(_crossing(t), shuffle=t)[:2] for t in range(18)])
    for done in results:
        ids = [each.id for each in done.state.tracks]
        assert ids == sorted(ids)
    assert isinstance(results[-1].state.tracks[0], Track)
