"""The edge network: six maps, what they learn, and their superposition."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.errors import raises
from v2vkit.models.dned import DNED, DNEDConfig, check_weights, draw_weights, superpose
from v2vkit.models.sflow_losses import dned_loss


def _squares(size: int = 32) -> tuple[Tensor, Tensor]:
    """Images [4, 3, H, W] of squares and their edges [4, 1, H, W]."""
    x, edges = torch.full((4, 3, size, size), -0.8), torch.zeros(4, 1, size, size)
    for i in range(4):
        a, b = 4 + 2 * i, 20 + 2 * i
        x[i, :, a:b, a:b] = 0.8
        edges[i, :, a:b, a:b] = 1
        edges[i, :, a + 1 : b - 1, a + 1 : b - 1] = 0
    return x, edges


@pytest.mark.parametrize(("source", "channels"), [("edges", 1), ("image", 3)])
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (37, 50)])
def test_six_maps_of_the_size_of_the_input(source: str, channels: int, size: tuple[int, int]) -> None:
    network = DNED(DNEDConfig.model_validate({"source": source, "width": 4}))
    logits = network(torch.rand(2, channels, *size))
    assert [tuple(each.shape) for each in logits] == [(2, 1, *size)] * 6


def test_the_fused_map_starts_as_the_mean_of_the_side_outputs() -> None:
    logits = DNED(DNEDConfig(width=4))(torch.rand(1, 1, 32, 32))
    torch.testing.assert_close(logits[5], torch.stack(logits[:5]).mean(0))


def test_deeper_side_outputs_see_more() -> None:
    """A pixel changes side output i within its receptive field only: 5, 14, 40 ... pixels of VGG-16."""
    torch.manual_seed(0)
    network = DNED(DNEDConfig(width=8)).double()
    x = torch.zeros(1, 1, 192, 192, dtype=torch.float64)
    x[..., 96, 96] = 1
    with torch.no_grad():
        changed = [(a - b).abs()[0, 0] > 0 for a, b in zip(network(x), network(torch.zeros_like(x)), strict=True)]
    widths = [int(each.any(0).sum()) for each in changed[:5]]
    assert widths[0] == 5
    assert widths == sorted(widths)
    assert len(set(widths)) == 5


@pytest.mark.parametrize("source", ["edges", "image"])
def test_it_learns_edges_from_scratch(source: str) -> None:
    torch.manual_seed(0)
    network = DNED(DNEDConfig.model_validate({"source": source, "width": 8}))
    x, edges = _squares()
    inputs = edges if source == "edges" else x
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    first = float(dned_loss(network(inputs), edges, balanced=True).detach())
    for _ in range(60):
        optimiser.zero_grad()
        dned_loss(network(inputs), edges, balanced=True).backward()
        optimiser.step()
    with torch.no_grad():
        logits = network(inputs)
    assert float(dned_loss(logits, edges, balanced=True)) < 0.6 * first
    found = superpose(logits, (1, 0, 0, 0, 0, 1))
    assert float(found[edges == 1].mean()) > 2 * float(found[edges == 0].mean())


def test_the_superposition_is_the_weighted_mean_of_sigmoids() -> None:
    logits = [torch.full((2, 1, 3, 4), value) for value in (0.0, 100.0, -100.0, 100.0, -100.0, 0.0)]
    assert torch.allclose(superpose(logits), torch.tensor(0.5))
    assert torch.allclose(superpose(logits, (0, 3, 1, 0, 0, 0)), torch.tensor(0.75))
    assert torch.allclose(superpose(logits, (0, 30, 10, 0, 0, 0)), torch.tensor(0.75))
    each = superpose(logits, torch.tensor([[1.0, 0, 0, 0, 0, 0], [0, 1.0, 0, 0, 0, 0]]))
    assert torch.allclose(each[:, 0, 0, 0], torch.tensor([0.5, 1.0]))
    assert each.shape == (2, 1, 3, 4)


def test_other_weights_give_other_edges() -> None:
    torch.manual_seed(0)
    logits = DNED(DNEDConfig(width=4))(torch.rand(1, 1, 32, 32))
    one, two = (superpose(logits, draw_weights(seed)).detach() for seed in (1, 2))
    assert float((one - two).abs().mean()) > 1e-3


def test_drawn_weights_are_those_of_their_seed_and_spread_over_the_simplex() -> None:
    assert draw_weights(3) == draw_weights(3)
    drawn = np.array([draw_weights(seed) for seed in range(400)])
    np.testing.assert_allclose(drawn.sum(1), 1)
    assert drawn.min() > 0
    np.testing.assert_allclose(drawn.mean(0), 1 / 6, atol=0.03)
    assert drawn.max() > 0.7
    check_weights(draw_weights(0))


@pytest.mark.parametrize(
    "weights", [(1,) * 5, (0,) * 6, (1, 1, 1, 1, 1, -1), (1, 1, 1, 1, 1, float("nan")), (float("inf"),) * 6]
)
def test_unusable_weights_are_refused(weights: tuple[float, ...]) -> None:
    with raises("setting-invalid", "6"):
        check_weights(weights)
