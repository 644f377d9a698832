"""The S-Flow generator: every frame from its own labels and edges, variants by edge weights, joint training."""

import pytest
import torch
from torch import Tensor

from v2vkit.models.dned import DNEDConfig, draw_weights
from v2vkit.models.image_generator import ImageGeneratorConfig
from v2vkit.models.losses import pixel_l1
from v2vkit.models.sflow_generator import SFlowGenerator
from v2vkit.models.sflow_losses import dned_loss

CONFIG = ImageGeneratorConfig(in_channels=4, width=4, num_down=2, num_blocks=1)


def _inputs(batch: int = 3) -> tuple[Tensor, Tensor]:
    """Labels [B, 3, H, W] and edges [B, 1, H, W]."""
    torch.manual_seed(0)
    ids = torch.randint(0, 3, (batch, 24, 40))
    labels = torch.nn.functional.one_hot(ids, 3).permute(0, 3, 1, 2).float()
    return labels, (torch.rand(batch, 1, 24, 40) > 0.8).float()


def test_without_edge_network_it_sees_the_edges_as_they_are() -> None:
    labels, edges = _inputs()
    output = SFlowGenerator(CONFIG)(labels, edges)
    assert output.x_fake.shape == (3, 3, 24, 40)
    assert output.logits == []
    assert torch.equal(output.edges, edges)


@pytest.mark.parametrize("with_dned", [False, True])
def test_frames_of_a_batch_do_not_depend_on_each_other(with_dned: bool) -> None:
    """So frames of a video can be made in parallel, and no error can drift from frame to frame."""
    torch.manual_seed(0)
    network = SFlowGenerator(CONFIG, DNEDConfig(width=4) if with_dned else None).eval()
    labels, edges = _inputs()
    with torch.no_grad():
        whole = network(labels, edges).x_fake
        for i in (2, 0, 1):
            torch.testing.assert_close(whole[i : i + 1], network(labels[i : i + 1], edges[i : i + 1]).x_fake)


def test_the_edges_change_the_frame() -> None:
    network, (labels, edges) = SFlowGenerator(CONFIG), _inputs()
    one, two = (network(labels, each).x_fake.detach() for each in (edges, 1 - edges))
    assert float((one - two).abs().mean()) > 1e-4


def test_edge_weights_make_variants_of_one_scene() -> None:
    torch.manual_seed(0)
    network, (labels, edges) = SFlowGenerator(CONFIG, DNEDConfig(width=4)).eval(), _inputs()
    with torch.no_grad():
        frames = [network(labels, edges, edge_weights=draw_weights(seed)).x_fake for seed in (1, 1, 2)]
    assert torch.equal(frames[0], frames[1])
    assert float((frames[0] - frames[2]).abs().mean()) > 1e-4


@pytest.mark.parametrize("source", ["edges", "image"])
def test_generator_and_edge_network_learn_jointly(source: str) -> None:
    """The losses of the frame reach the edge network through the superposition, beside its own loss."""
    network = SFlowGenerator(CONFIG, DNEDConfig.model_validate({"source": source, "width": 4}))
    assert network.dned is not None
    labels, edges = _inputs()
    x = torch.rand(3, 3, 24, 40) * 2 - 1
    output = network(labels, edges, x if source == "image" else None)
    pixel_l1(output.x_fake, x).backward(retain_graph=True)
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None for gradient in gradients)
    assert sum(float(parameter.grad.abs().sum()) for parameter in network.dned.parameters()) > 0  # type: ignore[union-attr]
    dned_loss(output.logits, edges).backward()
    assert len(output.logits) == 6


def test_a_generator_trained_on_laplacian_edges_goes_on_with_an_edge_network() -> None:
    before = SFlowGenerator(CONFIG)
    after = SFlowGenerator(CONFIG, DNEDConfig(width=4))
    missing = after.load_state_dict(before.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert all(key.startswith("dned.") for key in missing.missing_keys)
