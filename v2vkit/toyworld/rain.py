"""Procedural rain over frames: falling streaks, and drops on the lens or windscreen.

Both are functions of frame, time and seed alone, so any frame can be made without those before it. The streaks follow
the appearance model of Garg and Nayar ("Vision and Rain", 2007): a drop takes its light from a wide field of view, so
it is brighter than most of what it hides, and its streak is as long as its fall during the exposure. Frames are uint8
[H, W, 3] RGB, times are seconds.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image

Floats = NDArray[np.float32]

_STREAKS, _DROPS = 1, 2  # random streams of one seed

_NUM_STREAKS = 1500
_NEAR, _FAR = 1.5, 14.0  # metres from the camera; nearer drops would be blurred away, farther ones are the veil
_SPEED = 8.0  # metres per second, a drop of 2 to 3 mm
_EXPOSURE = 1 / 40  # seconds
_WIDTH = 0.008  # metres; wider than real drops, so that streaks show in small frames
_WIND = 0.12  # greatest slope of the streaks
_OPACITY = 0.75  # of a streak that is a pixel wide or wider
_SHIFTS = 4  # fractional bits of cv2.line

_PER_SECOND = 9  # drops that hit the glass
_LONGEST = 6  # seconds that a drop stays
_SLIDE = 0.5  # seconds in which it runs down at the end
_RADII = (0.012, 0.055)  # of the frame's height
_ZOOM = 7.0  # a drop shows a wide view, upside down
_RIM = 0.35  # soft share of a drop's radius: the camera is focused on the street
_SHADE = 0.35  # darkening towards the rim


def add_streaks(image: Image, time: float, *, seed: int = 0, amount: float = 1.0, veil: float = 0.0) -> Image:
    """The frame in falling rain.

    Args:
        image: RGB uint8 [H, W, 3].
        time: seconds since the start of the video; drops fall between frames.
        seed: of positions, distances and wind.
        amount: 1 = heavy rain, 0 = none.
        veil: share of each pixel that is light from distant drops, 0 to 1.

    Returns:
        A new frame, uint8 [H, W, 3].
    """
    opacity = _streaks(image.shape[1], image.shape[0], time, seed, amount)
    light = _sky_light(image)
    hazy: Floats = image.astype(np.float32) * np.float32(1 - veil) + light * np.float32(veil)
    return _mix(hazy, light, opacity)


def add_drops(image: Image, time: float, *, seed: int = 0, amount: float = 1.0) -> Image:
    """The frame seen through glass with drops, which hit it, stay for 2 to 6 seconds and run down.

    Arguments and result as in `add_streaks`, without the veil.
    """
    height, width = image.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    opacity, shade = np.zeros((height, width), np.float32), np.ones((height, width), np.float32)
    for x, y, radius, stretch in _drops(time, seed, amount, width / height):
        x, y, radius = x * height, y * height, radius * height
        top, bottom = _range(y, radius * stretch, height)
        left, right = _range(x, radius, width)
        if top >= bottom or left >= right:
            continue
        area = np.s_[top:bottom, left:right]
        across = np.arange(left, right, dtype=np.float32)[None] - np.float32(x)
        down = (np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(y)) / np.float32(stretch)
        distance = np.sqrt(across**2 + down**2) / np.float32(radius)
        covered = _smooth((1 - distance) / _RIM)
        over = covered > opacity[area]
        opacity[area] = np.where(over, covered, opacity[area])
        shade[area] = np.where(over, 1 - np.float32(_SHADE) * np.minimum(distance, 1) ** 4, shade[area])
        columns[area] = np.where(over, x - across * np.float32(_ZOOM), columns[area])
        rows[area] = np.where(over, y - down * np.float32(_ZOOM), rows[area])
    blurred = cv2.GaussianBlur(image, (0, 0), max(0.5, 0.008 * height))
    inside = cv2.remap(blurred, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return _mix(image.astype(np.float32), inside.astype(np.float32) * shade[..., None], opacity)


def _streaks(width: int, height: int, time: float, seed: int, amount: float) -> Floats:
    """Opacity of the streaks, float32 [H, W]; the focal length is the frame's height (53 degrees)."""
    random = np.random.default_rng([seed, _STREAKS])
    slope = random.uniform(-_WIND, _WIND)
    count = round(_NUM_STREAKS * amount * width / height)
    # The volume seen at a distance grows with its square.
    distance = np.cbrt(random.uniform(_NEAR**3, _FAR**3, count))
    place, phase = random.uniform(size=(2, count))
    # In heights of the frame: a drop falls through the frame and a margin, and then enters again at another place.
    length = _SPEED * _EXPOSURE / distance
    path = 1 + 2 * length
    fallen = phase + _SPEED * time / distance / path
    lap = np.floor(fallen)
    y = (fallen - lap) * path - length
    margin = 2 * _WIND
    x = np.modf(place + lap * 0.6180339887)[0] * (width / height + 2 * margin) - margin + slope * y
    pixels = _WIDTH * height / distance
    brightness = np.rint(255 * _OPACITY * np.minimum(pixels, 1)).astype(int)
    found = np.zeros((height, width), np.uint8)
    scale = height * 2**_SHIFTS
    starts = np.rint(np.stack([x, y], axis=1) * scale).astype(int)
    ends = np.rint(np.stack([x + slope * length, y + length], axis=1) * scale).astype(int)
    for i in np.argsort(-distance):  # the nearest last
        thick = max(1, round(pixels[i]))
        cv2.line(found, starts[i].tolist(), ends[i].tolist(), (int(brightness[i]),), thick, cv2.LINE_AA, _SHIFTS)
    return found.astype(np.float32) / 255


def _sky_light(image: Image) -> Floats:
    """Light that a drop sends to the camera, float32 [3]: the mean of the upper third, halfway to white."""
    upper = image[: max(1, image.shape[0] // 3)].reshape(-1, 3).mean(axis=0, dtype=np.float64)
    return ((upper + 255) / 2).astype(np.float32)


def _drops(time: float, seed: int, amount: float, aspect: float) -> list[tuple[float, float, float, float]]:
    """x, y and radius in heights of the frame, and height over width, of the drops on the glass at that time."""
    found = []
    for second in range(int(np.floor(time)) - _LONGEST, int(np.floor(time)) + 1):
        random = np.random.default_rng([seed, _DROPS, second + _LONGEST])
        for _ in range(random.poisson(_PER_SECOND * amount)):
            born, x, y, size, life, stretch = random.uniform(size=6)
            age = time - second - born
            lifetime = 2 + (_LONGEST - 2) * life
            if not 0 <= age < lifetime:
                continue
            radius = _RADII[0] * (_RADII[1] / _RADII[0]) ** size
            running = max(0.0, age - lifetime + _SLIDE) / _SLIDE
            found.append((x * aspect, y + 0.4 * running**2, radius, 1 + 0.3 * stretch + 0.5 * running))
    return found


def _range(middle: float, radius: float, limit: int) -> tuple[int, int]:
    """First pixel and end of what a drop covers along one axis."""
    return max(0, int(np.floor(middle - radius))), min(limit, int(np.ceil(middle + radius)) + 1)


def _smooth(ramp: Floats) -> Floats:
    """Smoothstep from 0 at 0 to 1 at 1."""
    clipped = np.clip(ramp, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped), np.float32)


def _mix(below: Floats, above: Floats, opacity: Floats) -> Image:
    mixed = below + (above - below) * opacity[..., None]
    return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)
