"""Curves of a training as small SVG plots."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

_POINTS = 300
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 420, 150, 58, 18, 6


@dataclass(frozen=True)
class Curve:
    """A scalar over the steps of a training.

    Attributes:
        name: such as `loss/gan`.
        steps: first step of each point, ascending.
        values: mean over the steps of each point; finite.
        last: the last single value.
    """

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    last: float


def downsampled(name: str, events: Sequence[tuple[int, float]]) -> Curve:
    """The curve of (step, value) events: at most 300 points, each the mean of as many neighbours; NaN is left out.

    Where a resumed run wrote a step again, the later event counts.
    """
    latest = {step: value for step, value in events if math.isfinite(value)}
    ordered = sorted(latest.items())
    size = max(1, math.ceil(len(ordered) / _POINTS))
    groups = [ordered[i : i + size] for i in range(0, len(ordered), size)]
    return Curve(
        name,
        tuple(group[0][0] for group in groups),
        tuple(sum(value for _, value in group) / len(group) for group in groups),
        ordered[-1][1] if ordered else math.nan,
    )


def svg(curve: Curve) -> str:
    """The curve as an SVG element with its range and steps at the axes; empty without points."""
    if not curve.values:
        return ""
    low, high = min(curve.values), max(curve.values)
    first, last = curve.steps[0], curve.steps[-1]
    width, height = _WIDTH - _LEFT - 4, _HEIGHT - _BOTTOM - _TOP

    def place(step: int, value: float) -> str:
        x = _LEFT + width * (step - first) / max(1, last - first)
        y = _TOP + height * (1 - (value - low) / ((high - low) or 1))
        return f"{x:.1f},{y:.1f}"

    points = " ".join(place(step, value) for step, value in zip(curve.steps, curve.values, strict=True))
    name = html.escape(curve.name)
    base = _HEIGHT - _BOTTOM
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{name}">'
        f'<rect x="{_LEFT}" y="{_TOP}" width="{width}" height="{height}" class="frame"/>'
        f'<polyline points="{points}"/>'
        f'<text x="{_LEFT - 4}" y="{_TOP + 9}" class="end">{high:.4g}</text>'
        f'<text x="{_LEFT - 4}" y="{base}" class="end">{low:.4g}</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 4}">{first:,}</text>'
        f'<text x="{_WIDTH - 4}" y="{_HEIGHT - 4}" class="end">{last:,} steps</text></svg>'
    )
