"""Distances between the set of a method's frames or clips and the set of the real ones: FID, KID, VFID, FVD."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from v2vkit.arrays import Image
from v2vkit.evaluation.metrics import backbones
from v2vkit.evaluation.metrics.backbones import Backbone
from v2vkit.evaluation.metrics.contract import REAL, Batch, Metric, Value, Values
from v2vkit.evaluation.metrics.frechet import Moments, frechet_distance
from v2vkit.evaluation.metrics.kernel_distance import Reservoir, kernel_distance, spread
from v2vkit.evaluation.metrics.registry import FVD_FRAMES, VFID_FRAMES
from v2vkit.evaluation.metrics.repeated import Repeated
from v2vkit.evaluation.metrics.setup import Setup

RESERVOIR = 2000
"""Vectors per method that KID is computed from, at most."""


class FrameSets:
    """Distance between sets of frames. A real frame that comes again (`Batch.beside["place"]`) is not counted again.

    Args:
        backbone: frames -> vectors.
        collect: an empty collection (`Moments`, `Reservoir`).
        distance: two collections, the method's and the real one -> values.
    """

    def __init__(self, backbone: Backbone, collect: Callable[[], Any], distance: Callable[[Any, Any], Values]):
        self.about: Mapping[str, Any] = backbone.about
        self._embed = Repeated(lambda images: list(backbone.embed(images)))
        self._collect, self._distance = collect, distance
        self._sets: dict[str, Any] = {}
        self._places: set[Any] = set()

    def update(self, batch: Batch) -> Sequence[Value]:
        images = self._new(batch) if batch.method == REAL else batch.images
        if images:
            self._sets.setdefault(batch.method, self._collect()).add(self._embed(batch.method, images))
        return ()

    def _new(self, batch: Batch) -> Sequence[Image]:
        """The real frames whose places were not seen before; all where places are not given."""
        if "place" not in batch.beside:
            return batch.images
        places = batch.beside["place"]
        found = [image for image, place in zip(batch.images, places, strict=True) if place not in self._places]
        self._places.update(places)
        return found

    def compute(self) -> dict[str, Values]:
        return _against_real(self._sets, self._distance, "frames")


class ClipSets:
    """Distance between sets of clips: windows of a fixed length that follow each other within a shot.

    Args:
        backbone: the frames of a window -> one vector.
        length: of a window; what a shot has beyond a multiple of it is not used.
        collect, distance: see `FrameSets`.
    """

    def __init__(
        self,
        backbone: Backbone,
        length: int,
        collect: Callable[[], Any],
        distance: Callable[[Any, Any], Values],
    ):
        self.about: Mapping[str, Any] = {**backbone.about, "clip_frames": length}
        self._embed, self._length = backbone.embed, length
        self._collect, self._distance = collect, distance
        self._sets: dict[str, Any] = {}
        self._open: dict[str, tuple[str, list[Image]]] = {}

    def update(self, batch: Batch) -> Sequence[Value]:
        shot, window = self._open.get(batch.method, (batch.shot, []))
        if shot != batch.shot:
            window = []
        for image in batch.images:
            window.append(image)
            if len(window) == self._length:
                self._sets.setdefault(batch.method, self._collect()).add(self._embed(window))
                window = []
        self._open[batch.method] = batch.shot, window
        return ()

    def compute(self) -> dict[str, Values]:
        return _against_real(self._sets, self._distance, "clips")


def _against_real(sets: dict[str, Any], distance: Callable[[Any, Any], Values], unit: str) -> dict[str, Values]:
    real = sets.get(REAL)
    if real is None or real.num < 2:
        return {}
    return {
        method: {**distance(found, real), f"num_{unit}": found.num, f"num_real_{unit}": real.num}
        for method, found in sets.items()
        if method != REAL and found.num > 1
    }


def _frechet(found: Moments, real: Moments) -> Values:
    return {"value": frechet_distance(found.mean, found.covariance, real.mean, real.covariance)}


def _kernel(found: Reservoir, real: Reservoir) -> Values:
    # Reservoirs of one seed and length hold the same frames. Elsewhere leaving pairs out changes nothing on average.
    a, b, paired = found.vectors, real.vectors, found.num == real.num
    return {"value": kernel_distance(a, b, paired=paired), "spread": spread(a, b, paired=paired)}


def _frechet_of_frames(backbone: Backbone) -> Metric:
    return FrameSets(backbone, partial(Moments, backbone.size), _frechet)


def _kernel_of_frames(backbone: Backbone) -> Metric:
    return FrameSets(backbone, partial(Reservoir, RESERVOIR), _kernel)


def _frechet_of_clips(backbone: Backbone, length: int) -> Metric:
    return ClipSets(backbone, length, partial(Moments, backbone.size), _frechet)


def open_fid(setup: Setup) -> Metric:
    return _frechet_of_frames(backbones.inception(setup))


def open_kid(setup: Setup) -> Metric:
    return _kernel_of_frames(backbones.inception(setup))


def open_fid_lite0(setup: Setup) -> Metric:
    return _frechet_of_frames(backbones.lite0(setup))


def open_kid_lite0(setup: Setup) -> Metric:
    return _kernel_of_frames(backbones.lite0(setup))


def open_vfid_i3d(setup: Setup) -> Metric:
    return _frechet_of_clips(backbones.i3d(setup, logits=False), VFID_FRAMES)


def open_vfid_resnext(setup: Setup) -> Metric:
    return _frechet_of_clips(backbones.resnext(setup), VFID_FRAMES)


def open_vfid_r3d18(setup: Setup) -> Metric:
    return _frechet_of_clips(backbones.r3d18(setup), VFID_FRAMES)


def open_fvd(setup: Setup) -> Metric:
    return _frechet_of_clips(backbones.i3d(setup, logits=True), FVD_FRAMES)
