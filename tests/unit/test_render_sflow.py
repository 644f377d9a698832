"""Rendering of models whose frames are independent: in batches, without drift, in variants of the edge weights."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import v2vkit
from tests.conditions import made_by
from tests.errors import raises
from tests.unit.ingesting import label_maps, write_images
from tests.unit.rendering import render
from tests.unit.video_files import moving_frames, read_raw
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import ModelInfo, save_model
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.conditions.edges import EdgesCondition
from v2vkit.conditions.labels import LabelsCondition
from v2vkit.inference.backend_names import Backend
from v2vkit.inference.conditioned import ConditionedFrame
from v2vkit.inference.session import Session, frames_at_once
from v2vkit.models.any_generator import AnyGenerator, AnyGeneratorConfig, build_generator
from v2vkit.models.dned import DNEDConfig
from v2vkit.models.image_generator import ImageGeneratorConfig
from v2vkit.models.presets import generator_config
from v2vkit.models.sflow_generator import SFlowConfig
from v2vkit.models.unet import UNetConfig

LAYERS = ImageGeneratorConfig(in_channels=7, width=8, num_down=2, num_blocks=1)
S_FLOW = SFlowConfig(image=LAYERS, edge_channel=6, dned=DNEDConfig(width=4))
UNET = UNetConfig(in_channels=7, width=4, num_down=3)


def built(config: AnyGeneratorConfig) -> AnyGenerator:
    torch.manual_seed(0)
    return build_generator(config).eval().requires_grad_(False)


def save(work: Path, config: AnyGeneratorConfig) -> ModelInfo:
    """An untrained model of five labels, their instances' edges, and the frame's edges, 32x24."""
    info = ModelInfo(
        method="s-flow",
        stage="s-flow",
        fingerprint="f",
        network=config,
        conditioning=Conditioning.of(LabelsCondition(num_labels=5), EdgesCondition()),
        origins=(*made_by("ingest"), *made_by("make-edges")),
        width=32,
        height=24,
        frames={"crop": "none"},
    )
    save_model(Folder(f"{work}/checkpoints/s-flow"), built(config).state_dict(), info)
    return info


def source(count: int) -> list[ConditionedFrame]:
    maps = np.random.default_rng(0).random((count, 7, 24, 32)).astype(np.float32)
    return [ConditionedFrame(s) for s in maps]


@pytest.mark.parametrize("config", [S_FLOW, UNET, LAYERS])
def test_a_frame_of_a_batch_is_that_of_any_other_batch(config: AnyGeneratorConfig) -> None:
    generator, frames = built(config), source(9)
    whole = [image for _, image in Session(generator).render(frames)]
    for start in (1, 3, 8):
        part = [image for _, image in Session(generator).render(frames[start:])]
        for ours, theirs in zip(part, whole[start:], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    stepped = [Session(generator).step(frame) for frame in frames]
    assert np.abs(np.stack(stepped).astype(int) - np.stack(whole)).max() <= 1


def test_no_error_adds_up_over_a_long_video() -> None:
    """The first frame and the same frame after many others are the same bytes."""
    generator, (first, *others) = built(S_FLOW), source(4)

    def frames() -> Iterator[ConditionedFrame]:
        yield first
        for _ in range(100):
            yield from others
        yield first

    images = [image for _, image in Session(generator).render(frames())]
    assert len(images) == 302
    np.testing.assert_array_equal(images[0], images[-1])


def test_only_frames_that_do_not_depend_on_each_other_are_made_at_once() -> None:
    numbers = {
        "s-flow": (S_FLOW, 24, 4),
        "large": (S_FLOW, 1024, 1),
        "batch norm": (LAYERS.model_copy(update={"norm": "batch"}), 24, 1),
        "covst": (LAYERS.model_copy(update={"covst": 0.5}), 24, 1),
        "video": (generator_config("tiny", source_channels=7, width=8, num_down=2, num_blocks=2), 24, 1),
    }
    for name, (config, height, number) in numbers.items():
        assert frames_at_once(built(config), height, 1024 if height > 24 else 32) == number, name


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("variants")
    save(path, S_FLOW)
    write_images(path / "frames", moving_frames(5, 32, 24), pattern="{}.png")
    write_images(path / "labels", label_maps(5, 32, 24), pattern="{}.png")
    return path


def pictures(work: Path, target: Path, **settings: object) -> np.ndarray:
    assert render(work / "labels", f"{target}/", work, frames=str(work / "frames"), precision="fp32", **settings) == []
    return np.stack([np.asarray(image) for image in read_pictures(target)])


def read_pictures(folder: Path) -> Iterator[np.ndarray]:
    from PIL import Image

    return (np.array(Image.open(file)) for file in sorted(folder.glob("*.png")))


def test_edge_weights_and_seeds_are_variants_of_the_scene(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = pictures(work, tmp_path / "plain")
    even = pictures(work, tmp_path / "even", edge_weights="2,2,2,2,2,2")
    fine = pictures(work, tmp_path / "fine", edge_weights="1,0,0,0,0,0")
    seeds = [pictures(work, tmp_path / f"seed{seed}", edge_seed=seed) for seed in (3, 4)]
    assert np.abs(plain.astype(int) - even).max() <= 1
    for other in (fine, *seeds):
        assert np.abs(plain.astype(int) - other).mean() > 0.05
    capsys.readouterr()
    sheet = pictures(work, tmp_path / "sheet", edge_variants=2, edge_seed=3)
    assert sheet.shape == (5, 24, 2 * 32, 3)
    np.testing.assert_array_equal(sheet, np.concatenate(seeds, 2))
    between = float(np.abs(seeds[0].astype(int) - seeds[1]).mean())
    assert f"2 variants: they differ by {between:.2f} of 255" in capsys.readouterr().out


def test_a_program_renders_variants(work: Path, tmp_path: Path) -> None:
    model = v2vkit.load(work, device="cpu", precision="fp32")
    args = {"frames": work / "frames"}
    of_seed = np.stack(list(model.variant(edge_seed=3).render(work / "labels", **args)))
    np.testing.assert_array_equal(of_seed, pictures(work, tmp_path / "seed", edge_seed=3))
    plain = np.stack(list(model.render(work / "labels", **args)))
    np.testing.assert_array_equal(plain, pictures(work, tmp_path / "plain"))
    weighted = np.stack(list(model.variant((1, 0, 0, 0, 0, 0)).render(work / "labels", **args)))
    assert np.abs(weighted.astype(int) - plain).mean() > 0.05


@pytest.mark.slow
def test_a_variant_gets_a_back_end_of_its_own(work: Path) -> None:
    """The graph of a back end holds the edge weights with which it was made."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")

    def frames(backend: Backend) -> np.ndarray:
        variant = v2vkit.load(work, device="cpu", precision="fp32", backend=backend).variant(edge_seed=3)
        return np.stack(list(variant.render(work / "labels", frames=work / "frames")))

    plain, other = frames("torch"), frames("onnxruntime")
    np.testing.assert_allclose(other, plain, rtol=0, atol=1)


