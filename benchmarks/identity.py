"""Identity distance of real frames: what one person, other people and damage make of it.

    python -m benchmarks.identity CLIP [CLIP ...] [--frames 6] [--side 256] [--face mediapipe] [--weights FILE]

Frames spread evenly over each clip, scaled to a shorter side of `--side` pixels. Printed are the median, least and
greatest distance between the frames of every pair of clips (of one clip: between its own frames), then between frames
and damaged copies of themselves: how far a frame moves away without being another person's.
"""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations, combinations_with_replacement, product
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit import weights
from v2vkit.arrays import Image
from v2vkit.artifacts.images import decode_image, encode_jpeg
from v2vkit.estimators.registry import open_estimator
from v2vkit.evaluation.metrics.identity_distance import WEIGHTS, Embed, embedding, identity_distance
from v2vkit.video.decode import decode

Found = Sequence[NDArray[np.float32] | None]
"""Embeddings of a clip's frames; None = no face."""


def _blurred(image: Image) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 2), np.uint8)


def _halved(image: Image) -> Image:
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def _compressed(image: Image) -> Image:
    return decode_image(encode_jpeg(image, quality=30), "frame")


DAMAGE: Mapping[str, Callable[[Image], Image]] = {
    "blurred, sigma 2": _blurred,
    "half the size": _halved,
    "JPEG quality 30": _compressed,
}


def frames_of(clip: str, number: int, side: int) -> list[Image]:
    """`number` frames of a video, evenly spread, RGB uint8 [H, W, 3], resized to a shorter side of `side` pixels."""
    images = [frame.image for frame in decode(clip)]
    chosen = [images[t] for t in np.linspace(0, len(images) - 1, number).round().astype(int)]
    height, width = chosen[0].shape[:2]
    size = (round(width * side / min(height, width)), round(height * side / min(height, width)))
    return [np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8) for image in chosen]


def line(name: str, pairs: Iterable[tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]]) -> str:
    """Median, least and greatest distance of pairs of embeddings, and how many pairs lack a face."""
    given = list(pairs)
    found = [identity_distance(a, b) for a, b in given if a is not None and b is not None]
    values = f"{np.median(found):.3f} ({min(found):.3f} to {max(found):.3f})" if found else "-"
    return f"{name:40} {values:24} {len(given) - len(found)} of {len(given)} pairs without a face"


def lines(clips: Mapping[str, Sequence[Image]], embed: Embed) -> Iterable[str]:
    """The lines of every pair of clips, then of the kinds of damage."""
    found: dict[str, Found] = {name: embed(images) for name, images in clips.items()}
    for a, b in combinations_with_replacement(found, 2):
        yield line(f"{a}, {b}", combinations(found[a], 2) if a == b else product(found[a], found[b]))
    for name, damage in DAMAGE.items():
        damaged = {clip: embed([damage(image) for image in images]) for clip, images in clips.items()}
        yield line(name, ((a, b) for clip in clips for a, b in zip(found[clip], damaged[clip], strict=True)))


def main() -> None:
    """Prints the lines."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clips", nargs="+")
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--face", choices=("mediapipe", "dlib"), default="mediapipe")
    parser.add_argument("--weights", help="shape predictor for --face dlib; default: dlib-68 of the store")
    given = parser.parse_args()
    own = {"weights": given.weights or str(weights.require("dlib-68"))} if given.face == "dlib" else {}
    identity = open_estimator("identity", "dlib", weights=str(weights.require(WEIGHTS)))
    embed = embedding(open_estimator("face", given.face, **own), identity)
    clips = {Path(clip).stem: frames_of(clip, given.frames, given.side) for clip in given.clips}
    for text in lines(clips, embed):
        print(text, flush=True)


if __name__ == "__main__":
    main()
