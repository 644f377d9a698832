"""DNED from pretrained weights: torchvision's VGG-16, or a complete HED in a Keras file.

`weights.find("vgg16")` and `weights.find("hed")` give the files that are installed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from v2vkit.errors import V2VError
from v2vkit.models.dned import DNED, DNEDConfig, Preprocessing
from v2vkit.models.state_dict import State, read_state

_VGG_HINT = "Give torchvision's vgg16 (`v2v weights fetch vgg16`), or train the edge network from scratch."
_HED_HINT = "Give the weights `hed` (see `v2v weights list`), or train the edge network from scratch."


def dned_from_vgg(path: str | Path) -> DNED:
    """The edge network of edge maps with the trunk of torchvision's VGG-16; side outputs start near 0, as in HED.

    Args:
        path: a state dict (`.pth` or `.safetensors`); its classifier is not used.

    Raises:
        V2VError: the file is missing, unreadable or not VGG-16.
    """
    state = read_state(path, hint=_VGG_HINT)
    network = _network("edges", "imagenet")
    index = 0  # position in torchvision's `features`: convolution, ReLU, ..., pooling
    for stage in network.stages:
        for conv in _convolutions(stage):
            for name, parameter in conv.named_parameters():
                _copy(parameter, state, f"features.{index}.{name}", where=f"{path} is not VGG-16", hint=_VGG_HINT)
            index += 2
        index += 1
    for side in network.sides:
        assert isinstance(side, nn.Conv2d)
        nn.init.normal_(side.weight, 0.0, 0.01)  # the features of the trained trunk are large
    return network


def dned_from_hed(path: str | Path, *, source: Literal["edges", "image"] = "image") -> DNED:
    """The edge network with all weights of a trained HED: trunk, side outputs and fused map.

    Args:
        path: `.h5` file of Keras 3 with the layers block1 to block5, dsn1 to dsn5 and fuse; needs the library h5py.
        source: input of the network; these weights were trained on images.

    Raises:
        V2VError: h5py is not installed; the file is missing, unreadable or not such an HED.
    """
    network = _network(source, "caffe")
    places: dict[str, nn.Conv2d] = {}
    for block, (stage, side) in enumerate(zip(network.stages, network.sides, strict=True), start=1):
        for index, conv in enumerate(_convolutions(stage)):
            places[f"block{block}/layers/conv2d{f'_{index}' if index else ''}/vars"] = conv
        assert isinstance(side, nn.Conv2d)
        places[f"dsn{block}/vars"] = side
    places["fuse/vars"] = network.fuse
    shapes: dict[str, tuple[int, ...]] = {}
    for place, conv in places.items():
        out_channels, in_channels, height, width = conv.weight.shape
        shapes[f"{place}/0"] = (height, width, in_channels, out_channels)
        shapes[f"{place}/1"] = (out_channels,)
    state = _read_h5(Path(path), shapes)
    with torch.no_grad():
        for place, conv in places.items():
            assert conv.bias is not None
            conv.weight.copy_(state[f"{place}/0"].permute(3, 2, 0, 1))
            conv.bias.copy_(state[f"{place}/1"])
    return network


def _network(source: Literal["edges", "image"], preprocessing: Preprocessing) -> DNED:
    return DNED(DNEDConfig(source=source, width=64, preprocessing=preprocessing))


def _convolutions(stage: nn.Module) -> Iterator[nn.Conv2d]:
    return (layer for layer in stage.children() if isinstance(layer, nn.Conv2d))


def _copy(parameter: nn.Parameter, state: State, key: str, *, where: str, hint: str) -> None:
    found = state.get(key)
    if found is None or found.shape != parameter.shape:
        raise V2VError("weights-mismatch", f"{where}: `{key}` is missing or has another shape.", hint)
    with torch.no_grad():
        parameter.copy_(found)


def _read_h5(path: Path, shapes: dict[str, tuple[int, ...]]) -> State:
    """Arrays of an HDF5 file by path; each must be a plain float32 array of exactly this shape, stored in full."""
    try:
        import h5py
    except ImportError:
        raise V2VError(
            "library-missing", f"Reading {path} needs the library h5py.", "Install it with: pip install 'v2vkit[hed]'."
        ) from None
    if not path.is_file():
        raise V2VError("weights-missing", f"The weights {path} do not exist.", _HED_HINT)
    try:
        with h5py.File(path, "r") as file:
            return {key: _array(h5py, file, path, key, shape) for key, shape in shapes.items()}
    except (V2VError, MemoryError):
        raise
    except Exception as error:  # a damaged or hostile file makes the library raise nearly anything
        raise V2VError(
            "weights-damaged", f"The weights {path} cannot be read safely ({type(error).__name__}).", _HED_HINT
        ) from None


def _array(h5py: Any, file: Any, path: Path, key: str, shape: tuple[int, ...]) -> Tensor:
    node = file
    for name in key.split("/"):
        # Links and external storage would read other files of this machine.
        if not isinstance(node, h5py.Group) or not isinstance(node.get(name, getlink=True), h5py.HardLink):
            raise V2VError("weights-mismatch", f"{path} is not an HED: `{key}` is missing.", _HED_HINT)
        node = node[name]
    plain = isinstance(node, h5py.Dataset) and not node.is_virtual and not node.external and node.dtype == "float32"
    if not plain or node.shape != shape:
        raise V2VError(
            "weights-mismatch", f"{path} is not an HED: `{key}` is not a float32 array of the shape {shape}.", _HED_HINT
        )
    if node.id.get_storage_size() == 0:
        raise V2VError("weights-damaged", f"{path} is damaged: the data of `{key}` is not in the file.", _HED_HINT)
    return torch.from_numpy(node[()])
