"""Weights in the published layout, made here: imported, and equal to an independent network of that layout."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.errors import raises
from tests.unit.published_networks import Coarse, Fine, discriminator, image_network
from v2vkit.models.blocks import downsample
from v2vkit.models.generator import history_from_images
from v2vkit.models.published import (
    import_discriminator,
    import_generator,
    import_image_generator,
    infer_generator,
    read_published_file,
)

CHANNELS, FOREGROUND = 4, (1, 3)
State = dict[str, Tensor]


@pytest.fixture
def networks() -> tuple[Coarse, Fine]:
    torch.manual_seed(0)
    return Coarse(3 * CHANNELS, 8), Fine(3 * CHANNELS, 4)


def _saved(network: nn.Module, path: Path, **options: Any) -> State:
    torch.save(network.state_dict(), path, **options)
    return read_published_file(path)[0]


@pytest.mark.parametrize("zipped", [True, False], ids=["current", "torch-0.4"])
def test_a_generator_of_two_scales(networks: tuple[Coarse, Fine], tmp_path: Path, zipped: bool) -> None:
    coarse, fine = networks
    source = torch.rand(1, 3 * CHANNELS, 32, 48)
    images = torch.rand(1, 2, 3, 32, 48) * 2 - 1
    foreground = source[:, -CHANNELS:][:, FOREGROUND].sum(1, keepdim=True).clamp(0, 1)
    low = downsample(source)[:, -CHANNELS:][:, FOREGROUND].sum(1, keepdim=True).clamp(0, 1)
    past = history_from_images(images, 2)
    imported = import_generator(
        [
            _saved(network, tmp_path / f"G{i}.pth", _use_new_zipfile_serialization=zipped)
            for i, network in enumerate(networks)
        ],
        foreground=FOREGROUND,
    )
    config = imported.network.config
    assert (config.source_channels, config.num_scales, config.width, config.num_down) == (CHANNELS, 2, 8, 2)
    assert (config.num_blocks, config.num_blocks_fine, config.history, config.norm) == (3, 2, 2, "batch")
    with torch.no_grad():
        below, features = coarse(downsample(source), past[0], low)
        wanted = fine(source, past[1], foreground, features)
        outputs = imported.network(source, past)
    torch.testing.assert_close(outputs[0].x_fake, below, atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs[1].x_fake, wanted, atol=1e-4, rtol=0)


def test_the_report_names_what_was_not_used(networks: tuple[Coarse, Fine]) -> None:
    state = {**networks[0].state_dict(), "extra.weight": torch.zeros(1)}
    imported = import_generator([state], foreground=FOREGROUND)
    assert imported.unknown == ("extra.weight",)
    assert all("running" in key or "tracked" in key for key in imported.statistics)
    assert set(imported.used) | set(imported.statistics) | set(imported.unknown) == set(state)
    assert "model_final_w.1.bias" in imported.used
    two = import_generator([state, networks[1].state_dict()], foreground=FOREGROUND)
    assert two.unknown == ("G0:extra.weight",)


def test_imported_weights_are_copies_that_train(networks: tuple[Coarse, Fine]) -> None:
    state = networks[0].state_dict()
    network = import_generator([state], foreground=FOREGROUND).network
    assert all(p.requires_grad and not p.is_meta for p in network.parameters())
    with torch.no_grad():
        for p in network.parameters():
            p.zero_()
    assert float(state["model_down_seg.1.weight"].abs().sum()) > 0


def test_a_foreground_branch_needs_to_be_told_its_channels(networks: tuple[Coarse, Fine]) -> None:
    with raises("foreground-mismatch"):
        import_generator([networks[0].state_dict()])
    with raises("foreground-mismatch"):
        import_generator([_without(networks[0].state_dict(), "indv")], foreground=FOREGROUND)


def test_scales_stand_in_order(networks: tuple[Coarse, Fine]) -> None:
    coarse, fine = (network.state_dict() for network in networks)
    assert infer_generator([coarse, fine])[0].num_scales == 2
    for states in ([fine, coarse], [fine], [coarse, coarse], [coarse, fine, fine]):
        with raises("weights-mismatch"):
            infer_generator(states)


@pytest.mark.parametrize("running", [False, True])
def test_a_discriminator(tmp_path: Path, running: bool) -> None:
    torch.manual_seed(0)
    network = discriminator(7, 8, 2)
    x = torch.rand(2, 7, 40, 56)
    for scale, level in (
        (1, x),
        (0, downsample(x)),
    ):  # in training once, for running statistics that are not trivial
        for layer in range(5):
            level = network[f"scale{scale}_layer{layer}"](level)
    imported = import_discriminator(_saved(network, tmp_path / "D.pth"), running_statistics=running)
    assert imported.unknown == ()
    assert bool(imported.statistics) is not running
    ours = imported.network.train(not running)(x)
    network.train(not running)
    for scale, level in ((1, x), (0, downsample(x))):
        for layer in range(5):
            level = network[f"scale{scale}_layer{layer}"](level)
            torch.testing.assert_close(ours[scale][layer], level, atol=1e-5, rtol=1e-4)


def test_an_image_generator_whose_norms_store_nothing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network: Any = image_network(5, 4)
    imported = import_image_generator(_saved(network, tmp_path / "G.pth"))
    assert imported.network.config.norm == "instance"
    assert imported.statistics == imported.unknown == ()
    x = torch.rand(1, 5, 24, 32)
    torch.testing.assert_close(imported.network(x), network.model(x), atol=1e-5, rtol=0)


def test_batch_norms_saved_before_their_counter_existed() -> None:
    state = {k: v for k, v in discriminator(7, 8, 1).state_dict().items() if not k.endswith("num_batches_tracked")}
    assert import_discriminator(state, running_statistics=True).network(torch.rand(1, 7, 32, 32))


def _without(state: State, key: str) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith(key)}


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {},
        lambda state: {"weight": torch.zeros(2)},
        lambda state: _without(state, "model_down_seg.1."),
        lambda state: _without(state, "model_up_img.0"),
        lambda state: _without(state, "model_down_seg.10"),
        lambda state: {**state, "model_down_img.1.weight": torch.zeros(8, 2, 7, 7)},
        lambda state: {**state, "model_final_w.1.weight": torch.zeros(2, 8, 7, 7)},
        lambda state: {**state, "model_down_seg.1.weight": torch.zeros(1, 1).expand(100_000, 100_000)[..., None, None]},
        lambda state: {**state, "model_final_flow.1.bias": torch.zeros(5)},
    ],
)
def test_other_tensors_are_refused(networks: tuple[Coarse, Fine], change: Callable[[State], State]) -> None:
    with raises("weights-mismatch"):
        import_generator([change(networks[0].state_dict())], foreground=FOREGROUND)


def test_a_network_of_another_kind_is_refused(networks: tuple[Coarse, Fine]) -> None:
    state = networks[0].state_dict()
    for read in (import_discriminator, import_image_generator):
        with raises("weights-mismatch"):
            read(state)
    with raises("weights-mismatch"):
        import_generator([discriminator(7, 8, 1).state_dict()])
