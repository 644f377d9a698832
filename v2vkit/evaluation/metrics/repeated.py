"""Networks look once at a picture that a video repeats, and at a real frame that stands beside several methods."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from v2vkit.arrays import Image

T = TypeVar("T")


class Repeated(Generic[T]):
    """A function of several images, called once for an image object that comes again within a call or in the next.

    Args:
        function: images -> a result for each, which depends on that image alone.
    """

    def __init__(self, function: Callable[[Sequence[Image]], Sequence[T]]):
        self._function = function
        self._last: dict[str, dict[int, tuple[Image, T]]] = {}  # holds the images, so their ids are not used again

    def __call__(self, method: str, images: Sequence[Image]) -> list[T]:
        """The results of a method's images."""
        distinct = {id(image): image for image in images}
        results = {key: result for key, (_, result) in self._last.get(method, {}).items()}
        new = {key: image for key, image in distinct.items() if key not in results}
        if new:
            results |= dict(zip(new, self._function(list(new.values())), strict=True))
        if images:
            self._last[method] = {key: (image, results[key]) for key, image in distinct.items()}
        return [results[id(image)] for image in images]
