"""The U-Net of pix2pix and its PatchGAN."""

import pytest
import torch
from torch import nn

from v2vkit.config import Upsample
from v2vkit.models.discriminator import Discriminator, DiscriminatorConfig, image_input
from v2vkit.models.losses import bce, pixel_l1
from v2vkit.models.unet import UNet, UNetConfig


@pytest.mark.parametrize("size", [(1, 1), (32, 32), (37, 70)])
@pytest.mark.parametrize("upsample", ["transposed", "resize"])
def test_frames_of_any_size_and_depth(size: tuple[int, int], upsample: Upsample) -> None:
    for num_down in (2, 5):
        network = UNet(UNetConfig(in_channels=3, width=2, num_down=num_down, upsample=upsample))
        x_fake = network(torch.rand(2, 3, *size))
        assert x_fake.shape == (2, 3, *size)
        assert float(x_fake.detach().abs().max()) <= 1


def test_the_layers_of_pix2pix() -> None:
    """The U-Net of 256 pixels with three channels in and out has 54.4 million parameters."""
    with torch.device("meta"):
        network = UNet(UNetConfig(in_channels=3, norm="batch"))
    convolutions = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))]
    assert [conv.out_channels for conv in convolutions] == [
        *(64, 128, 256, 512, 512, 512, 512, 512),
        *(512, 512, 512, 512, 256, 128, 64, 3),
    ]
    assert [conv.in_channels for conv in convolutions[8:]] == [512, 1024, 1024, 1024, 1024, 512, 256, 128]
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(54.4e6, rel=0.01)
    assert sum(isinstance(module, nn.Dropout) for module in network.modules()) == 3


def test_skips_carry_detail_past_the_bottleneck() -> None:
    """With the innermost layers cut off, the frame still depends on every pixel's neighbourhood."""
    torch.manual_seed(0)
    network = UNet(UNetConfig(in_channels=1, width=4, num_down=4)).eval()
    nn.init.zeros_(network.encoder[-1][1].weight)  # type: ignore[index]
    x = torch.rand(1, 1, 32, 32)
    other = x.clone()
    other[..., 9, 20] += 1
    assert not torch.allclose(network(x)[..., 9, 20], network(other)[..., 9, 20])


def test_dropout_varies_frames_in_training_alone() -> None:
    network = UNet(UNetConfig(in_channels=1, width=2, num_down=6))
    x = torch.rand(1, 1, 64, 64)
    assert not torch.equal(network.train()(x), network(x))
    assert torch.equal(network.eval()(x), network(x))


def test_the_frame_is_in_float32_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert UNet(UNetConfig(in_channels=1, width=2, num_down=2))(torch.rand(1, 1, 8, 8)).dtype == torch.float32


def test_one_patchgan_and_l1_train_it() -> None:
    """The whole pix2pix objective lowers L1 on a batch within a few steps, and every parameter learns."""
    torch.manual_seed(0)
    labels = (torch.rand(2, 2, 4, 4) > 0.5).float().repeat_interleave(8, 2).repeat_interleave(8, 3)
    x = labels[:, :1].repeat(1, 3, 1, 1) * 1.6 - 0.8
    generator = UNet(UNetConfig(in_channels=2, width=8, num_down=4))
    discriminator = Discriminator(DiscriminatorConfig(in_channels=5, width=8, num_scales=1))
    optimisers = [torch.optim.Adam(network.parameters(), 2e-3) for network in (generator, discriminator)]
    values = []
    for _ in range(20):
        x_fake = generator(labels)
        fake = discriminator(image_input(labels, x_fake))
        l1 = pixel_l1(x_fake, x)
        optimisers[0].zero_grad()
        (bce(fake, real=True) + 100 * l1).backward()
        assert all(parameter.grad is not None for parameter in generator.parameters())
        optimisers[0].step()
        loss = bce(discriminator(image_input(labels, x)), real=True)
        loss = loss + bce(discriminator(image_input(labels, x_fake.detach())), real=False)
        optimisers[1].zero_grad()
        loss.backward()
        optimisers[1].step()
        values.append(float(l1.detach()))
    assert values[-1] < 0.5 * values[0]


def test_the_patchgan_has_a_receptive_field_of_70_pixels() -> None:
    discriminator = Discriminator(DiscriminatorConfig(in_channels=1, width=2, num_scales=1)).double().eval()
    x = torch.zeros(1, 1, 160, 160, dtype=torch.float64, requires_grad=True)
    for layer in discriminator.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 0.01)
    norms = [
        (parent, name)
        for parent in discriminator.modules()
        for name, child in parent.named_children()
        if type(child).__name__ == "InstanceNorm"
    ]
    for parent, name in norms:
        setattr(parent, name, nn.Identity())  # it looks at the whole image
    scores = discriminator(x)[0][-1]
    scores[0, 0, 10, 10].backward()
    assert x.grad is not None
    assert int((x.grad[0, 0] != 0).any(0).sum()) == 70
