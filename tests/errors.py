"""Matching errors by their code: tests never match the sentences, which may be rewritten."""

import contextlib
from collections.abc import Iterator

import pytest

from v2vkit.errors import V2VError


class Caught:
    """What `raises` caught: `error` once the block has ended."""

    error: V2VError

    def __str__(self) -> str:
        return str(self.error)


@contextlib.contextmanager
def raises(code: str, *names: str) -> Iterator[Caught]:
    """The block raises a `V2VError` of this code, whose message or hint contains each of `names`.

    Args:
        code: the stable code.
        names: what the user has to be told: a file, a value, a command to type. No English.
    """
    caught = Caught()
    with pytest.raises(V2VError) as info:
        yield caught
    caught.error = info.value
    assert info.value.code == code, f"{info.value.code}: {info.value}"
    for name in names:
        assert name in str(info.value)
