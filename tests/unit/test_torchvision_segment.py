"""torchvision's segmentation networks: what is read off their weights, and that labels land where things are."""

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.models import segmentation

from tests.errors import raises
from tests.networks import LRASPP, brightness_weights, noise, random_network, torchvision_weights
from v2vkit.errors import V2VError
from v2vkit.estimators.torch_weights import load_weights
from v2vkit.estimators.torchvision_segment import TorchvisionSegment
from v2vkit.weights import file_digest


def _square(height: int, width: int, top: int, left: int, side: int) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[top : top + side, left : left + side] = 255
    return image


@pytest.fixture(scope="module")
def by_brightness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return brightness_weights(tmp_path_factory.mktemp("weights") / "brightness.pth")


@pytest.mark.parametrize(
    ("architecture", "classes"),
    [
        ("deeplabv3_resnet50", 21),
        ("deeplabv3_resnet101", 3),
        ("deeplabv3_mobilenet_v3_large", 1),
        ("lraspp_mobilenet_v3_large", 255),
    ],
)
def test_network_and_classes_are_read_off_the_weights(tmp_path: Path, architecture: str, classes: int) -> None:
    estimator = TorchvisionSegment(
        weights=torchvision_weights(tmp_path / "w.pth", architecture=architecture, num_classes=classes), input_side=64
    )
    assert estimator.num_labels == classes
    assert architecture in estimator.version
    assert estimator.classes == ()
    image = noise(64, 64)
    found = estimator(image).labels
    x = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        logits = random_network(architecture, classes)((x - mean.view(3, 1, 1)) / std.view(3, 1, 1))["out"]
    assert (found == logits[0].argmax(0).numpy()).mean() > 0.999, "the same network, put together by hand"


@pytest.mark.parametrize("size", [(96, 128), (300, 180)], ids=str)
def test_labels_land_where_things_are(by_brightness: Path, size: tuple[int, int]) -> None:
    estimator = TorchvisionSegment(weights=by_brightness, input_side=256)
    assert estimator.classes == ("night", "day")
    side = min(size) // 2
    for top, left in ((10, 20), (size[0] - side - 8, size[1] - side - 20)):
        expected = _square(*size, top, left, side)[..., 0] > 0
        labels = estimator(_square(*size, top, left, side)).labels
        assert set(np.unique(labels)) == {0, 1}
        shared = ((labels == 1) & expected).sum() / ((labels == 1) | expected).sum()
        assert shared > 0.75, "intersection over union"
        centre = np.argwhere(labels == 1).mean(0)
        np.testing.assert_allclose(centre, (top + side / 2, left + side / 2), atol=0.1 * side)


def test_unsure_pixels_are_ignored(by_brightness: Path) -> None:
    image = _square(96, 128, 20, 30, 48)
    plain = TorchvisionSegment(weights=by_brightness, input_side=128)(image).labels
    sure = TorchvisionSegment(weights=by_brightness, input_side=128, min_score=0.6)(image).labels
    ignored = sure == 255
    assert 0 < ignored.mean() < 0.5
    np.testing.assert_array_equal(sure[~ignored], plain[~ignored])
    assert (TorchvisionSegment(weights=by_brightness, input_side=128, min_score=1.0)(image).labels == 255).all()


@pytest.mark.parametrize(
    ("size", "seen"), [((72, 128), (64, 114)), ((128, 72), (114, 64)), ((2, 300), (2, 256)), ((8, 600), (3, 256))]
)
def test_strips_do_not_become_gigantic(tmp_path: Path, size: tuple[int, int], seen: tuple[int, int]) -> None:
    """The shorter side becomes `input_side`, and the longer one at most four times that."""
    image = noise(*size)
    labels = TorchvisionSegment(weights=torchvision_weights(tmp_path / "w.pth"), input_side=64)(image).labels
    assert (labels == _labels_at(image, seen)).mean() > 0.999
    assert (labels == _labels_at(image, (seen[0] + 16, seen[1] + 16))).mean() < 0.99


