"""VGG-19 from a file: right layers, right refusals. The file is made here with random weights."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from tests.errors import raises
from v2vkit import weights as store
from v2vkit.models.losses import relative_perceptual
from v2vkit.models.perceptual import PerceptualNetwork, VGGFeatures, open_perceptual


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    layers = make_layers(cfgs["E"])
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return {f"features.{key}": value for key, value in layers.state_dict().items()}


@pytest.fixture(scope="module")
def weights(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save({**state, "classifier.0.weight": torch.zeros(2, 2)}, path)
    return path


def test_five_maps_after_the_named_activations(weights: Path) -> None:
    maps = VGGFeatures(weights)(torch.rand(1, 3, 64, 96) * 2 - 1)
    assert [tuple(m.shape[1:]) for m in maps] == [
        (64, 64, 96),
        (128, 32, 48),
        (256, 16, 24),
        (512, 8, 12),
        (512, 4, 6),
    ]
    assert all(float(m.min()) == 0 and float(m.max()) > 0 for m in maps)


def test_the_first_map_is_relu1_1_of_the_image_as_it_is(weights: Path, state: dict[str, Tensor]) -> None:
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    weight, bias = state["features.0.weight"], state["features.0.bias"]
    wanted = torch.conv2d(x, weight, bias, padding=1).relu()
    torch.testing.assert_close(VGGFeatures(weights)(x)[0], wanted, atol=1e-5, rtol=1e-4)


def test_wide_images_are_halved(weights: Path) -> None:
    vgg = VGGFeatures(weights)
    assert vgg(torch.zeros(1, 3, 16, 1024))[0].shape[-1] == 1024
    assert vgg(torch.zeros(1, 3, 64, 2080))[0].shape[-2:] == (16, 520)
    assert vgg(torch.zeros(1, 3, 16, 1040))[0].shape[-2:] == (16, 1040)  # half of it would be too low for VGG


def test_it_is_frozen_and_passes_gradients_to_the_image(weights: Path) -> None:
    vgg = VGGFeatures(weights)
    assert not any(p.requires_grad for p in vgg.parameters())
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    vgg(x)[-1].mean().backward()
    assert x.grad is not None
    assert float(x.grad.abs().max()) > 0


def test_safetensors_give_the_same(weights: Path, state: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "vgg.safetensors")
    x = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(VGGFeatures(tmp_path / "vgg.safetensors")(x), VGGFeatures(weights)(x))


def test_files_that_are_not_vgg_are_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    with raises("weights-missing", "none.pth"):
        VGGFeatures(tmp_path / "none.pth")
    path = tmp_path / "vgg.pth"
    path.write_bytes(b"not weights")
    with raises("weights-damaged", "vgg.pth"):
        VGGFeatures(path)
    torch.save({key: value for key, value in state.items() if "28" not in key}, path)
    with raises("weights-mismatch", "features.28.weight"):
        VGGFeatures(path)
    torch.save({**state, "features.0.weight": torch.zeros(64, 1, 3, 3)}, path)
    with raises("weights-mismatch", "VGG-19", "features.0"):
        VGGFeatures(path)
    torch.save([1, 2], path)
    with raises("weights-damaged", "vgg.pth"):
        VGGFeatures(path)
    torch.save({"features.0.weight": "text"}, path)
    with raises("weights-damaged", "features.0.weight"):
        VGGFeatures(path)
    torch.save({"features.0.weight": nn.Conv2d(1, 1, 1)}, path)  # a pickled object, never loaded
    with raises("weights-damaged", "vgg.pth"):
        VGGFeatures(path)
    torch.save({"features.0.weight": torch.zeros(1).expand(10**12)}, path)
    with raises("weights-damaged", "features.0.weight"):
        VGGFeatures(path)


@pytest.fixture(scope="module")
def lite0() -> PerceptualNetwork:
    path = store.find("lite0")
    if path is None:
        pytest.skip("the extra `perceptual` is not installed")
    return open_perceptual("lite0", path)


def test_lite0_ranks_stronger_blur_and_noise_as_farther(lite0: PerceptualNetwork) -> None:
    torch.manual_seed(1)
    x = torch.nn.functional.interpolate(torch.rand(2, 3, 16, 16), 64, mode="bicubic").clamp(0, 1) * 2 - 1
    noise = torch.randn_like(x)
    real = lite0(x)
    distances = [float(lite0.distance(lite0(x + strength * noise), real)) for strength in (0.0, 0.05, 0.2, 0.5)]
    assert distances[0] == 0
    assert distances == sorted(distances)


def test_lite0_gives_gradients_to_the_image_and_none_to_itself(lite0: PerceptualNetwork) -> None:
    x = torch.zeros(1, 3, 32, 32, requires_grad=True)
    lite0.distance(lite0(x), lite0(torch.rand(1, 3, 32, 32))).backward()
    assert x.grad is not None
    assert float(x.grad.abs().sum()) > 0
    assert all(parameter.grad is None for parameter in lite0.parameters())


def test_the_relative_distance_does_not_depend_on_the_scale_of_a_map() -> None:
    fake, real = [torch.tensor([1.0, 2.0])], [torch.tensor([1.0, 3.0])]
    assert float(relative_perceptual(fake, real)) == pytest.approx(0.25)
    assert float(relative_perceptual([10 * fake[0]], [10 * real[0]])) == pytest.approx(0.25)
