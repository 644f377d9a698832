"""The model file holds networks of several kinds: generators of frames, and networks that make none."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.errors import raises
from tests.unit.rendering import save_untrained
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import MODEL, load_model, load_network, read_info, save_model
from v2vkit.errors import V2VError
from v2vkit.inference.rollout import Rollout
from v2vkit.models.any_generator import AnyGeneratorConfig
from v2vkit.models.any_network import build_network
from v2vkit.models.dned import DNEDConfig
from v2vkit.models.image_generator import ImageGeneratorConfig
from v2vkit.models.sflow_generator import SFlowConfig
from v2vkit.models.unet import UNetConfig


@pytest.mark.parametrize(
    "layers",
    [
        UNetConfig(in_channels=15, width=4, num_down=2),
        SFlowConfig(
            image=ImageGeneratorConfig(in_channels=15, width=4, num_down=2), edge_channel=3, dned=DNEDConfig(width=2)
        ),
    ],
)
def test_every_kind_of_generator_is_read_back(tmp_path: Path, layers: AnyGeneratorConfig) -> None:
    info = save_untrained(tmp_path, "face").model_copy(update={"network": layers})
    folder, network = Folder(f"{tmp_path}/checkpoints/spatial-1"), build_network(layers)
    save_model(folder, network.state_dict(), info)
    read, found = load_model(folder)
    assert found == info == read_info(folder)
    assert found.generator == layers
    for loaded in (read, load_network(folder)[0]):
        assert not loaded.training
        assert all(torch.equal(value, network.state_dict()[name]) for name, value in loaded.state_dict().items())
    assert Rollout(read).image(np.zeros((15, 24, 32), np.float32)).shape == (24, 32, 3)


def test_a_network_that_makes_no_frames_is_no_generator(tmp_path: Path) -> None:
    info = save_untrained(tmp_path, "face").model_copy(update={"network": None, "method": "other"})
    with raises("model-mismatch", "spatial-1", "other"):
        _ = info.generator


def test_a_kind_that_is_not_known_is_of_a_newer_version(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face")
    path = tmp_path / "checkpoints/spatial-1" / MODEL
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    info = json.loads(header["__metadata__"]["v2vkit"])
    info["network"]["kind"] = "aura"
    header["__metadata__"]["v2vkit"] = json.dumps(info)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    with pytest.raises(V2VError) as error:
        read_info(Folder(f"{tmp_path}/checkpoints/spatial-1"))
    assert "pip install -U v2vkit" in str(error.value)
