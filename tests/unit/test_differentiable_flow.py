"""The differentiable flow: known motion, its direction, its gradients, and images that show nothing."""

import cv2
import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

from tests.shared_data import SHARED, needs_shared
from v2vkit.conditions.flow_io import decode_flo
from v2vkit.models.differentiable_flow import estimate_flow
from v2vkit.models.warp import warp

TRANSLATIONS = [(1.0, 0.5), (3.5, 1.75), (8.0, 4.0), (12.0, 6.0), (-7.25, 5.5)]


def _moved(texture: Tensor, x: float, y: float) -> Tensor:
    """The inner part [1, 1, 192, 256] of a texture [H, W] read at p + (x, y), exactly (by its Fourier transform)."""
    rows, columns = (torch.fft.fftfreq(side, dtype=torch.float64) for side in texture.shape)
    phase = torch.exp(2j * torch.pi * (columns * x + rows[:, None] * y))
    moved = torch.fft.ifft2(torch.fft.fft2(texture.double()) * phase).real
    return (moved[100:292, 100:356].float()[None, None] * 2 - 1).clamp(-1, 1)


def _constant(flow: tuple[float, float]) -> Tensor:
    return torch.tensor(flow).view(1, 2, 1, 1)


@pytest.fixture(scope="module", params=[("grass", 0.1), ("gravel", 0.1), ("brick", 0.3), ("camera", 0.3)])
def texture(request: pytest.FixtureRequest) -> tuple[Tensor, float]:
    """A photograph [512, 512] in [0, 1], and the median error in pixels that is allowed: fine textures and coarse."""
    name, allowed = request.param
    return torch.from_numpy(getattr(data, name)().astype(np.float32) / 255), allowed


@pytest.mark.parametrize("motion", TRANSLATIONS)
def test_known_translations(texture: tuple[Tensor, float], motion: tuple[float, float]) -> None:
    image, allowed = texture
    last, frame = _moved(image, 0, 0), _moved(image, *motion)  # last(p + motion) = frame(p)
    with torch.no_grad():
        flow = estimate_flow(last, frame)
    assert flow.shape == (1, 2, 192, 256)
    assert float((flow - _constant(motion)).norm(dim=1).median()) < allowed


