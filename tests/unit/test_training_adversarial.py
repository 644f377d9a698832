"""Which frames and which flow the video discriminators see, whatever chunk they were made in."""

from typing import Any

import torch
from torch import Tensor, nn

from v2vkit.models.generator import Output
from v2vkit.training.adversarial import adversarial_losses
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.generated import GeneratedChunk
from v2vkit.training.methods.vid2vid import VID2VID
from v2vkit.training.terms import losses_on
from v2vkit.training.window import WindowState

SIZE = (4, 6)


class Seeing(nn.Module):
    """In a discriminator's place: keeps the value of every channel of what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[list[float]] = []

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        self.shown.append(x.detach().mean((0, 2, 3)).tolist())
        return [[x, x.mean(1, keepdim=True)]]


def constant(*values: float) -> Tensor:
    return torch.tensor(values).view(1, -1, 1, 1).expand(1, len(values), *SIZE).clone()


def shown_for(frames: list[float], flows: list[float]) -> list[float]:
    """The channels of three grey frames and the two flows between them, each (w, -w) in twenties of pixels."""
    return [value for frame in frames for value in [frame] * 3] + [value for w in flows for value in (w, -w)]


def test_discriminators_of_sequences_see_old_and_new_fakes_with_the_flow_of_their_stride() -> None:
    """The last two of eight generated frames are new; two real ones lie before them all."""
    config = TrainConfig.model_validate({"preset": "tiny", "temporal_scales": 2, "precision": "fp32"})
    real = [t / 100 for t in range(10)]
    fakes = [0.5 + i / 100 for i in range(8)]
    x = torch.stack([constant(*[value] * 3) for value in real], 1)
    flow = {k: torch.stack([constant(20 * (k + t / 16), -20 * (k + t / 16)) for t in range(10)], 1) for k in (1, 3)}
    confidence = {k: torch.ones(1, 10, 1, *SIZE) for k in flow}
    made = [constant(*[value] * 3) for value in fakes]
    outputs = [Output(image, h=image, flow=None, mask=None, warped=None) for image in made[6:]]
    chunk = GeneratedChunk(VideoBatch(x, x, flow, confidence), WindowState(2, None, False, made), [8, 9], outputs)
    networks: dict[str, Any] = {"image": Seeing(), "video0": Seeing(), "video1": Seeing()}
    weights = {term: 1.0 for term in losses_on(VID2VID.losses(config), config) if term.network is not None}
    losses = adversarial_losses(config, weights, networks, chunk)
    assert set(losses.discriminators) == {"image", "video0", "video1"}
    for scale, stride in ((0, 1), (1, 3)):
        numbers = [7 - 2 * stride, 7 - stride, 7]
        flows = [stride + (2 + number) / 16 for number in numbers[1:]]
        fake, of_real = networks[f"video{scale}"].shown
        torch.testing.assert_close(fake, shown_for([fakes[i] for i in numbers], flows))
        torch.testing.assert_close(of_real, shown_for([real[2 + i] for i in numbers], flows))
