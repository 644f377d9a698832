"""Where a frame is cropped around a face, and how far rendering looks ahead for one."""

from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest

from v2vkit.conditions.smoothing import HOLD_FRAMES
from v2vkit.inference.framing import look_ahead
from v2vkit.video.framing import Window, face_window
from v2vkit.video.stream import InputFrame

FOUND = Window(5, 6, 40, 40)
FACE_AT = 50  # brightness of the pictures that show a face


def _landmarks(left: float, right: float, top: float, bottom: float) -> np.ndarray:
    """68 points that just fill a box."""
    rng = np.random.default_rng(0)
    points = rng.uniform((left, top), (right, bottom), (68, 2))
    points[:2] = (left, top), (right, bottom)
    return points.astype(np.float32)


def test_a_face_crop_is_a_square_of_two_and_a_half_face_widths() -> None:
    """Its middle is that of the landmarks across, and a quarter of the way down from their top."""
    # 80 wide, so 200 a side; the middle is at (300, (3 * 160 + 280) / 4) = (300, 190)
    assert face_window(_landmarks(260, 340, 160, 280), 640, 480) == Window(200, 90, 200, 200)
    # 40 wide, so 100 a side, whatever the height; the middle is at (320, (3 * 200 + 300) / 4) = (320, 225)
    assert face_window(_landmarks(300, 340, 200, 300), 640, 480) == Window(270, 175, 100, 100)


@pytest.mark.parametrize(
    ("box", "window"),
    [
        ((10, 50, 20, 60), Window(0, 0, 100, 100)),
        ((600, 638, 440, 478), Window(545, 385, 95, 95)),
        ((100, 400, 100, 400), Window(10, 0, 480, 480)),
    ],
)
def test_a_face_crop_stays_in_the_frame(box: tuple[float, float, float, float], window: Window) -> None:
    assert face_window(_landmarks(*box), 640, 480) == window


def _locate(image: np.ndarray) -> Window | None:
    return FOUND if image[0, 0, 0] == FACE_AT else None


def _frames(face_at: int | None, pulled: list[int]) -> Iterator[InputFrame]:
    """Frames without end; notes which were asked for."""
    for t in count():
        pulled.append(t)
        yield InputFrame(np.full((8, 8, 3), FACE_AT if t == face_at else 0, np.uint8), pts=t)


@pytest.mark.parametrize(
    ("face_at", "window"), [(0, FOUND), (3, FOUND), (HOLD_FRAMES - 1, FOUND), (HOLD_FRAMES, None), (None, None)]
)
def test_the_first_frames_of_a_shot_tell_where_it_is_cropped(face_at: int | None, window: Window | None) -> None:
    """After a bounded look-ahead; every frame comes out once, in order, also those that were looked at."""
    pulled: list[int] = []
    found, frames = look_ahead(_frames(face_at, pulled), _locate)
    assert found == window
    assert len(pulled) <= HOLD_FRAMES
    assert [next(frames).pts for _ in range(HOLD_FRAMES + 2)] == list(range(HOLD_FRAMES + 2)) == pulled
