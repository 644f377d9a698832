"""The sequential generator: the paper's equations, its state, any size, who gets gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.errors import raises
from v2vkit.config import as_plain, make_config
from v2vkit.models.generator import (
    GeneratorConfig,
    VideoGenerator,
    add_foreground,
    advance,
    blend,
    history_from_images,
)
from v2vkit.models.warp import warp

CHANNELS = 5


def _generator(**changes: Any) -> VideoGenerator:
    torch.manual_seed(0)
    values = {"source_channels": CHANNELS, "width": 8, "num_down": 2, "num_blocks": 2, "num_blocks_fine": 1}
    return VideoGenerator(GeneratorConfig(**{**values, **changes}))


def _inputs(num_scales: int = 1, height: int = 32, width: int = 48, batch: int = 1) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(1)
    source = torch.rand(batch, 3 * CHANNELS, height, width, generator=generator)
    images = torch.rand(batch, 2, 3, height, width, generator=generator) * 2 - 1
    return source, history_from_images(images, num_scales)


def _force_mask(generator: VideoGenerator, value: float) -> None:
    for scale in generator.scales:
        nn.init.zeros_(scale.mask_head.weight)
        nn.init.constant_(scale.mask_head.bias, value)


def test_equation_4_at_its_ends() -> None:
    warped, h = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    assert torch.equal(blend(warped, h, torch.zeros(1, 1, 4, 4)), warped)
    assert torch.equal(blend(warped, h, torch.ones(1, 1, 4, 4)), h)


@pytest.mark.parametrize(("bias", "field"), [(-200.0, "warped"), (200.0, "h")])
def test_the_mask_chooses_between_warped_and_hallucinated(bias: float, field: str) -> None:
    generator = _generator()
    _force_mask(generator, bias)
    source, history = _inputs()
    output = generator(source, history)[-1]
    assert torch.equal(output.x_fake, getattr(output, field))


def test_the_warped_image_is_the_newest_past_frame_moved_by_the_flow() -> None:
    source, history = _inputs(2)
    for index, output in enumerate(_generator(num_scales=2)(source, history)):
        assert torch.equal(output.warped, warp(history[index][:, 3:], output.flow))
        assert float(output.flow.detach().abs().max()) > 0
        torch.testing.assert_close(output.x_fake, blend(output.warped, output.h, output.mask))


@pytest.mark.parametrize("composition", ["paper", "published"])
def test_an_empty_foreground_changes_nothing(composition: str) -> None:
    """Equation 9 with m_B = 1 is equation 4 on the background network alone."""
    with_branch = _generator(foreground=(1, 3), composition=composition)
    without = _generator()
    missing = without.load_state_dict(with_branch.state_dict(), strict=False)
    assert not missing.missing_keys
    source, history = _inputs()
    source.unflatten(1, (3, CHANNELS))[:, 2, [1, 3]] = 0
    ours, theirs = with_branch(source, history)[-1], without(source, history)[-1]
    assert torch.equal(ours.x_fake, theirs.x_fake)
    assert torch.equal(ours.h, theirs.h)


def test_compositions_differ_only_in_whether_the_foreground_may_be_warped() -> None:
    source, history = _inputs()
    frames = source.unflatten(1, (3, CHANNELS))
    frames[:, 2, [1, 3]] = 0
    frames[:, 2, 1, :, :20] = 1
    outputs = {}
    for name in ("paper", "published"):
        generator = _generator(foreground=(1, 3), composition=name)
        _force_mask(generator, -200.0)  # warp everything that may be warped
        outputs[name] = generator(source, history)[-1]
    paper, published = outputs["paper"], outputs["published"]
    assert torch.equal(paper.h, published.h)
    assert torch.equal(paper.x_fake, paper.warped)
    assert torch.equal(published.x_fake[..., :20], published.h[..., :20])
    assert torch.equal(published.x_fake[..., 20:], published.warped[..., 20:])


def test_the_foreground_is_that_of_the_newest_source_frame_and_is_clamped() -> None:
    generator = _generator(foreground=(0, 2))
    source, history = _inputs()
    frames = source.unflatten(1, (3, CHANNELS))
    frames[:, 2, [0, 2]] = 1.0  # both at once still count once
    all_foreground = generator(source, history)[-1].h
    background = _generator(foreground=(0, 2))
    nn.init.constant_(background.scales[0].image_head.bias, 3.0)
    assert torch.equal(background(source, history)[-1].h, all_foreground)
    assert torch.equal(add_foreground(torch.zeros(1), torch.ones(1), torch.ones(1)), torch.ones(1))


def test_a_first_frame_needs_no_past_and_is_hallucinated() -> None:
    generator = _generator(num_scales=2)
    source, history = _inputs(2)
    alone = generator(source, first_frame=True)
    given = generator(source, history, first_frame=True)
    for without, with_past in zip(alone, given, strict=True):
        assert torch.equal(without.x_fake, with_past.x_fake)
        assert torch.equal(without.x_fake, without.h)
        assert without.flow is None
        assert without.mask is None
        assert without.warped is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_first_frame_without_a_history_of_zeros_has_gradients_like_any_other(dtype: torch.dtype) -> None:
    """Encoded zeros are constant maps, which instance norms upsample_to without bound."""
    source, history = _inputs(2)

    def gradients(*, zero_history: bool, first_frame: bool) -> dict[str, float]:
        generator = _generator(num_scales=2, num_blocks=4, zero_history=zero_history)
        past = None if first_frame else history
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            generator(source, past, first_frame=first_frame)[-1].x_fake.square().mean().backward()
        grads = {name: p.grad for name, p in generator.named_parameters() if p.grad is not None}
        return {name: float(grad.norm()) for name, grad in grads.items()}

    usual = max(gradients(zero_history=False, first_frame=False).values())
    first = gradients(zero_history=False, first_frame=True)
    assert max(first.values()) < 10 * usual
    assert not any("history_encoder" in name for name in first)
    assert not max(gradients(zero_history=True, first_frame=True).values()) < 100 * usual


@pytest.mark.parametrize("first_frame", [False, True])
@pytest.mark.parametrize("constant", [0.0, 1.0])
def test_a_source_map_that_says_nothing_teaches_nothing_and_disturbs_nothing(
    constant: float, first_frame: bool
) -> None:
    """A blank skeleton: one image of the batch is constant, and the other learns as it would alone."""
    source, history = _inputs(2, batch=2)
    source[1] = constant

    def gradients(images: slice) -> dict[str, Tensor]:
        generator = _generator(num_scales=2, num_blocks=4, foreground=(1,), zero_history=False)
        past = None if first_frame else [of[images] for of in history]
        generator(source[images], past, first_frame=first_frame)[-1].x_fake.square().sum().backward()
        # Of convolutions: the gradient of a bias before a norm is nothing but rounding.
        return {name: p.grad for name, p in generator.named_parameters() if p.grad is not None and p.ndim == 4}

    alone, both = gradients(slice(0, 1)), gradients(slice(0, 2))
    assert alone.keys() == both.keys()
    for name, gradient in both.items():
        if "source_encoder" in name or "foreground_encoder" in name or "foreground_branch" in name:
            apart = float((gradient - alone[name]).norm() / alone[name].norm().clamp(min=1e-3))
            assert apart < 0.01, f"{name}: {apart}"
        assert float(gradient.norm()) < 100 * float(alone[name].norm()) + 1e-3, name


def test_a_history_of_zeros_is_what_published_first_frames_see() -> None:
    source, history = _inputs()
    generator = _generator()
    first = generator(source, first_frame=True)[-1].h
    torch.testing.assert_close(first, generator(source, [torch.zeros_like(past) for past in history])[-1].h)


@pytest.mark.parametrize("num_scales", [1, 2])
def test_given_flow_replaces_the_predicted_one_and_nothing_else(num_scales: int) -> None:
    generator = _generator(num_scales=num_scales)
    source, history = _inputs(num_scales)
    own = generator(source, history)
    flows = [output.flow for output in own]
    for a, b in zip(own, generator(source, history, given_flow=flows), strict=True):
        assert torch.equal(a.x_fake, b.x_fake)
    moved = [torch.full_like(flow, 2.0) for flow in flows]
    for output, mine, past in zip(generator(source, history, given_flow=moved), own, history, strict=True):
        assert torch.equal(output.warped, warp(past[:, -3:], torch.full_like(mine.flow, 2.0)))
        assert torch.equal(output.x_fake, blend(output.warped, output.h, output.mask))
        assert not torch.equal(output.x_fake, mine.x_fake)
    coarsest, before = generator(source, history, given_flow=moved)[0], own[0]
    assert torch.equal(coarsest.h, before.h)
    assert torch.equal(coarsest.mask, before.mask)


def test_a_generator_without_flow_only_hallucinates() -> None:
    generator = _generator(flow=False)
    assert not any("flow" in name or "mask" in name for name, _ in generator.named_parameters())
    source, history = _inputs()
    output = generator(source, history)[-1]
    assert output.flow is None
    assert torch.equal(output.x_fake, output.h)


@pytest.mark.parametrize(("height", "width"), [(33, 47), (50, 67), (16, 16), (5, 9)])
@pytest.mark.parametrize("num_scales", [1, 3])
def test_any_size_goes_in_and_the_same_comes_out(num_scales: int, height: int, width: int) -> None:
    generator = _generator(num_scales=num_scales, foreground=(1,), num_down=3)
    source, history = _inputs(num_scales, height, width)
    outputs = generator(source, history)
    for index, output in enumerate(reversed(outputs)):
        size = (-(-height // 2**index), -(-width // 2**index))
        assert {t.shape[-2:] for t in (output.x_fake, output.h, output.flow, output.mask, output.warped)} == {size}
        assert output.x_fake.isfinite().all()
    history = advance(history, outputs)
    assert generator(source, history)[-1].x_fake.shape == (1, 3, height, width)


def test_padding_stays_on_its_side_of_the_frame() -> None:
    generator = _generator(
        norm="running"
    ).eval()  # fixed statistics, so that only the neighbourhood of the border matters
    source, history = _inputs(1, 128, 128)
    whole = generator(source, history)[-1].h
    cropped = generator(source[..., :127, :126], [past[..., :127, :126] for past in history])[-1].h
    torch.testing.assert_close(cropped[..., :24, :24], whole[..., :24, :24], atol=1e-5, rtol=0)


def test_each_scale_keeps_its_own_past() -> None:
    generator = _generator(num_scales=2)
    source, history = _inputs(2)
    outputs = generator(source, history)
    after = advance(history, outputs)
    for past, now, output in zip(history, after, outputs, strict=True):
        assert torch.equal(now[:, :3], past[:, 3:])
        assert torch.equal(now[:, 3:], output.x_fake)
        assert not now.requires_grad
    changed = [history[0], history[1].flip(-1)]
    again = generator(source, changed)
    assert torch.equal(again[0].x_fake, outputs[0].x_fake)
    assert not torch.equal(again[1].x_fake, outputs[1].x_fake)


def test_the_past_starts_from_nothing_or_from_images() -> None:
    generator = _generator(num_scales=2, history=2)
    source, _ = _inputs(2)
    outputs = generator(source, first_frame=True)
    start = advance(None, outputs, length=2)
    for past, output in zip(start, outputs, strict=True):
        assert torch.equal(past[:, :3], torch.zeros_like(past[:, :3]))
        assert torch.equal(past[:, 3:], output.x_fake)
    images = torch.rand(1, 2, 3, 32, 48)
    given = history_from_images(images, 2)
    assert [tuple(past.shape) for past in given] == [(1, 6, 16, 24), (1, 6, 32, 48)]
    assert torch.equal(given[1], images.flatten(1, 2))


def test_other_history_lengths() -> None:
    generator = _generator(history=1)
    source = torch.rand(1, 2 * CHANNELS, 16, 16)
    history = advance(None, generator(source, first_frame=True), length=1)
    assert generator(source, history)[-1].x_fake.shape == (1, 3, 16, 16)


def test_every_parameter_learns_with_one_scale() -> None:
    generator = _generator(foreground=(1,))
    source, history = _inputs()
    output = generator(source, history)[-1]
    (output.x_fake.square().mean() + output.flow.square().mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in generator.parameters())
    assert float(generator.scales[0].foreground_head.weight.grad.abs().sum()) > 0


def test_frozen_coarse_scales_get_no_gradient_and_compute_the_same() -> None:
    generator = _generator(num_scales=2)
    source, history = _inputs(2)
    everything = generator(source, history)[-1].x_fake
    everything.mean().backward()
    assert generator.scales[0].image_branch[-3].weight.grad is not None  # reached through the finer scale's features
    generator.zero_grad()
    newest = generator(source, history, train_from=1)
    assert torch.equal(newest[-1].x_fake, everything)
    newest[-1].x_fake.mean().backward()
    assert all(p.grad is None for p in generator.scales[0].parameters())
    assert all(p.grad is not None for p in generator.scales[1].parameters())
    assert not newest[0].x_fake.requires_grad


def test_the_history_is_cut_from_the_graph() -> None:
    generator = _generator()
    source, _ = _inputs()
    first = generator(source, first_frame=True)
    assert first[0].x_fake.requires_grad
    assert not advance(None, first)[0].requires_grad


def test_instance_norm_is_the_same_in_training_and_evaluation_and_per_image() -> None:
    generator = _generator()
    source, history = _inputs(batch=2)
    training = generator.train()(source, history)[-1].x_fake
    assert torch.equal(generator.eval()(source, history)[-1].x_fake, training)
    single = generator(source[:1], [history[0][:1]])[-1].x_fake
    torch.testing.assert_close(single, training[:1], atol=1e-4, rtol=0)


def test_flow_is_scaled_to_pixels_of_each_scale() -> None:
    generator = _generator(num_scales=2, flow_multiplier=20.0)
    source, history = _inputs(2)
    for scale in generator.scales:
        nn.init.zeros_(scale.flow_head.weight)
        nn.init.constant_(scale.flow_head.bias, 0.1)
    for output, pixels in zip(generator(source, history), (2.0, 4.0), strict=True):
        torch.testing.assert_close(output.flow, torch.full_like(output.flow, pixels))


def test_the_config_survives_a_checkpoint_and_refuses_nonsense() -> None:
    config = GeneratorConfig(source_channels=13, foreground=(3, 4), width=32, num_scales=2)
    assert make_config(GeneratorConfig, as_plain(config), "checkpoint") == config
    for bad in (
        {"foreground": (13,)},
        {"width": 6, "num_scales": 3},
        {"width": 10**9},
        {"num_blocks": -1},
        {"composition": "mine"},
        {"layers": 3},
    ):
        with raises("setting-invalid"):
            make_config(GeneratorConfig, {"source_channels": 13, **bad}, "checkpoint")
