"""The edge network from weights of VGG-16 and of HED, in files made here, and files that are refused."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models.vgg import cfgs, make_layers

from tests.errors import raises
from v2vkit.models.dned_weights import dned_from_hed, dned_from_vgg

VGG_LAYERS = (2, 2, 3, 3, 3)


@pytest.fixture(scope="module")
def vgg16() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {f"features.{key}": value for key, value in make_layers(cfgs["D"]).state_dict().items()}


def test_the_trunk_of_vgg16(vgg16: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "vgg16.pth"
    torch.save({**vgg16, "classifier.0.weight": torch.zeros(2, 2)}, path)
    network = dned_from_vgg(path)
    layers = make_layers(cfgs["D"])
    layers.load_state_dict({key.removeprefix("features."): value for key, value in vgg16.items()})
    x = torch.rand(1, 1, 32, 32)
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    seen = []
    network.sides[4].register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    network(x)
    torch.testing.assert_close(seen[0], layers[:30]((x - mean) / std), atol=1e-5, rtol=1e-4)
    assert float(network.sides[0].weight.detach().abs().max()) < 0.1
    assert network.config.source == "edges"


def test_other_weights_than_vgg16_are_refused(vgg16: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "vgg.pth"
    torch.save({f"features.{key}": value for key, value in make_layers(cfgs["E"]).state_dict().items()}, path)
    with raises("weights-mismatch", "VGG-16", "features.17"):
        dned_from_vgg(path)
    torch.save({key: value for key, value in vgg16.items() if "28" not in key}, path)
    with raises("weights-mismatch", "features.28.weight"):
        dned_from_vgg(path)
    with raises("weights-missing", "none.pth"):
        dned_from_vgg(tmp_path / "none.pth")


def _hed_arrays() -> dict[str, np.ndarray]:
    """Random weights in the layout of a Keras file: kernels are height, width, in, out."""
    rng = np.random.default_rng(0)
    arrays, channels = {}, 3
    for block, (width, count) in enumerate(zip((64, 128, 256, 512, 512), VGG_LAYERS, strict=True), start=1):
        for i in range(count):
            name = f"block{block}/layers/conv2d{f'_{i}' if i else ''}/vars"
            arrays[f"{name}/0"] = rng.normal(0, (2 / 9 / channels) ** 0.5, (3, 3, channels, width))
            arrays[f"{name}/1"] = rng.normal(0, 0.1, width)
            channels = width
        arrays[f"dsn{block}/vars/0"] = rng.normal(0, 0.1, (1, 1, channels, 1))
        arrays[f"dsn{block}/vars/1"] = rng.normal(0, 0.1, 1)
    arrays |= {"fuse/vars/0": rng.normal(0, 1, (1, 1, 5, 1)), "fuse/vars/1": np.ones(1)}
    return {key: value.astype(np.float32) for key, value in arrays.items()}


def _write(h5py: Any, path: Path, arrays: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            file[key] = value
    return path


@pytest.fixture(scope="module")
def h5py() -> Any:
    return pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def hed(h5py: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(h5py, tmp_path_factory.mktemp("hed") / "hed.weights.h5", _hed_arrays())


def test_all_layers_of_a_trained_hed(hed: Path) -> None:
    """The first side output and the fused map, worked out from the file's arrays."""
    network, arrays = dned_from_hed(hed), {key: torch.from_numpy(value) for key, value in _hed_arrays().items()}
    x = torch.rand(1, 3, 16, 32) * 2 - 1
    features = (x + 1).flip(1) * 127.5 - torch.tensor([104.00698793, 116.66876762, 122.67891434])[:, None, None]
    for name in ("block1/layers/conv2d/vars", "block1/layers/conv2d_1/vars"):
        kernel = arrays[f"{name}/0"].permute(3, 2, 0, 1)
        features = torch.conv2d(features, kernel, arrays[f"{name}/1"], padding=1).relu()
    side = torch.einsum("bchw,c->bhw", features, arrays["dsn1/vars/0"][0, 0, :, 0]) + arrays["dsn1/vars/1"]
    with torch.no_grad():
        logits = network(x)
    torch.testing.assert_close(logits[0][:, 0], side, atol=1e-3, rtol=1e-4)
    fuse = arrays["fuse/vars/0"][0, 0, :, 0]
    wanted = sum(weight * each for weight, each in zip(fuse, logits[:5], strict=True)) + 1
    torch.testing.assert_close(logits[5], wanted, atol=1e-3, rtol=1e-4)
    assert network.config.source == "image"


def test_hostile_or_other_h5_files_are_refused(h5py: Any, hed: Path, tmp_path: Path) -> None:
    arrays = _hed_arrays()
    with raises("weights-missing", "none.h5"):
        dned_from_hed(tmp_path / "none.h5")
    bad = tmp_path / "bad.h5"
    bad.write_bytes(b"not hdf5")
    with raises("weights-damaged", "bad.h5"):
        dned_from_hed(bad)
    bad.write_bytes(hed.read_bytes()[:5_000_000])
    with raises("weights-damaged", "bad.h5"):
        dned_from_hed(bad)
    _write(h5py, bad, {key: value for key, value in arrays.items() if not key.startswith("dsn3")})
    with raises("weights-mismatch", "dsn3/vars/0"):
        dned_from_hed(bad)
    _write(h5py, bad, arrays | {"dsn2/vars/0": np.zeros((1, 1, 64, 1), np.float32)})
    with raises("weights-mismatch", "dsn2/vars/0", "(1, 1, 128, 1)"):
        dned_from_hed(bad)
    _write(h5py, bad, arrays | {"fuse/vars/1": np.zeros(1, np.float64)})
    with raises("weights-mismatch", "fuse/vars/1"):
        dned_from_hed(bad)


def test_links_to_other_files_and_missing_storage_are_refused(h5py: Any, hed: Path, tmp_path: Path) -> None:
    arrays = _hed_arrays()
    outside = {key: value for key, value in arrays.items() if key != "fuse/vars/0"}
    bad = _write(h5py, tmp_path / "bad.h5", outside)
    with h5py.File(bad, "a") as file:
        file["fuse/vars/0"] = h5py.ExternalLink(str(hed), "fuse/vars/0")
    with raises("weights-mismatch", "fuse/vars/0"):
        dned_from_hed(bad)
    (tmp_path / "secret").write_bytes(bytes(20))
    with h5py.File(bad, "a") as file:
        del file["fuse/vars/0"]
        place = [(str(tmp_path / "secret"), 0, 20)]
        file.create_dataset("fuse/vars/0", (1, 1, 5, 1), np.float32, external=place)
    with raises("weights-mismatch", "fuse/vars/0"):
        dned_from_hed(bad)
    with h5py.File(bad, "a") as file:
        del file["fuse/vars/0"]
        file.create_dataset("fuse/vars/0", (1, 1, 5, 1), np.float32)  # never written
    with raises("weights-damaged", "fuse/vars/0"):
        dned_from_hed(bad)


def test_without_h5py_the_pip_line_is_printed(hed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with raises("library-missing", "pip install 'v2vkit[hed]'"):
        dned_from_hed(hed)
