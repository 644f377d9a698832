"""Progress bars as the tests see them."""

from typing import Any

import pytest
import tqdm


class Bar(tqdm.tqdm):
    """What it was told, also where there is no terminal and nothing is drawn."""

    def __init__(self, *args: Any, desc: str = "", total: float | None = None, **settings: Any):
        super().__init__(*args, desc=desc, total=total, **settings)
        self.name, self.expected, self.done = desc, total, 0

    def update(self, n: float | None = 1) -> bool | None:
        self.done += int(n or 0)
        return super().update(n)


def watch_bars(monkeypatch: pytest.MonkeyPatch) -> list[Bar]:
    """The bars that are made from now on, by functions that import tqdm when they are called."""
    bars: list[Bar] = []

    def make(*args: Any, **settings: Any) -> Bar:
        bars.append(Bar(*args, **settings))
        return bars[-1]

    monkeypatch.setattr(tqdm, "tqdm", make)
    return bars
