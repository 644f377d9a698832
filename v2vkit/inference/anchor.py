"""Colour anchoring: removes the slow drift of a long rendering's colours.

A generator that sees its own frames can drift: a small change of colour in every frame adds up over thousands. The
anchor remembers mean m_0 and standard deviation d_0 of each colour channel over the first `WINDOW` frames of a shot,
and follows those of the generator's raw output x with an exponential moving average (m, d) of the same length. It
returns

    y = (x - m) * d_0 / d + m_0

which becomes the next frame's history. Changes that are faster than `WINDOW` frames stay. Slow changes of the content
(a car that drives into a tunnel) are removed as well, which is why anchoring is an option.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from v2vkit.models.generator import Output

WINDOW = 48
"""Frames."""
_GAIN = 1.25
"""Contrast is changed by this factor at most, up or down: a black frame has no spread."""


@dataclass
class ColourAnchor:
    """The statistics of one rollout; `correct` updates them.

    Attributes:
        num_frames: frames seen so far.
        reference: m_0 and d_0 of the channels, [2, 3]; a running mean until `WINDOW` frames have been seen.
        now: m and d, [2, 3].
    """

    num_frames: int = 0
    reference: Tensor | None = None
    now: Tensor | None = None

    def restarted(self) -> Self:
        """The anchor of a rollout that starts afresh in the same shot: the reference is kept."""
        return replace(self, now=self.reference)

    def correct(self, outputs: Sequence[Output]) -> list[Output]:
        """The outputs of all scales with corrected frames x_fake [1, 3, h, w] in [-1, 1]; measured on the finest."""
        x = outputs[-1].x_fake.float()
        seen = torch.stack([x.mean((0, 2, 3)), x.std((0, 2, 3))])
        self.num_frames += 1
        if self.reference is None or self.now is None:
            self.reference = self.now = seen
        elif self.num_frames <= WINDOW:
            self.reference = self.now = self.reference + (seen - self.reference) / self.num_frames
        else:
            self.now = self.now + (seen - self.now) / WINDOW
        if self.num_frames <= WINDOW:
            return list(outputs)
        (mean, spread), (wanted, spread_wanted) = self.now, self.reference
        gain = (spread_wanted / spread.clamp(min=1e-6)).clamp(1 / _GAIN, _GAIN)
        return [replace(of, x_fake=_shifted(of.x_fake, gain, wanted - mean * gain)) for of in outputs]


def _shifted(x: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    """x * gain + offset for each channel, within [-1, 1]."""
    changed = x * gain.to(x.dtype)[:, None, None] + offset.to(x.dtype)[:, None, None]
    return changed.clamp(-1, 1)
