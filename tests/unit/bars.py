"""What work tells of its progress, as the tests see it."""

from typing import Any

import pytest

from v2vkit import progress as module


class Bar(module._Log):
    """What it was told, where there is no terminal."""

    def __init__(self, total: float | None, **settings: Any):
        super().__init__(total, **settings)
        self.name, self.expected = settings["desc"], total

    @property
    def done(self) -> float:
        return self._done


def watch_bars(monkeypatch: pytest.MonkeyPatch) -> list[Bar]:
    """The progress that is shown from now on."""
    bars: list[Bar] = []

    def make(total: float | None, **settings: Any) -> Bar:
        bars.append(Bar(total, **settings))
        return bars[-1]

    monkeypatch.setattr(module, "_Log", make)
    return bars
