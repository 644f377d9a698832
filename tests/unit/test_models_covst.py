"""COVST: features carried from frame to frame along given flow."""

import pytest
import torch

from v2vkit.models.any_generator import build_generator
from v2vkit.models.covst import CovstGenerator, shrink_flow, with_flow
from v2vkit.models.generator import advance
from v2vkit.models.image_generator import ImageGenerator, ImageGeneratorConfig


def _covst(**changes: float) -> tuple[CovstGenerator, ImageGenerator]:
    torch.manual_seed(0)
    values = {"in_channels": 5, "width": 8, "num_down": 2, "num_blocks": 1, "covst": 1.0}
    config = ImageGeneratorConfig.model_validate(values | changes)
    generator = build_generator(config)
    assert isinstance(generator, CovstGenerator)
    return generator, generator.network


@pytest.mark.parametrize(("size", "share"), [((24, 32), 1.0), ((23, 37), 0.5)])
def test_features_of_the_last_frame_count_only_where_the_flow_is_confident(size: tuple[int, int], share: float) -> None:
    generator, network = _covst(covst=share)
    s = torch.rand(2, 1, 5, *size)
    flow, confidence = torch.full((1, 2, *size), 8.0), torch.zeros(1, 1, *size)
    first = generator(with_flow(s[0], flow, confidence), None, first_frame=True)
    torch.testing.assert_close(first[-1].x_fake, network(s[0]))
    untrusted = generator(with_flow(s[1], flow, confidence), advance(None, first, length=0))[-1]
    torch.testing.assert_close(untrusted.x_fake, network(s[1]))
    confidence[..., :8] = 1.0  # two columns of features
    partly = generator(with_flow(s[1], flow, confidence), advance(None, first, length=0))[-1]
    memory, before, own = partly.memory, first[-1].memory, untrusted.memory
    assert memory is not None
    assert before is not None
    assert own is not None
    torch.testing.assert_close(memory[..., 2:], own[..., 2:])
    moved = before[..., 2:, 2:4]  # 8 pixels are 2 of its pixels
    torch.testing.assert_close(memory[..., :-2, :2], share * moved + (1 - share) * own[..., :-2, :2])
    assert not torch.equal(partly.x_fake, untrusted.x_fake)


def test_flow_without_confidence_does_not_enter_the_smaller_flow() -> None:
    flow, confidence = torch.full((1, 2, 4, 4), 6.0), torch.ones(1, 1, 4, 4)
    flow[..., 0, 0], confidence[..., 0, 0] = 1e4, 0.0
    small, c = shrink_flow(flow, confidence, 2)
    torch.testing.assert_close(small, torch.full((1, 2, 2, 2), 3.0))
    torch.testing.assert_close(c, torch.tensor([[[[0.75, 1.0], [1.0, 1.0]]]]))


def test_carried_features_have_no_gradient_and_every_layer_learns() -> None:
    generator, _ = _covst(num_enhancers=1)
    s, flow, confidence = torch.rand(1, 5, 24, 32), torch.zeros(1, 2, 24, 32), torch.full((1, 1, 24, 32), 0.5)
    history = advance(None, generator(with_flow(s, flow, confidence), None, first_frame=True), length=0)
    assert not history[0].requires_grad
    for generator.checkpointing in (False, True):
        generator.zero_grad()
        generator(with_flow(s, flow, confidence), history)[-1].x_fake.mean().backward()
        assert all(parameter.grad is not None for parameter in generator.parameters())
