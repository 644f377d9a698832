"""An exported model: the graphs compute what the generator computes, and render without v2vkit."""

import errno
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.errors import raises
from tests.unit.rendering import save_untrained
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.export import describe, steps_of
from v2vkit.checkpoint.model_file import ModelInfo, load_model
from v2vkit.checkpoint.recurrent import state_names
from v2vkit.checkpoint.size import resized
from v2vkit.config import Size
from v2vkit.inference.rollout import Rollout
from v2vkit.models.any_generator import AnyGenerator, build_generator
from v2vkit.models.blocks import upsample_to
from v2vkit.models.generator import VideoGenerator
from v2vkit.models.presets import generator_config
from v2vkit.models.unet import UNetConfig
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.export import COMMAND, ExportConfig

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
EXAMPLE = Path(__file__).resolve().parents[2] / "docs/examples/render_onnx.py"
LIMITS = {"frame": 2e-4, "h": 1e-5, "flow": 2e-4, "mask": 1e-5}


def _model(work: Path, **changes: object) -> tuple[AnyGenerator, ModelInfo]:
    maps = {"num_labels": 3, "edges": False}
    save_untrained(work, "street", maps=maps, **changes)
    return load_model(Folder(f"{work}/checkpoints/spatial-1"))


def _export(work: Path, target: Path, **settings: object) -> list[str]:
    return COMMAND.call(ExportConfig(target=str(target), **settings), RunOptions(work=str(work)))