@pytest.mark.parametrize(
    ("settings", "code", "told"),
    [
        ({"edge_weights": "1,1,1,1,1,1", "edge_seed": 1}, "setting-conflict", "--edge-seed"),
        ({"edge_weights": "1,1,1,1,1,1", "edge_variants": 2}, "setting-conflict", "--edge-variants"),
        ({"edge_weights": "1,a"}, "setting-invalid", "1,a"),
        ({"edge_weights": ",,,,,"}, "setting-invalid", "--edge-weights"),
    ],
)
def test_weights_that_cannot_be_used_are_refused(
    work: Path, tmp_path: Path, settings: dict[str, object], code: str, told: str
) -> None:
    with raises(code, told):
        pictures(work, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("config", [UNET, S_FLOW.model_copy(update={"dned": None})])
def test_a_model_without_edge_network_has_no_variants(tmp_path: Path, work: Path, config: AnyGeneratorConfig) -> None:
    save(tmp_path, config)
    for settings in ({"edge_seed": 1}, {"edge_weights": "1,1,1,1,1,1"}, {"edge_variants": 2}):
        with raises("setting-unused", "--edge-weights"):
            render(work / "labels", tmp_path / "out.mp4", tmp_path, frames=str(work / "frames"), **settings)


def test_other_models_make_videos_of_them_too(tmp_path: Path, work: Path) -> None:
    save(tmp_path, UNET)
    render(work / "labels", tmp_path / "out.mp4", tmp_path, frames=str(work / "frames"))
    assert len(read_raw(tmp_path / "out.mp4")[0]) == 5
