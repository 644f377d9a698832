"""What the losses of a chunk are made of: every term and weight by hand (vid2vid specification 1.9)."""

import pytest
import torch
from torch import Tensor

from tests.conditions import of_domain
from tests.unit.training_data import begin
from v2vkit.models.generator import Output
from v2vkit.models.losses import perceptual
from v2vkit.models.perceptual import PerceptualNetwork
from v2vkit.training.adversarial import AdversarialLosses, adversarial_losses
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.generated import DetachedFakes, GeneratedChunk
from v2vkit.training.methods.vid2vid import VID2VID
from v2vkit.training.reconstruction import Losses, reconstruction_losses
from v2vkit.training.terms import losses_on
from v2vkit.training.window import WindowState

SIZE = (4, 10)
WEIGHTS = {
    "lambda_flow": 10.0,
    "lambda_warp": 7.0,
    "lambda_perceptual": 10.0,
    "lambda_mask": 1.0,
    "lambda_l1": 3.0,
    "lambda_style": 2.0,
}
SETTINGS = {"stage": "spatial-2", "num_scales": 2, "perceptual": "vgg19", "perceptual_weights": "vgg.pth", **WEIGHTS}


class Means(PerceptualNetwork):
    """In VGG's place: five times the mean of the picture."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x.mean((1, 2, 3), keepdim=True)] * 5

    def distance(self, fake: list[Tensor], real: list[Tensor]) -> Tensor:
        return perceptual(fake, real)


def constant(*values: float) -> Tensor:
    return torch.tensor(values).view(1, -1, 1, 1).expand(1, len(values), *SIZE).clone()


def real(t: int) -> Tensor:
    """x_t is 0.1 t brighter than x_0, and 0.01 brighter with every column."""
    return constant(*[0.1 * t] * 3) + 0.01 * torch.arange(SIZE[1])


def output(t: int, *, x_fake: float, h: float, flow: float, mask: float, first: bool = False) -> Output:
    """A frame and its hallucination that much brighter than the real one."""
    if first:
        return Output(real(t) + x_fake, h=real(t) + h, flow=None, mask=None, warped=None)
    return Output(real(t) + x_fake, h=real(t) + h, flow=constant(flow, 0), mask=constant(mask), warped=real(t))


def losses_of(outputs: list[Output], *, from_nothing: bool = False, **settings: object) -> Losses:
    """The losses of frames 2 and 3 after two real ones."""
    trust = constant(0.5)
    trust[..., :2] = trust[..., 7:] = 0.0  # half of the columns: nothing comes from outside the picture
    flow, confidence = (torch.stack([of] * 4, 1) for of in (constant(1, 0), trust))
    x = torch.stack([real(t) for t in range(4)], 1)
    sequence = VideoBatch(x, x, {1: flow}, {1: confidence})
    config = TrainConfig.model_validate(SETTINGS | settings)
    state = WindowState(2, None, from_nothing, [o.x_fake for o in outputs])
    weights = {term: term.factor(config) for term in losses_on(VID2VID.losses(config), config)}
    return reconstruction_losses(weights, GeneratedChunk(sequence, state, [2, 3], outputs, perceptual=Means()))


BOTH = {
    "G_L1": (0.4 + 0.2, 3),  # the mean of x_fake's 0.3 and 0.5, and of h's 0.1 and 0.3
    "G_Perceptual": ((1 / 32 + 1 / 16 + 1 / 8 + 1 / 4 + 1) * 0.6, 10),
    # 5 |mean^2 - mean_real^2| with real means 0.245 and 0.345, x_fake's 0.545 and 0.845, h's 0.145 and 0.045
    "G_Style": (5 * ((0.237 + 0.595) / 2 + (0.039 + 0.117) / 2), 2),
}
"""Of x_fake and of h: the term and its weight."""
# Confidence 0.5 on half of the pixels: a quarter of the difference.
FLOW = {
    "F_Flow": ((0.5 + 1.0) / 2 / 4, 10 / 2),  # (2, 0) and (3, 0) for (1, 0), over two channels; S = 2
    "F_Warp": ((0.08 + 0.07) / 2 / 4, 10),  # real x_{t-1}, 2 and 3 columns on, is 0.1 - 0.02 and 0.1 - 0.03 too dark
    # 0.3 + 0.1 - 0.01 over the real frame before; 0.5 + 0.1 - 0.01 over the generated one, itself 0.3 too bright
    "G_Warp": ((0.39 + 0.29) / 2 / 4, 7),
}
MASK = {"W": ((0.4 + 0.8) / 2 / 4, 1)}
SECOND = {"F_Flow": (1 / 4, 10 / 2), "F_Warp": (0.07 / 4, 10), "G_Warp": (0.29 / 4, 7), "W": (0.8 / 4, 1)}
"""Of frame 3 alone: a frame without a past has no flow."""


@pytest.mark.parametrize(
    ("first_frame", "first", "expected"),
    [("real", False, BOTH | FLOW), ("self", False, BOTH | FLOW | MASK), ("self", True, BOTH | SECOND)],
)
def test_every_term_and_its_weight(first_frame: str, first: bool, expected: dict[str, tuple[float, float]]) -> None:
    outputs = [
        output(2, x_fake=0.3, h=-0.1, flow=2, mask=0.4, first=first),  # hallucinated alone where it is the first
        output(3, x_fake=0.5, h=-0.3, flow=3, mask=0.8),
    ]
    found = losses_of(outputs, from_nothing=first, first_frame=first_frame)
    terms = {name: float(term) for name, term in found.terms.items()}
    assert terms == pytest.approx({name: term for name, (term, _) in expected.items()}, rel=1e-4)
    assert found.total is not None
    assert float(found.total) == pytest.approx(sum(term * weight for term, weight in expected.values()), rel=1e-4)


@pytest.mark.parametrize(
    ("from_nothing", "brighter", "expected"), [(False, 0.0, 0.0), (False, 0.3, 0.3 / 2 / 4), (True, 0.3, 0.3 / 4)]
)
def test_generated_frames_that_follow_the_real_flow_are_consistent(
    from_nothing: bool, brighter: float, expected: float
) -> None:
    """Without a flow branch, too. The flow moves everything by a column, and columns differ by 0.01."""
    frames = [real(1) + 0.01, real(1) + 0.02 + brighter]
    outputs = [Output(x_fake, h=x_fake, flow=None, mask=None, warped=None) for x_fake in frames]
    terms = losses_of(outputs, from_nothing=from_nothing, flow=False).terms
    assert float(terms["G_Warp"]) == pytest.approx(expected, abs=1e-6)
    assert not {"F_Flow", "F_Warp", "W"} & terms.keys()
    assert "G_Warp" not in losses_of(outputs, flow=False, lambda_warp=0.0).terms


def test_the_losses_of_video_discriminators_weigh_what_is_set() -> None:
    settings = {"preset": "tiny", "discriminator_width": 8, "temporal_scales": 1, "precision": "fp32"}
    config = TrainConfig.model_validate(settings)
    x, s = torch.rand(1, 5, 3, 24, 32) * 2 - 1, torch.rand(1, 5, 3, 24, 32)
    flow, confidence = torch.zeros(1, 5, 2, 24, 32), torch.ones(1, 5, 1, 24, 32)
    sequence = VideoBatch(x, s, {1: flow}, {1: confidence})
    fakes = [torch.rand(1, 3, 24, 32) * 2 - 1 for _ in range(3)]
    method = begin(config, of_domain("pose"), torch.device("cpu")).method
    terms = [term for term in method.losses() if term.network is not None]

    def losses(weight: float) -> tuple[AdversarialLosses, Tensor]:
        outputs = [Output(x_fake, h=x_fake, flow=None, mask=None, warped=None) for x_fake in fakes]
        chunk = GeneratedChunk(sequence, WindowState(2, None, False, fakes), [2, 3, 4], outputs)
        assert isinstance(chunk.detached, DetachedFakes)
        weights = {term: weight if term.key == "T0" else 1.0 for term in terms}
        found = adversarial_losses(config, weights, method.discriminators, chunk)
        assert found.generator.total is not None
        return found, torch.autograd.grad(found.generator.total, chunk.detached.x_fake[1])[0]

    none, of_none = losses(0.0)
    assert none.generator.total is not None
    for weight in (1.0, 3.0, 1.5):
        found, gradient = losses(weight)
        assert found.generator.total is not None
        of_sequences = found.generator.terms["G_T0"] + 10 * found.generator.terms["G_T0_Feat"]
        more = float((found.generator.total - none.generator.total).detach())
        assert more == pytest.approx(float(of_sequences) * weight, rel=1e-4)
        if weight == 1:
            of_one = gradient - of_none
        torch.testing.assert_close(gradient - of_none, of_one * weight, rtol=1e-3, atol=1e-7)
    assert of_one.any()
