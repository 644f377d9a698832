"""What the benchmarks compare is the same thing: the plain formulation gives our losses, gradients and frames."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.generate_frame import run as run_frame
from benchmarks.plain import Training, plain_chunk, plain_frame, plain_warp
from benchmarks.train_step import CONTEXT, Workload, begin, begin_plain, make_sequence
from benchmarks.train_step import run as run_step
from tests.unit.training_data import train_chunk
from v2vkit.models.blocks import InstanceNorm, NarrowConv
from v2vkit.models.generator import VideoGenerator
from v2vkit.models.warp import warp
from v2vkit.training.window import begin_window

TINY = Workload(
    width=48, height=32, frames=4, generator_width=8, blocks=2, discriminator_width=8, repeats=1, matrix=64, threads=1
)


def _still(trainer: Training) -> Training:
    """Optimisers that change nothing, so that gradients stay to be looked at."""
    for optimizer in trainer.state.optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = 0.0
    return trainer


def test_plain_steps_give_our_losses_and_gradients_in_every_chunk_of_a_window() -> None:
    config, sequence = TINY.config(), make_sequence(TINY)
    ours, plain = (_still(begin(config, TINY)) for _ in range(2))
    states = [begin_window(sequence, t.method.generator, from_nothing=False) for t in (ours, plain)]
    for frames in ([CONTEXT, CONTEXT + 1], [CONTEXT + 2, CONTEXT + 3]):  # D_V sees frames of the first in the second
        values, _ = train_chunk(ours, sequence, states[0], frames)
        expected = plain_chunk(plain, sequence, states[1], frames)
        assert values == pytest.approx(expected, rel=1e-5)
        for name, network in ours.state.modules.items():
            for a, b in zip(network.parameters(), plain.state.modules[name].parameters(), strict=True):
                assert (a.grad is None) == (b.grad is None)
                if a.grad is not None:
                    torch.testing.assert_close(a.grad, b.grad, rtol=2e-3, atol=2e-5)
    assert all(p.grad is not None for network in ours.state.modules.values() for p in network.parameters())
    assert {"G_GAN", "G_GAN_Feat", "D_T0_fake", "G_T0_Feat", "F_Flow", "W"} <= values.keys()


def test_networks_of_stock_layers_make_the_same_frame() -> None:
    sequence = make_sequence(TINY)
    ours = begin(TINY.config(), TINY).method.generator
    stock = begin_plain(TINY).method.generator
    assert isinstance(stock, VideoGenerator)
    source, history = sequence.s[:, : CONTEXT + 1].flatten(1, 2), sequence.x[:, :CONTEXT].flatten(1, 2)
    with torch.no_grad():
        a, b = ours(source, [history])[-1], plain_frame(stock, source, history)
    for field in ("x_fake", "h", "mask", "warped"):
        torch.testing.assert_close(getattr(a, field), getattr(b, field), rtol=0, atol=1e-3)


def test_published_warp_and_ours_agree() -> None:
    image, flow = torch.rand(2, 3, 24, 32), torch.randn(2, 2, 24, 32) * 9
    torch.testing.assert_close(plain_warp(image, flow), warp(image, flow), rtol=0, atol=2e-5)


def test_the_plain_step_has_none_of_our_parts() -> None:
    """Ratios to a step that shares our faster parts would flatter."""
    training = begin_plain(TINY)
    layers = [layer for network in training.state.modules.values() for layer in network.modules()]
    assert not any(isinstance(layer, NarrowConv | InstanceNorm) for layer in layers)
    assert training.stock
    assert not any(group["fused"] for of in training.state.optimizers.values() for group in of.param_groups)


def test_our_step_needs_less_arithmetic() -> None:
    sequence, config = make_sequence(TINY), TINY.config()
    amounts = []
    for step in (train_chunk, plain_chunk):
        trainer = begin(config, TINY)
        state = begin_window(sequence, trainer.method.generator, from_nothing=False)
        with FlopCounterMode(display=False) as counter:
            step(trainer, sequence, state, [2, 3, 4])
        amounts.append(counter.get_total_flops())
    assert 0 < amounts[0] < 0.9 * amounts[1]


def test_the_tables_are_finite_and_the_formulations_agree() -> None:
    rows = {what: value for what, value, _ in run_step(TINY) + run_frame(TINY)}
    assert np.isfinite(list(rows.values())).all()
    (apart,) = [value for what, value in rows.items() if what.endswith("the same layers")]
    assert apart <= 1
    assert rows["train step, ours / plain: arithmetic"] < 0.9