def _labels_at(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What `random_network` makes of a picture that is scaled to that size first."""
    x = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        logits = random_network(LRASPP, 5)((x - mean.view(3, 1, 1)) / std.view(3, 1, 1))["out"]
    return F.interpolate(logits, image.shape[:2], mode="bilinear", align_corners=False)[0].argmax(0).numpy()


def test_auxiliary_classifiers_and_wrappings_are_taken(tmp_path: Path) -> None:
    network = segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=4, aux_loss=True
    )
    for name, content in {
        "plain": network.state_dict(),
        "model": {"model": network.state_dict(), "epoch": 3},
        "state_dict": {"state_dict": network.state_dict()},
    }.items():
        torch.save(content, tmp_path / name)
        assert TorchvisionSegment(weights=tmp_path / name, input_side=32).num_labels == 4


def test_published_weights_are_known_by_their_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is torchvision's own when its checksum begins as the file's published name ends."""
    path = torchvision_weights(tmp_path / "w.pth", num_classes=2)
    published = segmentation.LRASPP_MobileNet_V3_Large_Weights
    assert [one.url.rpartition("-")[2] for one in published] == ["d234d4ea.pth"]
    assert TorchvisionSegment(weights=path).classes == ()
    ours = SimpleNamespace(url=f"https://a/lraspp-{file_digest(path)[:8]}.pth", meta={"categories": ["night", "day"]})
    monkeypatch.setattr(segmentation, published.__name__, [ours])
    assert TorchvisionSegment(weights=path).classes == ("night", "day")


def test_weights_that_do_not_fit_are_sentences(tmp_path: Path) -> None:
    whole = random_network("lraspp_mobilenet_v3_large", 3).state_dict()
    changes = {
        ("lacks", "weights-mismatch"): {k: value for k, value in whole.items() if k != "backbone.0.0.weight"},
        ("shape", "weights-mismatch"): whole | {"backbone.0.0.weight": torch.zeros(16, 4, 3, 3)},
        ("flat", "weights-unsupported"): whole | {"classifier.low_classifier.weight": torch.zeros(3)},
        ("many", "weights-unsupported"): whole | {"classifier.low_classifier.weight": torch.zeros(300, 40, 1, 1)},
        ("names", "weights-damaged"): {"model": whole, "classes": ["one"]},
        ("nested", "weights-damaged"): {"model": {"layer": {"weight": torch.zeros(3)}}},
    }
    for (name, code), state in changes.items():
        torch.save(state, tmp_path / name)
        with raises(code, name):
            TorchvisionSegment(weights=tmp_path / name)
    with raises("device-unknown", "warp"):
        TorchvisionSegment(weights=torchvision_weights(tmp_path / "w"), device="warp")


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.to_sparse(),
        lambda value: value.to("meta"),
        lambda value: value[:1, :1, :1, :1].clone().expand(value.shape),
        lambda value: value.index_fill(0, torch.tensor([1]), float("nan")),
        lambda value: value.index_fill(0, torch.tensor([1]), float("-inf")),
        lambda value: value.to(torch.complex64),
    ],
    ids=["sparse", "without content", "one number many times", "NaN", "infinite", "complex"],
)
def test_tensors_that_give_no_labels_are_refused(tmp_path: Path, change: Callable[..., Any]) -> None:
    whole = random_network("lraspp_mobilenet_v3_large", 3).state_dict()
    name = "backbone.0.0.weight"
    torch.save({"model": whole | {name: change(whole[name])}}, tmp_path / "w.pth")
    with raises("weights-damaged", "w.pth", f"`{name}`"):
        TorchvisionSegment(weights=tmp_path / "w.pth")


def test_unused_tensors_may_hold_anything(tmp_path: Path) -> None:
    state = random_network("lraspp_mobilenet_v3_large", 3).state_dict()
    torch.save(state | {"aux_classifier.0.weight": torch.full((2,), float("nan"))}, tmp_path / "w.pth")
    assert TorchvisionSegment(weights=tmp_path / "w.pth").num_labels == 3


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_files_are_sentences_whichever_byte_is_wrong(zipped: bool) -> None:
    file = io.BytesIO()
    state = {"a.weight": torch.zeros(2, 2), "a.bias": torch.zeros(2)}
    torch.save({"model": state}, file, _use_new_zipfile_serialization=zipped)
    whole = file.getvalue()
    refused = []
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0x81
        try:
            load_weights(bytes(changed), "w.pth")
        except V2VError as error:
            refused.append(error.message)
    assert len(refused) > 100
    assert all("w.pth" in message for message in refused)
