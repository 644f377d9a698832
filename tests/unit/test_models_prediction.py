"""Networks of prediction: label maps as tensors, the predictor, PredNet and MCNet."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from v2vkit.conditions.label_ids import label_channels
from v2vkit.conditions.regions import region_ids
from v2vkit.models.any_network import build_network
from v2vkit.models.label_maps import (
    cross_entropy,
    edges_of,
    instances_of,
    labels_from_channels,
    labels_of,
    next_regions,
    regions_of,
    warp_ids,
)
from v2vkit.models.mcnet import MCNet, MCNetConfig, detach_mcnet, gradient_difference
from v2vkit.models.predictor import LabelPredictor, PredictorConfig, advance_history, observed_history
from v2vkit.models.prednet import PredNet, PredNetConfig, detach_prednet
from v2vkit.models.presets import MCNETS, PREDNETS
from v2vkit.models.warp import warp

SMALL = PredictorConfig(num_labels=4, observe=3, width=8, num_down=2, num_blocks=2)


def random_maps(seed: int = 0, height: int = 12, width: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Labels (some 255) and instances in blocks."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, 3, 255], (height // 4, width // 4)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    instances = rng.integers(0, 3, (height // 2, width // 2)).astype(np.uint16).repeat(2, 0).repeat(2, 1)
    return labels, instances


def one_hot_labels(labels: torch.Tensor, num_labels: int) -> torch.Tensor:
    """[B, 1, H, W] integers -> float32 [B, K, H, W]; ignored pixels are 0 in every channel."""
    return (labels == torch.arange(num_labels, device=labels.device)[None, :, None, None]).float()


def channels_of(regions: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The channels of one map [B, C, H, W] from regions and labels [B, 1, H, W]."""
    return torch.cat([one_hot_labels(labels, SMALL.num_labels), edges_of(regions)], 1)


def as_history(count: int = 3, size: tuple[int, int] = (18, 22)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 4, (2, count, *size), generator=generator)
    times = [labels[:, t : t + 1] for t in range(count)]
    return torch.stack([channels_of(regions_of(one), one) for one in times], 1)


@pytest.mark.parametrize("with_instances", [True, False])
def test_channels_equal_those_of_the_condition(with_instances: bool) -> None:
    labels, instances = random_maps()
    given = instances if with_instances else None
    expected = label_channels(labels, given, 4, edges=True) / 255
    regions = torch.from_numpy(region_ids(labels, given))[None, None]
    found = channels_of(regions, torch.from_numpy(labels.astype(np.int64))[None, None])
    assert np.array_equal(found[0].numpy(), expected)


def test_regions_hold_labels_and_instances() -> None:
    labels, instances = random_maps(1)
    regions = torch.from_numpy(region_ids(labels, instances))
    assert torch.equal(labels_of(regions), torch.from_numpy(labels.astype(np.int32)))
    assert torch.equal(instances_of(regions), torch.from_numpy(instances.astype(np.int32)))
    again = regions_of(torch.from_numpy(labels.astype(np.int64)), torch.from_numpy(instances.astype(np.int64)))
    assert torch.equal(again, regions.long())


def test_labels_come_back_from_channels_and_unlabelled_pixels_are_ignored() -> None:
    labels = torch.tensor([[[[0, 3, 255, 1]]]])
    assert torch.equal(labels_from_channels(one_hot_labels(labels, 4), 4), labels)


def test_ids_warp_as_images_do_for_whole_pixels_and_round_others() -> None:
    ids = torch.arange(30).reshape(1, 1, 5, 6)
    flow = torch.zeros(1, 2, 5, 6)
    flow[:, 0], flow[:, 1] = 2.0, -1.0
    assert torch.equal(warp_ids(ids, flow), warp(ids.float(), flow).long())
    assert torch.equal(warp_ids(ids, flow * 0 + 0.4), ids)
    assert torch.equal(warp_ids(ids, torch.full_like(flow, float("nan"))), warp_ids(ids, torch.full_like(flow, -99.0)))


