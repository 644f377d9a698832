"""Networks of metrics give the numbers of the reference implementations, on the same random weights."""

import hashlib
from pathlib import Path

import cleanfid.resize
import lpips
import numpy as np
import pytest
import timm
import torch
from skimage import data
from skimage.metrics import structural_similarity
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from tests.errors import raises
from v2vkit import weights
from v2vkit.arrays import Image
from v2vkit.evaluation.metrics.ssim import ssim
from v2vkit.evaluation.metrics.tensors import clean_resize, signed
from v2vkit.models.i3d import I3D
from v2vkit.models.inception import FIDInception
from v2vkit.models.lite0 import Lite0, feature_distance
from v2vkit.models.lpips import LPIPS, Net
from v2vkit.models.resnext3d import ResNeXt3D

PHOTO: Image = data.astronaut()


def _lite0() -> Path:
    found = weights.find("lite0")
    if found is None:
        pytest.skip("the package with EfficientNet-lite0's weights is not installed")
    return found


def _randomize(network: nn.Module) -> None:
    """Statistics of norms that are not those of a fresh network."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight)  # as it is made, a deep network's output hardly depends on its input
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]


def test_lite0_is_timms_network_with_the_packages_weights() -> None:
    state = torch.load(_lite0(), map_location="cpu", weights_only=True)
    theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), state.values(), strict=True)))
    x = torch.rand(2, 3, 97, 161, generator=torch.manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected = theirs.eval().forward_head(theirs.forward_features(x), pre_logits=True)
        torch.testing.assert_close(Lite0(_lite0())(x), expected, rtol=1e-5, atol=1e-5)


def test_the_perceptual_distance_prefers_a_shift_to_a_blur_of_equal_psnr() -> None:
    """What pixels cannot tell and a network can."""
    network = Lite0(_lite0())
    real = torch.from_numpy(PHOTO[:128, 150:278]).permute(2, 0, 1)[None].float() / 127.5 - 1
    shifted = torch.roll(real, 1, 3)
    error = (shifted - real).square().mean()
    blurs = [nn.functional.avg_pool2d(real, k, 1, k // 2, count_include_pad=False) for k in (3, 5, 7, 9)]
    blurred = min(blurs, key=lambda x: abs(float((x - real).square().mean() - error)))
    maps = network.maps(real)
    assert float(feature_distance(network.maps(shifted), maps)) < float(feature_distance(network.maps(blurred), maps))
    assert float(feature_distance(maps, maps)) == 0


@pytest.mark.slow
def test_inception_is_torch_fidelitys(tmp_path: Path) -> None:
    from torchvision.models import inception_v3

    network = inception_v3(weights=None, num_classes=1008, aux_logits=True, init_weights=False)
    network.AuxLogits = None
    _randomize(network)
    torch.save(network.state_dict(), tmp_path / "inception.pth")
    theirs = FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(tmp_path / "inception.pth"))
    images = torch.randint(0, 256, (2, 3, 299, 299), dtype=torch.uint8, generator=torch.manual_seed(1))
    expected = theirs(images)[0]
    found = FIDInception(tmp_path / "inception.pth")((images.float() - 128) / 128)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_frames_are_resized_as_in_clean_fid() -> None:
    expected = cleanfid.resize.build_resizer("clean")(PHOTO)
    found = clean_resize([PHOTO], (299, 299))[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_is_the_reference_implementations(net: Net, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    convolutions = [m for m in theirs.net.modules() if isinstance(m, nn.Conv2d)]
    ours = _conv_positions(net)
    state = {}
    for position, conv in zip(ours, convolutions, strict=True):
        nn.init.kaiming_normal_(conv.weight)
        state |= {f"features.{position}.weight": conv.weight, f"features.{position}.bias": conv.bias}
    torch.save({key: value.detach() for key, value in state.items()}, tmp_path / "net.pth")
    heads = weights.find(f"lpips-{net}")
    assert heads is not None, "torchmetrics carries them"
    images = [np.roll(PHOTO[:96, :128], shift, 1).copy() for shift in (0, 3)]
    x, y = signed(images), signed(images[::-1])
    with torch.no_grad():
        found = LPIPS(net, backbone=tmp_path / "net.pth", heads=heads)(x, y)
        torch.testing.assert_close(found, theirs(x, y)[:, 0, 0, 0], rtol=1e-4, atol=1e-6)
    assert float(found[0]) > 0


def _conv_positions(net: Net) -> list[int]:
    from torchvision import models

    features = {"alex": models.alexnet, "vgg": models.vgg16}[net](weights=None).features
    return [position for position, layer in enumerate(features) if isinstance(layer, nn.Conv2d)]


def test_lpips_refuses_another_backbone(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, tmp_path / "net.pth")
    heads = weights.find("lpips-alex")
    assert heads is not None
    with raises("weights-unsupported", "net.pth", "AlexNet"):
        LPIPS("alex", backbone=tmp_path / "net.pth", heads=heads)


def test_ssim_is_scikit_images() -> None:
    real = PHOTO[40:168, 150:278]
    image = np.clip(real + np.random.default_rng(0).normal(0, 12, real.shape), 0, 255).astype(np.uint8)
    _, shown = structural_similarity(
        real, image, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    # Over the whole image: scikit-image's own mean leaves 5 pixels at the border out. There the two pad differently.
    assert ssim(image, real) == pytest.approx(shown.mean(), abs=1e-3)


def _saved(network: nn.Module, path: Path, prefix: str = "", **more: Tensor) -> Path:
    torch.save({**{prefix + key: value for key, value in network.state_dict().items()}, **more}, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("logits", "size"), [(False, 1024), (True, 400)])
def test_i3d_gives_features_or_logits_of_a_clip(logits: bool, size: int, tmp_path: Path) -> None:
    random = I3D(None)
    _randomize(random)
    path = _saved(random, tmp_path / "i3d.pth")
    network = I3D(path, logits=logits)
    clip = torch.rand(1, 3, 16, 224, 224, generator=torch.manual_seed(0)) * 2 - 1
    with torch.no_grad():
        found = network(clip)
        backwards = network(clip.flip(2))
    assert found.shape == (1, size)
    assert not torch.allclose(found, backwards, rtol=1e-3), "the order of frames counts"


def _layout(network: nn.Module) -> tuple[int, int, str]:
    """Numbers of tensors and parameters, and a digest of names and shapes."""
    state = network.state_dict()
    lines = "\n".join(f"{name} {list(value.shape)}" for name, value in sorted(state.items()))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return len(state), parameters, hashlib.sha256(lines.encode()).hexdigest()[:16]


def test_video_networks_have_the_tensors_of_the_published_files() -> None:
    """Digests of the state dicts of pytorch-i3d (400 classes) and of 3D-ResNets-PyTorch's ResNeXt-101 without `fc.`.

    With its classifier of 400 classes, which is not needed here, ResNeXt-101 has 48,340,816 parameters.
    """
    with torch.device("meta"):
        i3d, resnext = I3D(None), ResNeXt3D(None)
    assert _layout(i3d) == (344, 12_697_264, "e478222be240be63")
    assert _layout(resnext) == (624, 47_521_216, "954b4c6104c25a86")


def test_i3d_has_the_names_of_the_published_conversion() -> None:
    with torch.device("meta"):
        state = I3D(None).state_dict()
    assert state["Conv3d_1a_7x7.conv3d.weight"].shape == (64, 3, 7, 7, 7)
    assert state["Mixed_4f.b1b.conv3d.weight"].shape == (320, 160, 3, 3, 3)
    assert state["Mixed_5c.b3b.bn.running_var"].shape == (128,)
    assert state["logits.conv3d.bias"].shape == (400,)


@pytest.mark.slow
def test_resnext_reads_the_published_checkpoint(tmp_path: Path) -> None:
    random = ResNeXt3D(None)
    _randomize(random)
    state = {f"module.{key}": value for key, value in random.state_dict().items()}
    state |= {"module.fc.weight": torch.zeros(400, 2048), "module.fc.bias": torch.zeros(400)}
    torch.save({"arch": "resnext-101", "epoch": 1, "state_dict": state}, tmp_path / "resnext.pth")
    network = ResNeXt3D(tmp_path / "resnext.pth")
    clip = torch.rand(1, 3, 16, 112, 112, generator=torch.manual_seed(0)) * 255 - 110
    with torch.no_grad():
        found = network(clip)
        torch.testing.assert_close(found, random(clip))
    assert found.shape == (1, 2048)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = _saved(nn.Linear(2, 2), tmp_path / "other.pth")
    with raises("weights-unsupported", "other.pth"):
        I3D(path)
    with raises("weights-unsupported", "other.pth"):
        ResNeXt3D(path)
    with raises("weights-unsupported", "other.pth"):
        FIDInception(path)
