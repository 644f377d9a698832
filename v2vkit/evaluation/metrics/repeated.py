"""Networks look once at a picture that a video repeats."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from v2vkit.evaluation.metrics.contract import Image

T = TypeVar("T")


class Repeated(Generic[T]):
    """A function of several images, called once for an image object that a method repeats.

    Args:
        function: images -> a result for each, which depends on that image alone.
    """

    def __init__(self, function: Callable[[Sequence[Image]], Sequence[T]]):
        self._function = function
        self._last: dict[str, tuple[Image, T]] = {}

    def __call__(self, method: str, images: Sequence[Image]) -> list[T]:
        """The results of a method's images."""
        distinct = {id(image): image for image in images}
        results: dict[int, T] = {}
        if method in self._last:
            image, result = self._last[method]
            results[id(image)] = result
        new = {key: image for key, image in distinct.items() if key not in results}
        if new:
            results |= dict(zip(new, self._function(list(new.values())), strict=True))
        if images:
            self._last[method] = images[-1], results[id(images[-1])]
        return [results[id(image)] for image in images]