def test_instances_move_with_the_flow_and_end_where_the_label_changes() -> None:
    labels = torch.zeros(1, 1, 1, 6, dtype=torch.long)
    instances = torch.tensor([[[[0, 7, 7, 0, 0, 0]]]])
    flow = torch.zeros(1, 2, 1, 6)
    flow[:, 0] = -2  # two pixels to the right
    after = labels.clone()
    after[..., 4] = 1
    found = next_regions(regions_of(labels, instances), after, flow)
    assert instances_of(found).flatten().tolist() == [0, 0, 0, 7, 0, 0]
    assert labels_of(found).flatten().tolist() == [0, 0, 0, 0, 1, 0]


def test_cross_entropy_counts_labelled_pixels_only() -> None:
    probabilities = torch.full((1, 4, 1, 2), 0.25)
    labels = torch.tensor([[[[1, 255]]]])
    assert cross_entropy(probabilities, one_hot_labels(labels, 4)).item() == pytest.approx(np.log(4))
    assert cross_entropy(probabilities, torch.zeros(1, 4, 1, 2)).item() == 0


@pytest.mark.parametrize("flow", [True, False])
def test_probabilities_sum_to_one_also_where_the_last_map_is_unlabelled(flow: bool) -> None:
    torch.manual_seed(0)
    network = LabelPredictor(SMALL.model_copy(update={"flow": flow}))
    maps = as_history()
    maps[:, -1, :, 4:9] = 0
    predicted = network(maps.flatten(1, 2))
    assert predicted.probabilities.shape == (2, 4, 18, 22)
    assert torch.allclose(predicted.probabilities.sum(1), torch.ones(2, 18, 22), atol=1e-5)
    assert (predicted.flow is not None) == flow


def test_an_untrained_predictor_nearly_copies_the_last_map() -> None:
    torch.manual_seed(0)
    maps = as_history()
    labels = LabelPredictor(SMALL)(maps.flatten(1, 2)).labels
    same = labels == labels_from_channels(maps[:, -1], 4)
    assert same.float().mean() > 0.9


def test_the_history_drops_the_oldest_map_and_takes_the_prediction() -> None:
    torch.manual_seed(0)
    network, maps = LabelPredictor(SMALL), as_history()
    history = observed_history(maps, None, SMALL)
    predicted = network(history.maps)
    after = advance_history(history, predicted, SMALL)
    channels = SMALL.map_channels
    assert torch.equal(after.maps[:, : 2 * channels], history.maps[:, channels:])
    assert torch.equal(after.maps[:, 2 * channels : -1], predicted.probabilities.detach())
    assert torch.equal(after.maps[:, -1:], edges_of(after.regions))
    assert torch.equal(labels_of(after.regions), predicted.labels)
    assert not after.maps.requires_grad


def parameters(config: object) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build_network(config).parameters())  # type: ignore[arg-type]


def conv(inside: int, outside: int, side: int = 3) -> int:
    return inside * outside * side * side + outside


def test_prednet_has_the_parameters_of_the_published_layers() -> None:
    """The KITTI model: layers of 3, 48, 96 and 192 channels, all kernels 3x3.

    R_l sees E_l (2 C_l), itself (C_l) and R_l+1, for four gates: 6,168 + 414,912 + 1,659,264 + 3,982,080. Predictions:
    84 + 20,784 + 83,040 + 331,968. Targets, from E_l: 2,640 + 83,040 + 331,968. Reviews of PredNet (arXiv 1906.11902)
    give 6.9 million for four layers.
    """
    channels = (3, 48, 96, 192)
    gates = sum(conv(2 * own + own + up, 4 * own) for own, up in zip(channels, (*channels[1:], 0), strict=True))
    predictions = sum(conv(own, own) for own in channels)
    targets = sum(conv(2 * below, own) for below, own in pairwise(channels))
    assert (gates, predictions, targets) == (6_062_424, 435_876, 417_648)
    assert parameters(PredNetConfig(channels=PREDNETS["paper"])) == gates + predictions + targets == 6_915_948


