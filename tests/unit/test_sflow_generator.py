"""The S-Flow generator: every frame from its own labels and edges, variants by edge weights, joint training."""

import pytest
import torch
from torch import Tensor

from v2vkit.errors import V2VError
from v2vkit.models.dned import DNEDConfig, draw_weights
from v2vkit.models.image_generator import ImageGeneratorConfig
from v2vkit.models.losses import pixel_l1
from v2vkit.models.sflow_generator import SFlowConfig, SFlowGenerator
from v2vkit.models.sflow_losses import dned_loss

LAYERS = ImageGeneratorConfig(in_channels=4, width=4, num_down=2, num_blocks=1)
PLAIN = SFlowConfig(image=LAYERS, edge_channel=3)
WITH_DNED = SFlowConfig(image=LAYERS, edge_channel=3, dned=DNEDConfig(width=4))


def _source(batch: int = 3) -> Tensor:
    """Three label channels and one of edges: [B, 4, H, W]."""
    torch.manual_seed(0)
    ids = torch.randint(0, 3, (batch, 24, 40))
    labels = torch.nn.functional.one_hot(ids, 3).permute(0, 3, 1, 2).float()
    return torch.cat([labels, (torch.rand(batch, 1, 24, 40) > 0.8).float()], 1)


@pytest.mark.parametrize("config", [PLAIN, SFlowConfig(image=LAYERS)])
def test_without_edge_network_it_sees_the_source_map_as_it_is(config: SFlowConfig) -> None:
    source, network = _source(), SFlowGenerator(config)
    (output,) = network(source)
    assert output.x_fake.shape == (3, 3, 24, 40)
    assert output.edge_logits == ()
    assert torch.equal(output.x_fake, network.network(source))


@pytest.mark.parametrize("config", [PLAIN, WITH_DNED])
def test_frames_of_a_batch_do_not_depend_on_each_other(config: SFlowConfig) -> None:
    """So frames of a video can be made in parallel, and no error can drift from frame to frame."""
    torch.manual_seed(0)
    network, source = SFlowGenerator(config).eval(), _source()
    with torch.no_grad():
        whole = network(source)[0].x_fake
        for i in (2, 0, 1):
            torch.testing.assert_close(whole[i : i + 1], network(source[i : i + 1])[0].x_fake)


def test_the_edges_change_the_frame() -> None:
    network, source = SFlowGenerator(PLAIN), _source()
    other = torch.cat([source[:, :3], 1 - source[:, 3:]], 1)
    assert float((network(source)[0].x_fake - network(other)[0].x_fake).detach().abs().mean()) > 1e-4


def test_edge_weights_make_variants_of_one_scene() -> None:
    torch.manual_seed(0)
    network, source = SFlowGenerator(WITH_DNED).eval(), _source()
    with torch.no_grad():
        frames = [network.variant(draw_weights(seed))(source)[0].x_fake for seed in (1, 1, 2)]
        plain = network(source)[0].x_fake
    assert torch.equal(frames[0], frames[1])
    assert float((frames[0] - frames[2]).abs().mean()) > 1e-4
    assert not torch.equal(frames[0], plain)
    torch.testing.assert_close(plain, network.variant((2,) * 6)(source)[0].x_fake.detach())


def test_generator_and_edge_network_learn_jointly() -> None:
    """The losses of the frame reach the edge network through the superposition, beside its own loss."""
    network, source = SFlowGenerator(WITH_DNED), _source()
    assert network.dned is not None
    (output,) = network(source)
    pixel_l1(output.x_fake, torch.rand(3, 3, 24, 40)).backward(retain_graph=True)
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert sum(float(parameter.grad.abs().sum()) for parameter in network.dned.parameters()) > 0  # type: ignore[union-attr]
    dned_loss(output.edge_logits, source[:, 3:]).backward()
    assert len(output.edge_logits) == 6


def test_before_the_edge_network_has_joined_the_generator_sees_the_edges_as_they_are() -> None:
    """And the weights say so: who loads them sees the same frames."""
    network, source = SFlowGenerator(WITH_DNED).eval(), _source()
    network.join(False)
    assert torch.equal(network(source)[0].x_fake, network.network(source))
    other = SFlowGenerator(WITH_DNED).eval()
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(source)[0].x_fake, network(source)[0].x_fake)


def test_activations_can_be_computed_again() -> None:
    network, source = SFlowGenerator(WITH_DNED), _source()
    found = []
    for again in (False, True):
        network.checkpointing = again
        network.zero_grad()
        network(source)[0].x_fake.square().mean().backward()
        found.append([parameter.grad.clone() for parameter in network.network.parameters()])  # type: ignore[union-attr]
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    "fields",
    [
        {"edge_channel": 4},
        {"dned": DNEDConfig(width=4)},
        {"edge_channel": 3, "dned": DNEDConfig(width=4, source="image")},
        {"image": LAYERS.model_copy(update={"covst": 0.5})},
    ],
)
def test_layers_that_do_not_fit_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        SFlowConfig.model_validate({"image": LAYERS} | fields)


def test_edge_weights_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(V2VError):
        SFlowGenerator(WITH_DNED).variant((1.0,))