def _waves(batch: int, channels: int, height: int, width: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Smooth random images in (-1, 1)."""
    noise = torch.randn(batch, channels, height // 3 + 2, width // 3 + 2, generator=torch.Generator().manual_seed(0))
    grown = torch.nn.functional.interpolate(noise.to(dtype), (height, width), mode="bicubic", align_corners=True)
    return torch.tanh(grown)


def test_the_older_frame_warped_by_it_is_the_newer_one() -> None:
    x = _waves(1, 3, 48, 64)
    last, frame = x[..., :-4], x[..., 4:]
    flow = estimate_flow(last, frame)
    assert float(flow[:, 0].median()) == pytest.approx(4, abs=0.1)
    inner = np.s_[..., 4:-4, 4:-8]
    assert (warp(last, flow) - frame)[inner].abs().mean() < 0.1 * (last - frame)[inner].abs().mean()


@needs_shared
def test_rubberwhale() -> None:
    """At most 1.5 times the end-point error of OpenCV's DIS, preset medium (0.226)."""
    assert SHARED is not None
    folder = SHARED / "real/flow/middlebury_rubberwhale"
    truth, known = decode_flo((folder / "flow_gt.flo").read_bytes())
    older, newer = (
        torch.from_numpy(cv2.imread(str(folder / name))[..., ::-1].copy()).permute(2, 0, 1)[None] / 127.5 - 1
        for name in ("frame2.png", "frame1.png")  # the truth leads from the first to the second
    )
    with torch.no_grad():
        flow = estimate_flow(older, newer)[0].permute(1, 2, 0).numpy()
    error = np.linalg.norm(flow - truth, axis=2)[known > 0].mean()
    assert error < 0.339


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_are_those_of_finite_differences(channels: int) -> None:
    x = _waves(2, channels, 32, 36, dtype=torch.float64) * 0.9
    last, frame = x[..., 2:].clone().requires_grad_(), x[..., :-2].clone().requires_grad_()

    def run(last: Tensor, frame: Tensor) -> Tensor:
        return estimate_flow(last, frame, warps=2, iterations=5)

    assert torch.autograd.gradcheck(run, (last, frame), fast_mode=True)


def test_single_pixels_move_the_flow_as_the_gradient_says() -> None:
    x = _waves(1, 1, 32, 34, dtype=torch.float64) * 0.9
    last, frame = x[..., 2:], x[..., :-2].clone().requires_grad_()

    def loss(frame: Tensor) -> Tensor:
        return estimate_flow(last, frame, warps=2, iterations=5).square().mean()

    loss(frame).backward()
    assert frame.grad is not None
    for row, column in ((0, 0), (16, 16), (31, 5)):
        step = torch.zeros_like(frame)
        step[0, 0, row, column] = 1e-5
        with torch.no_grad():
            slope = (loss(frame + step) - loss(frame - step)) / 2e-5
        assert float(frame.grad[0, 0, row, column]) == pytest.approx(float(slope), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("values", [(0.0, 0.0), (0.3, 0.3), (-1.0, 1.0), (1.0, 1.0)])
def test_flat_images_give_zero_flow_and_finite_gradients(values: tuple[float, float]) -> None:
    last, frame = (torch.full((1, 3, 40, 50), value, requires_grad=True) for value in values)
    flow = estimate_flow(last, frame)
    assert float(flow.detach().abs().max()) < 1e-3  # rounding of the smoothing, where the two differ
    flow.abs().sum().backward()
    for x in (last, frame):
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()


def test_one_flat_frame_gives_finite_flow_and_gradients() -> None:
    last, frame = torch.zeros(1, 3, 40, 50, requires_grad=True), _waves(1, 3, 40, 50).requires_grad_()
    flow = estimate_flow(last, frame)
    flow.square().mean().backward()
    assert torch.isfinite(flow).all()
    assert last.grad is not None
    assert frame.grad is not None
    assert torch.isfinite(last.grad).all()
    assert torch.isfinite(frame.grad).all()
    assert float(frame.grad.abs().max()) > 0


def test_gradient_checkpointing_changes_nothing() -> None:
    x = _waves(1, 1, 40, 50)
    gradients = []
    for checkpointing in (False, True):
        frame = x[..., :-2].clone().requires_grad_()
        flow = estimate_flow(x[..., 2:], frame, iterations=5, gradient_checkpointing=checkpointing)
        flow.square().mean().backward()
        assert frame.grad is not None
        gradients.append(frame.grad)
    assert torch.equal(*gradients)


def test_images_of_a_batch_do_not_depend_on_each_other() -> None:
    x = _waves(2, 3, 33, 47)
    whole = estimate_flow(x[..., 1:], x[..., :-1])
    torch.testing.assert_close(whole[1:], estimate_flow(x[1:, ..., 1:], x[1:, ..., :-1]), atol=1e-4, rtol=1e-4)


def test_it_is_computed_in_float32_under_autocast() -> None:
    x = _waves(1, 3, 40, 50)
    with torch.autocast("cpu", torch.bfloat16):
        flow = estimate_flow(x[..., 1:], x[..., :-1])
    assert flow.dtype == torch.float32
    assert torch.equal(flow, estimate_flow(x[..., 1:], x[..., :-1]))
    assert estimate_flow(x.bfloat16(), x.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 70), (17, 33)])
def test_frames_of_any_size(size: tuple[int, int]) -> None:
    x = torch.rand(2, 1, *size) * 2 - 1
    flow = estimate_flow(x, x)
    assert flow.shape == (2, 2, *size)
    assert torch.isfinite(flow).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same() -> None:
    x = _waves(1, 3, 96, 128)
    flow = estimate_flow(x[..., 2:], x[..., :-2])
    torch.testing.assert_close(estimate_flow(x[..., 2:].cuda(), x[..., :-2].cuda()).cpu(), flow, atol=1e-2, rtol=1e-3)
