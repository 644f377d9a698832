"""What is handed from clip to clip: exactly the state, the same bytes, and damage is named."""

import json

import numpy as np
import pytest

from tests.errors import raises
from tests.unit.tracking_scenes import SIZE, draw, track
from v2vkit.conditions.tracking import TrackState
from v2vkit.conditions.tracks import decode_state, encode_state


def _scene() -> list[tuple]:
    """A car in view, one that is partly hidden at the end, and one that is not found any more."""
    frames = []
    for t in range(10):
        gone = None if t >= 7 else (2, 60 - 3 * t, 7, 9)
        frames.append(draw([(20, 4 + 3 * t, 9, 11), gone, (30, 5 + 2 * t, 6, 10), (22, 30, 16, 12)], shuffle=t))
    return frames


def test_a_shot_goes_on_from_the_file_as_from_the_state() -> None:
    frames = [frame[:2] for frame in _scene()]
    whole = track(frames)
    for stop in range(1, 10):
        before = track(frames[:stop])[-1]
        data = encode_state(before.state)
        state = decode_state(data, before.instances)
        assert encode_state(state) == data
        for done, expected in zip(track(frames[stop:], state=state), whole[stop:], strict=True):
            np.testing.assert_array_equal(done.instances, expected.instances)
            assert encode_state(done.state) == encode_state(expected.state)
    kinds = {(each.hidden > 0, each.unseen > 0) for each in whole[-1].state.tracks}
    assert kinds == {(False, False), (True, False), (True, True)}, "the scene has all three"


def test_the_empty_state() -> None:
    empty = np.zeros(SIZE, np.uint16)
    state = decode_state(encode_state(TrackState()), empty)
    assert (state.next_id, state.tracks) == (1, ())


def _one(**changes: object) -> dict:
    return {"tracks": [{"id": 1, "label": 6, "motion": None, **changes}]}


@pytest.mark.parametrize(
    "change",
    [
        {"next_id": 0},
        {"more": 1},
        _one(id=9),
        _one(motion=[float("nan"), 0.0]),
        _one(motion=[1e30, 0.0]),
        _one(hidden=1, height=10**4, width=10**4, bits="AA=="),
        _one(hidden=1, height=2, width=4, bits="AA=="),
        _one(hidden=1, height=2, width=4, bits="A*"),
    ],
    ids=str,
)
def test_a_damaged_state_is_named(change: dict) -> None:
    done = track([draw([(5, 5, 8, 8)])[:2]])[0]
    good = json.loads(encode_state(done.state))
    decode_state(json.dumps(good).encode(), done.instances)
    with raises("tracks-damaged", "shot 3"):
        decode_state(json.dumps(good | change).encode(), done.instances, "the state of shot 3")
    with raises("tracks-damaged"):
        decode_state(b"\x80\x04", done.instances)