def _source_maps(info: ModelInfo, num: int) -> list[np.ndarray]:
    """Label maps with moving borders as source maps."""
    channels = info.generator.source_channels
    labels = [np.add.outer(np.arange(info.height), np.arange(info.width) + 5 * t) // 16 % channels for t in range(num)]
    return [(ids == np.arange(channels)[:, None, None]).astype(np.float32) for ids in labels]


@dataclass(frozen=True)
class Exported:
    """A model, and the folder that it was exported to."""

    generator: AnyGenerator
    info: ModelInfo
    folder: Path


@pytest.fixture(scope="module", params=[0, 1], ids=["full size", "coarse scale"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    work = tmp_path_factory.mktemp("export")
    generator, info = _model(work, downsamplings=request.param)
    _export(work, work / "out", size=Size(50, 36))
    return Exported(generator, resized(info, Size(50, 36)), work / "out")


def test_graphs_compute_what_the_generator_computes(exported: Exported) -> None:
    info = exported.info
    sessions = {name: onnxruntime.InferenceSession(str(exported.folder / f"{name}.onnx")) for name in ("first", "step")}
    rollout = Rollout(exported.generator, info.downsamplings)
    state: dict[str, np.ndarray] = {}
    for s in _source_maps(info, 4):
        session = sessions["step" if state else "first"]
        names = [output.name for output in session.get_outputs()]
        found = dict(zip(names, session.run(None, {"s": s[None], **state}), strict=True))
        wanted = rollout.step(s)
        frame = upsample_to(wanted.x_fake, (36, 50), info.downsamplings) if info.downsamplings else wanted.x_fake
        for name, limit in LIMITS.items():
            tensor = frame if name == "frame" else getattr(wanted, name)
            assert (name in found) == (tensor is not None)
            if tensor is not None:
                np.testing.assert_allclose(found[name], tensor.numpy(), rtol=0, atol=limit)
        # The next step begins from torch's state, so that each is compared alone.
        assert rollout.history is not None
        sources = torch.cat(rollout.sources, 1).numpy()
        np.testing.assert_allclose(found["next_sources"], sources, rtol=0, atol=1e-6)
        np.testing.assert_allclose(found["next_history_0"], rollout.history[0].numpy(), rtol=0, atol=2e-4)
        state = {"sources": sources, "history_0": rollout.history[0].numpy()}


def test_a_program_with_numpy_and_onnxruntime_alone_renders_a_clip(exported: Exported, tmp_path: Path) -> None:
    info = exported.info
    labels = np.stack([s.argmax(0) for s in _source_maps(info, 4)])
    np.save(tmp_path / "maps.npy", labels.astype(np.uint8))
    code = (
        "import sys, runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "assert not {'torch', 'v2vkit'} & set(sys.modules)"
    )
    arguments = [str(EXAMPLE), str(exported.folder), str(tmp_path / "maps.npy"), str(tmp_path / "out.rgb")]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, cwd=tmp_path)
    frames = np.fromfile(tmp_path / "out.rgb", np.uint8).reshape(-1, info.height, info.width, 3)
    rollout = Rollout(exported.generator, info.downsamplings)
    wanted = np.stack([rollout.image(s) for s in _source_maps(info, 4)])
    assert frames.shape == wanted.shape
    assert np.abs(frames[0].astype(int) - wanted[0]).max() <= 1
    # An untrained network enlarges the last digits from frame to frame.
    assert np.abs(frames.astype(int) - wanted).mean() < 1


def test_description_names_inputs_state_and_conditions(exported: Exported) -> None:
    model = json.loads((exported.folder / "model.json").read_text())
    step = model["graphs"]["step"]
    assert step["inputs"]["s"] == [1, 3, 36, 50]
    assert set(step["inputs"]) == {"s", *model["state"]}
    assert set(model["state"].values()) < set(step["outputs"])
    assert all(step["inputs"][name] == step["outputs"][to] for name, to in model["state"].items())
    (part,) = model["preprocessing"]["channels"]
    assert part["channels"] == [0, 3]
    assert part["condition"]["num_labels"] == 3


def test_weights_of_both_graphs_are_stored_once_and_no_path_is(exported: Exported) -> None:
    weights = sum(value.numel() * 4 for value in exported.generator.state_dict().values())
    assert (exported.folder / "weights.bin").stat().st_size < 1.6 * weights
    assert b"v2vkit/models" not in (exported.folder / "step.onnx").read_bytes()


def test_torch_programs_compute_what_the_generator_computes(tmp_path: Path) -> None:
    generator, info = _model(tmp_path)
    _export(tmp_path, tmp_path / "out", format="torch-export")
    first = torch.export.load(tmp_path / "out/first.pt2").module()
    (s,) = _source_maps(info, 1)
    torch.testing.assert_close(
        first(torch.from_numpy(s)[None])[0], Rollout(generator).step(s).x_fake, rtol=0, atol=1e-5
    )


def test_a_model_of_single_frames_has_one_graph_and_no_state(tmp_path: Path) -> None:
    config = UNetConfig(in_channels=3, width=8, num_down=3)
    torch.manual_seed(0)
    _, info = _model(tmp_path)
    (step,) = steps_of(build_generator(config).eval(), info.model_copy(update={"network": config}))
    assert (step.name, list(step.inputs), state_names(step.outputs)) == ("step", ["s"], ())


def test_several_scales_have_a_history_each(tmp_path: Path) -> None:
    config = generator_config("tiny", source_channels=3, width=8, num_down=2, num_blocks=2, num_scales=2)
    _, info = _model(tmp_path)
    _, step = steps_of(VideoGenerator(config).eval(), info.model_copy(update={"network": config}))
    assert step.outputs["history_0"] == (1, 6, 24, 32)
    assert step.outputs["history_1"] == (1, 6, 48, 64)


def test_a_model_that_begins_with_real_frames_is_told_of(tmp_path: Path) -> None:
    _model(tmp_path, first_frame="real")
    assert len(_export(tmp_path, tmp_path / "out", format="torch-export")) == 1


def test_target_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with raises("folder-not-empty", str(tmp_path)):
        COMMAND.check(ExportConfig(target=str(tmp_path)))


def test_nothing_is_left_of_an_export_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _model(tmp_path)

    def fails(*given: object, **settings: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fails)
    with raises("disk-full"):
        _export(tmp_path, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


def test_the_description_holds_no_paths(tmp_path: Path) -> None:
    settings = {"sources": ["/home/anna/in.mp4"], "weights": "C:\\nets\\a.pt", "fps": "30000/1001", "smooth": 3}
    info = save_untrained(tmp_path, "street", maps_stage="ingest", maps={"num_labels": 3, "edges": False, **settings})
    generator, _ = load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))
    described = describe(info, steps_of(generator, info), {"first": "a", "step": "b"}, "onnx", "0")
    (part,) = described["preprocessing"]["channels"]
    assert {name: part["made_by"]["settings"].get(name) for name in settings} == {
        **dict.fromkeys(settings),
        "fps": "30000/1001",
        "smooth": 3,
    }