def test_mcnet_has_the_parameters_of_the_published_layers() -> None:
    """Width 64: the layers of the authors' program, which has 14,096,259 parameters with differences of grey frames.

    Here differences are RGB: the first kernel of the motion encoder has 2 * 64 * 5 * 5 = 3,200 parameters more.
    """
    motion = conv(3, 64, 5) + conv(64, 128, 5) + conv(128, 256, 7) + conv(512, 1024)
    content = conv(3, 64) + conv(64, 64) + conv(64, 128) + conv(128, 128) + conv(128, 256) + 2 * conv(256, 256)
    combine = conv(512, 256) + conv(256, 128) + conv(128, 256)
    residuals = sum(conv(2 * own, own) + conv(own, own) for own in (64, 128, 256))
    decoder = 2 * conv(256, 256) + conv(256, 128) + conv(128, 128) + conv(128, 64) + conv(64, 64) + conv(64, 3)
    total = motion + content + combine + residuals + decoder
    assert parameters(MCNetConfig(width=MCNETS["paper"])) == total == 14_096_259 + 3_200


NETWORKS = [PredNetConfig(channels=(3, 4, 6)), MCNetConfig(width=4)]


@pytest.mark.parametrize("config", NETWORKS, ids=lambda config: config.kind)
def test_frames_are_predicted_recursively_in_any_size(config: PredNetConfig | MCNetConfig) -> None:
    torch.manual_seed(0)
    network = build_network(config)
    frames = torch.rand(1, 4, 3, 18, 26) * 2 - 1
    state = network.observe(frames)  # type: ignore[operator]
    first, after = network.predict(state)  # type: ignore[operator]
    second, _ = network.predict(after)  # type: ignore[operator]
    assert first.shape == second.shape == (1, 3, 18, 26)
    assert first.abs().max() <= 1
    assert not torch.equal(first, second)
    # The prediction is observed as a real frame would be.
    again, _ = network.predict(network.observe(torch.cat([frames, first[:, None]], 1)))  # type: ignore[operator]
    assert torch.allclose(again, second, atol=1e-5)


def test_prednet_on_a_still_picture_learns_to_repeat_it() -> None:
    torch.manual_seed(0)
    network = PredNet(PredNetConfig(channels=(3, 8)))
    frames = (torch.rand(1, 1, 3, 1, 1) * 2 - 1).expand(1, 4, 3, 16, 16)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (network.predict(network.observe(frames))[0] - frames[:, 0]).abs().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0]


def test_detached_states_give_the_same_frames_without_gradients() -> None:
    torch.manual_seed(0)
    frames = torch.rand(1, 4, 3, 16, 16) * 2 - 1
    for network, detach in ((PredNet(NETWORKS[0]), detach_prednet), (MCNet(NETWORKS[1]), detach_mcnet)):  # type: ignore[arg-type]
        state = network.observe(frames)
        apart = detach(state)  # type: ignore[arg-type]
        expected, found = network.predict(state)[0], network.predict(apart)[0]  # type: ignore[arg-type]
        assert torch.equal(expected, found)


def test_gradient_difference_sees_edges_and_not_brightness() -> None:
    x = torch.zeros(1, 3, 8, 8)
    x[..., 4:] = 1
    assert gradient_difference(x + 0.3, x).item() == pytest.approx(0, abs=1e-6)
    assert gradient_difference(torch.zeros_like(x), x).item() == pytest.approx(1 / 7)


@pytest.mark.parametrize("channels", [(3,), (4, 8), (3, 0), (3, 5000)])
def test_channels_of_prednet_that_do_not_fit_are_refused(channels: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError):
        PredNetConfig(channels=channels)
